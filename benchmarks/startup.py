"""How long commands take to answer, and how a study of 10,000 subjects starts beside one of 50.

`python benchmarks/startup.py [--subjects N] [--rounds N] [--json FILE]` runs each question in a process of its own:
seconds of the clock and of the processor, smallest of the rounds (other work on the machine only adds). Then a study is
made of sparse images and of hard links to one mask, hashed, and given the index of a prepared store, which is made
without reading a voxel: what is measured is `open_study` and `prepare_slices` once that is done, and the memory of a
loader's worker that holds the store and the list of its slices.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nerveseg
from nerveseg.data import fingerprints, slices
from nerveseg.data.description import StudyDescription
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slices import SliceStore, StoreIndex, open_slices, prepare_slices
from nerveseg.data.stored_subjects import StoredSubject, available_cores
from nerveseg.data.study import Study, open_study

QUESTIONS = (["--help"], ["--cfg", "job"], ["fold=0..3", "slip=1"])
QUESTION_TARGET_S, STUDY_TARGET_S, MEMORY_TARGET = 1.5, 2.0, 1.1
RATERS = ("OS", "BW", "LG")
FEW = 50
IMAGE_BYTES = 65536
CHECKOUT = Path(nerveseg.__file__).parents[1]

Row = dict[str, float | str]


def main() -> None:
    """Measure, print a line for each row, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--hold", type=Path, metavar="STORE", help="used by the benchmark")
    options = parser.parse_args()
    if options.hold:
        hold(options.hold)
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    rows = [question(words, options.rounds) for words in QUESTIONS]
    with tempfile.TemporaryDirectory() as folder:
        stores = []
        for subjects in (FEW, options.subjects):
            root = Path(folder) / str(subjects)
            study, store = made(root, subjects)
            rows += started(root, study, options.rounds)
            stores.append(store)
        rows.append(memory(*stores))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def question(words: list[str], rounds: int) -> Row:
    """Ask `train` something that runs nothing."""
    command = [sys.executable, "-m", "nerveseg.train", *words]

    def ask() -> None:
        subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)

    return row(f"train {' '.join(words)}", ask, rounds, QUESTION_TARGET_S)


def row(name: str, action: Callable[[], object], rounds: int, target_s: float) -> Row:
    """Time an action by the clock and by the processor, its child processes included."""
    clock, cpu = [], []
    for _ in range(rounds):
        before, started_at = cpu_seconds(), time.perf_counter()
        action()
        clock.append(time.perf_counter() - started_at)
        cpu.append(cpu_seconds() - before)
    verdict = "reached" if min(clock) < target_s else "MISSED"
    print(f"{name}: {min(clock):.2f} s, of the processor {min(cpu):.2f} s; target {target_s:g} s: {verdict}")
    return {"row": name, "seconds": min(clock), "cpu_s": min(cpu), "target_s": target_s}


def cpu_seconds() -> float:
    """Processor time of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def made(root: Path, subjects: int) -> tuple[Study, SliceStore]:
    """A study whose images differ in eight bytes, hashed and prepared."""
    (root / "study").mkdir(parents=True)
    mask = root / "mask"
    mask.write_bytes(b"mask" * 1024)
    rows = ["participant_id\tcohort\tminutes_OS"]
    for number in range(subjects):
        name = f"sub-{number:05d}"
        write_files(root / "study", name, number, mask)
        rows.append(f"{name}\tpatient\t12.5")
    (root / "study" / "participants.tsv").write_text("\n".join(rows) + "\n")
    time.sleep(fingerprints.QUIET_NS / 1e9)
    study = opened(root / "study")
    started_at = time.perf_counter()
    hashes = slices._hash_files(study, root / "slices", available_cores())
    print(f"{subjects} subjects hashed for the first time: {time.perf_counter() - started_at:.1f} s")
    return study, indexed(study, root / "slices", hashes)


def write_files(root: Path, name: str, number: int, mask: Path) -> None:
    """One sparse image, and a link to the mask for each rater."""
    (root / name / "anat").mkdir(parents=True)
    with (root / name / "anat" / f"{name}_T2w.nii.gz").open("wb") as image:
        image.write(number.to_bytes(8, "little"))
        image.truncate(IMAGE_BYTES)
    for rater in RATERS:
        folder = root / "derivatives" / f"rater-{rater}" / name / "anat"
        folder.mkdir(parents=True)
        (folder / f"{name}_label-nerve_mask.nii.gz").hardlink_to(mask)


def opened(root: Path) -> Study:
    """The study in a folder, which lies as BIDS has it."""
    raters = {r: f"derivatives/rater-{r}/sub-{{id}}/anat/sub-{{id}}_label-nerve_mask.nii.gz" for r in RATERS}
    images = {"T2": "sub-{id}/anat/sub-{id}_T2w.nii.gz"}
    return open_study(StudyDescription(name="many", root=root, images=images, raters=raters))


def indexed(study: Study, root: Path, hashes: dict[str, dict[str, str]]) -> SliceStore:
    """The store of a study, with its index alone."""
    folder = root / slices._key(study.description, Preprocessing(), hashes)
    folder.mkdir(parents=True)
    stored = [
        StoredSubject(
            id=subject.id,
            sha256=hashes[subject.id],
            slices=60,
            spacing_mm=(0.52, 0.52, 4.4),
            nerve_voxels=20_000,
            nerve_voxels_cropped_away=0,
            pixels=60 * 320 * 320,
        )
        for subject in study.subjects
    ]
    index = StoreIndex(study="many", channels=["T2"], preprocessing=Preprocessing(), subjects=stored)
    (folder / "index.json").write_text(index.model_dump_json(indent=1))
    return open_slices(folder)


def started(root: Path, study: Study, rounds: int) -> list[Row]:
    """What every job of a prepared study begins with."""
    count = len(study.subjects)

    def begin() -> None:
        prepare_slices(opened(root / "study"), Preprocessing(), root / "slices")

    return [
        row(f"{count} subjects, open_study", lambda: opened(root / "study"), rounds, STUDY_TARGET_S),
        row(f"{count} subjects, open_study and the prepared store", begin, rounds, STUDY_TARGET_S),
    ]


def memory(few: SliceStore, many: SliceStore) -> Row:
    """Private memory of a process like a loader's worker."""
    held = []
    for store in (few, many):
        command = [sys.executable, __file__, "--hold", str(store.folder)]
        held.append(float(subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout))
    ratio = held[1] / held[0]
    verdict = "reached" if ratio <= MEMORY_TARGET else "MISSED"
    print(
        f"memory of a worker: {held[0]:.0f} MiB with {len(few.index.subjects)} subjects, {held[1]:.0f} MiB with "
        f"{len(many.index.subjects)}; ratio {ratio:.2f}, target at most {MEMORY_TARGET:g}: {verdict}"
    )
    return {"row": "memory of a worker", "few_mib": held[0], "many_mib": held[1], "ratio": ratio}


def hold(folder: Path) -> None:
    """Open a store, list its slices as a loader does, and print the memory that this process has to itself in MiB."""
    from nerveseg.data.datamodule import TrainingSlices

    store = open_slices(folder)
    slices_of_all = TrainingSlices(store, [subject.id for subject in store.index.subjects], lambda *pair: pair, 1)
    status = Path("/proc/self/status").read_text()
    assert len(slices_of_all)
    print(float(status.split("RssAnon:")[1].split()[0]) / 1024)


if __name__ == "__main__":
    main()
