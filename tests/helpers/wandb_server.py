"""A W&B server at its smallest: it takes all that is sent, keeps it, and knows how to go on with a run."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Runs:
    """What was uploaded.

    Attributes:
        bodies: Of every request, and what its address says.
        lines: Of each run's history, as they would be after all uploads.
        summaries: Of each run, the last one.
        upserts: Variables of each `UpsertBucket`.
        states: Of each run, the exit codes it was ended with.
        artifacts: Input of each `CreateArtifact`.
        artifact_files: Names of their files.
    """

    def __init__(self):
        self.bodies, self.lines, self.summaries, self.upserts, self.states = [], {}, {}, [], {}
        self.artifacts, self.artifact_files, self.used = [], [], []

    def answer(self, operation, variables):
        name = variables.get("name")
        match operation:
            case "Viewer":
                return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
            case "RunResumeStatus":
                return {
                    "model": {"id": "P", "name": "p", "entity": {"id": "E", "name": "me"}, "bucket": self._bucket(name)}
                }
            case "UpsertBucket":
                self.upserts.append(variables)
                project = {"id": "P", "name": "nerveseg", "entity": {"id": "E", "name": "me"}}
                bucket = {"id": "B", "name": name, "displayName": variables.get("displayName"), "config": "{}"}
                return {
                    "upsertBucket": {"bucket": bucket | {"project": project, "historyLineCount": 0}, "inserted": True}
                }
            case "CreateRunFiles":
                files = [{"name": file, "uploadUrl": f"{self.address}/storage/{file}"} for file in variables["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":
                self.artifacts.append(variables["input"])
                sequence = {"id": "S", "latestArtifact": None}
                return {"createArtifact": {"artifact": {"id": "A", "state": "PENDING", "artifactSequence": sequence}}}
            case "CreateArtifactManifest" | "UpdateArtifactManifest":
                file = {"id": "F", "uploadUrl": f"{self.address}/storage/manifest", "uploadHeaders": []}
                key = operation[0].lower() + operation[1:]
                return {key: {"artifactManifest": {"id": "M", "file": file}}}
            case "CreateArtifactFiles":
                nodes = [self._artifact_file(wanted) for wanted in variables["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
            case "ArtifactType":
                return {"project": None}
            case "UseArtifact":
                self.used.append(variables["input"])
                return {"useArtifact": {"artifact": {"id": "A"}}}
            case "ArtifactByID":
                return {"artifact": self._artifact()}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": "A", "digest": "d"}}}
            case _:
                return None

    def _artifact(self):
        project = {"id": "P", "internalId": "P", "name": "nerveseg", "entity": {"name": "me"}}
        kind = self.artifacts[-1]
        sequence = {"__typename": "ArtifactSequence", "name": kind["artifactCollectionName"], "project": project}
        return {
            "__typename": "Artifact", "id": "A", "artifactSequence": sequence, "versionIndex": 0,
            "artifactType": {"name": kind["artifactTypeName"]}, "description": None, "metadata": "{}",
            "ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [], "historyStep": None, "state": "COMMITTED",
            "size": 0, "digest": "d", "commitHash": None, "fileCount": 1, "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None, "aliases": [],
        }  # fmt: skip

    def _artifact_file(self, wanted):
        self.artifact_files.append(wanted["name"])
        place = f"storage/{wanted['name']}"
        return {
            "storagePath": place, "uploadUrl": f"{self.address}/{place}", "uploadHeaders": [],
            "uploadMultipartUrls": None, "artifact": {"id": "A"},
        }  # fmt: skip

    def _bucket(self, name):
        if name not in self.lines:
            return None
        lines = self.lines[name]
        return {
            "id": "B", "name": name, "displayName": None, "historyLineCount": len(lines), "eventsLineCount": 0,
            "logLineCount": 0, "historyTail": json.dumps(lines[-1:]), "eventsTail": "[]",
            "summaryMetrics": self.summaries.get(name, "{}"), "config": "{}", "tags": [], "wandbConfig": '{"t": {}}',
        }  # fmt: skip

    def streamed(self, name, body):
        content = json.loads(body)
        history = content.get("files", {}).get("wandb-history.jsonl")
        if history:
            lines = self.lines.setdefault(name, [])
            lines[history["offset"] :] = history["content"]
        for summary in content.get("files", {}).get("wandb-summary.json", {}).get("content", []):
            self.summaries[name] = summary
        if content.get("complete"):
            self.states.setdefault(name, []).append(content["exitcode"])

    def history(self, name):
        return [json.loads(line) for line in self.lines[name]]


def _handler(runs):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _take(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            runs.bodies.append(self.path.encode() + b"\n" + str(self.headers).encode() + b"\n" + body)
            answer = {}
            if self.path.endswith("/graphql"):
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                answer = {"data": runs.answer(operation and operation[1], asked.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                runs.streamed(self.path.split("/")[-2], body)
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _take  # noqa: N815

    return Handler


@contextmanager
def wandb_server():
    """The server on a free port of this machine, while the context lasts."""
    runs = Runs()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(runs))
    server.handle_error = lambda *_: None
    runs.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield runs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sync(runs, *folders):
    """Upload offline runs as a user would."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment = {**inherited, "WANDB_BASE_URL": runs.address, "WANDB_API_KEY": "a" * 40}
    command = [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, folders)]
    done = subprocess.run(
        command, cwd=folders[0], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def run_files(folder):
    """The files of the W&B runs that were started in a folder, oldest first."""
    runs = [run for run in (folder / "wandb").glob("*run-*") if run.is_dir() and not run.is_symlink()]
    return sorted(path for run in runs for path in run.glob("*.wandb"))


def inspected(path, deadline_s=30.0):
    """The records of the offline file of a run that has ended, by W&B's own reader, once written."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    begun = time.monotonic()
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        if any(record["type"] == "exit" for record in records):
            return records
        assert time.monotonic() - begun < deadline_s, done.stderr or records
        time.sleep(0.1)


def rows(path):
    """Its history."""
    return [record["history"]["item"] for record in inspected(path) if record["type"] == "history"]
