"""A run on W&B: offline unless told otherwise, with no account, no network and no question asked.

An offline file cannot be rewound. A process that goes on offline begins a new file with the whole history, which the
checkpoint has, in place of the earlier one, so that a run is one folder. An earlier file that `wandb sync` has been at
stays, and the new one has what is missing: `wandb sync` appends it. Online, the server's run is gone on with.

Of the machine nothing is recorded: see the settings below, and `disclosure` for the configuration. W&B uploads where
files of artifacts lay on this machine, so our artifacts hold none.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from nerveseg.dashboards.base import Dashboard, RunLabel
from nerveseg.dashboards.wandb_files import STEP, logged_steps, run_files, was_synced
from nerveseg.errors import ConfigurationError

WandbMode = Literal["offline", "online", "disabled"]

LONGEST_TAG = 64
"""W&B refuses longer ones."""

PROGRAM = "nerveseg"
"""In place of the path of the script that ran."""


class WandbDashboard(Dashboard):
    """A run on W&B.

    Args:
        label: How the run is found.
        folder: The run's own; W&B's files lie below `wandb/`.
        mode: offline writes files that `wandb sync` uploads later.

    Raises:
        ConfigurationError: Online, there is no key, or the server does not answer.
    """

    def __init__(self, label: RunLabel, folder: Path, mode: Literal["offline", "online"]) -> None:
        super().__init__(label, folder)
        self.mode = mode
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb: Any = import_module("wandb")
        for earlier in run_files(folder):
            if earlier.parent.name.startswith("offline-run-") and not was_synced(earlier):
                shutil.rmtree(earlier.parent)
        try:
            self._run = self._started(label, mode)
        except self._wandb.errors.Error as error:
            raise ConfigurationError(
                "logger.wandb.mode=online needs W&B's server and a key for it",
                found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                remedy="wandb login, or logger.wandb.mode=offline and wandb sync later",
            ) from error
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP, step_sync=True)

    def _started(self, label: RunLabel, mode: str) -> Any:
        return self._wandb.init(
            id=self.id,
            project=label.project,
            group=label.group,
            name=label.name,
            job_type=label.job_type,
            tags=[tag[:LONGEST_TAG] for tag in label.tags],
            dir=self.folder,
            mode=mode,
            config=label.config,
            settings=self._settings(),
            resume="allow",
            reinit="finish_previous",
        )

    def _settings(self) -> Any:
        return self._wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            disable_job_creation=True,
            host="",
            program=PROGRAM,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )

    @property
    def experiment(self) -> Any:
        """W&B's own object."""
        return self._run

    def logged_steps(self) -> set[int]:
        """What the files of earlier processes hold that are on the server, or have been begun to be sent."""
        return logged_steps(self.folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step, a line of the run's history."""
        self._run.log({**metrics, STEP: step or 0})

    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """A table of W&B's, as a file of the run.

        `run.log` of the table itself would make an artifact too, with the place of its copy on this machine.
        """
        shown = self._wandb.Table(dataframe=table)
        shown.bind_to_run(self._run, name, self._run.step)
        self._run.log({name: shown.to_json(self._run)})

    def log_picture(self, name: str, path: Path, caption: str = "") -> None:
        """A picture with its caption."""
        self._run.log({name: self._wandb.Image(str(path), caption=caption or None)})

    def log_page(self, name: str, html: str) -> None:
        """A page."""
        self._run.log({name: self._wandb.Html(html, inject=False)})

    def log_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """The bundle's files, and an artifact that stands for it beside one that stands for the data.

        Artifacts refer to hashes and hold no file, since W&B uploads where each of an artifact's files lay on this
        machine. Online the data's is the input of the run; offline W&B knows no inputs, and the run logs it too.
        """
        place = Path(self._run.dir)
        shutil.copytree(folder, place / "model", dirs_exist_ok=True)
        self._run.save(str(place / "model" / "*"), base_path=str(place), policy="now")
        data = self._artifact("dataset", self.label.study, self.label.data, {})
        if self.mode == "online":
            self._run.use_artifact(data)
        else:
            self._run.log_artifact(data)
        self._run.log_artifact(self._artifact("model", self.label.name, str(facts["weights_sha256"]), facts))

    def _artifact(self, kind: str, name: str, sha256: str, facts: Mapping[str, Any]) -> Any:
        """What is known of a thing by its hash: the same hash is the same version."""
        metadata = {**facts, "data": self.label.data}
        artifact = self._wandb.Artifact(_slug(f"{kind}-{name}"), kind, metadata=metadata)
        artifact.add_reference(f"nerveseg:{kind}/{sha256}", name="sha256", checksum=False)
        return artifact

    def summarize(self, values: Mapping[str, float]) -> None:
        """Columns of the runs' table."""
        self._run.summary.update(dict(values))

    def finish(self, failed: bool) -> None:
        """End the run; a failed one is shown as such."""
        self._run.finish(exit_code=int(failed))


def _slug(name: str) -> str:
    """A name for an artifact."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:128]
