"""How long commands take to answer, and how a study of 10,000 subjects starts beside one of 50.

`python benchmarks/startup.py [--subjects N] [--rounds N] [--json FILE]` runs each question in a process of its own and
tells the median of the clock's seconds over the rounds; the processor's stand in the note, for other work on the
machine adds to the clock alone. Then a study is made of sparse images and of hard links to one mask, hashed, and given
the index of a prepared store, which is made without reading a voxel: what is measured is `open_study` and
`prepare_slices` once that is done, and the memory of a loader's worker in a process that holds the study, the store and
the slices of all subjects.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from rows import RESULTS, Row, this_machine, write_rows

import nerveseg
from nerveseg.data import hashing, slice_store
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import SliceStore, open_slices, prepare_slices, study_hashes
from nerveseg.data.slice_store_build import StoredSubject, StoreIndex, available_cores
from nerveseg.data.study import Study, open_study
from nerveseg.data.study_layout import StudyLayout

QUESTIONS = (["--help"], ["--cfg", "job"], ["fold=0..3", "slip=1"])
QUESTION_TARGET_S, STUDY_TARGET_S, MEMORY_TARGET = 1.5, 2.0, 1.1
RATERS = ("OS", "BW", "LG")
FEW = 50
IMAGE_BYTES = 65536
IN_MEMORY, NEEDED_BYTES = Path("/dev/shm"), 2**30
"""Where 120,000 files and folders are made and removed at once; a disk takes minutes when others are at it."""
CHECKOUT = Path(nerveseg.__file__).parents[1]


def main() -> None:
    """Measure, print a line for each row, and leave them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "startup.json")
    parser.add_argument("--hold", nargs=2, type=Path, metavar=("STUDY", "STORE"), help="used by the benchmark")
    options = parser.parse_args()
    if options.hold:
        hold(*options.hold)
        return
    print(this_machine())
    rows = [question(words, options.rounds) for words in QUESTIONS]
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        stores = [made(few, min(FEW, options.subjects)), made(many, options.subjects)]
        rows += [started(few, many, options.rounds), memory(*zip((few, many), stores, strict=True))]
    for row in rows:
        print(row)
    write_rows(rows, options.json)


def fast_folder() -> Path | None:
    """A file system in memory that has room, or none: then the usual one."""
    return IN_MEMORY if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > NEEDED_BYTES else None


def question(words: list[str], rounds: int) -> Row:
    """Ask `train` something that runs nothing."""
    command = [sys.executable, "-m", "nerveseg.train", *words]

    def ask() -> None:
        subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)

    clock_s, cpu_s = timed(ask, rounds)
    return row(f"train {' '.join(words)}", "-", clock_s, cpu_s, QUESTION_TARGET_S)


def row(name: str, baseline: str, clock_s: list[float], cpu_s: list[float], target_s: float) -> Row:
    """Seconds are the figure; there is nothing to divide them by."""
    middle = median(clock_s)
    return Row(
        name,
        f"{middle:.2f} s",
        baseline,
        middle,
        min(clock_s),
        max(clock_s),
        f"under {target_s:g} s",
        unit="s",
        note=f"of the processor {median(cpu_s):.2f} s",
        reached=middle < target_s,
    )


def timed(action: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of the clock and of the processor, child processes included, of each round."""
    clock_s, cpu_s = [], []
    for _ in range(rounds):
        before, started_at = cpu_seconds(), time.perf_counter()
        action()
        clock_s.append(time.perf_counter() - started_at)
        cpu_s.append(cpu_seconds() - before)
    return clock_s, cpu_s


def cpu_seconds() -> float:
    """Processor time of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def made(root: Path, subjects: int) -> SliceStore:
    """The store of a study whose images differ in eight bytes, hashed and prepared."""
    (root / "study").mkdir(parents=True)
    mask = root / "mask"
    mask.write_bytes(b"mask" * 1024)
    rows = ["participant_id\tcohort\tminutes_OS"]
    for number in range(subjects):
        name = f"sub-{number:05d}"
        write_files(root / "study", name, number, mask)
        rows.append(f"{name}\tpatient\t12.5")
    (root / "study" / "participants.tsv").write_text("\n".join(rows) + "\n")
    time.sleep(hashing.QUIET_NS / 1e9)
    study = opened(root / "study")
    started_at = time.perf_counter()
    hashes, remember = study_hashes(study, root / "slices", available_cores())
    remember()
    print(f"{subjects} subjects hashed for the first time: {time.perf_counter() - started_at:.1f} s")
    return indexed(study, root / "slices", hashes)


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
    return open_study(StudyLayout(name="many", root=root, images=images, raters=raters))


def indexed(study: Study, root: Path, hashes: dict[str, dict[str, str]]) -> SliceStore:
    """The store of a study, with its index alone."""
    folder = root / slice_store._key(study.description, Preprocessing(), hashes)
    folder.mkdir(parents=True)
    stored = [
        StoredSubject(
            id=subject.id,
            sha256=hashes[subject.id],
            slices=60,
            spacing_mm=(0.52, 0.52, 4.4),
            pixels=60 * 320 * 320,
            part_pixels=(20_000,),
        )
        for subject in study.subjects
    ]
    index = StoreIndex(study="many", channels=["T2"], preprocessing=Preprocessing(), subjects=stored)
    (folder / "index.json").write_text(index.model_dump_json(indent=1))
    return open_slices(folder)


def started(few: Path, many: Path, rounds: int) -> Row:
    """What every job of a prepared study begins with: `open_study`, and its store found and opened."""

    def begin(root: Path) -> Callable[[], object]:
        return lambda: prepare_slices(opened(root / "study"), Preprocessing(), root / "slices")

    few_s, _ = timed(begin(few), rounds)
    clock_s, cpu_s = timed(begin(many), rounds)
    open_s, _ = timed(lambda: opened(many / "study"), rounds)
    count = sum(1 for _ in (many / "study").glob("sub-*"))
    named = row(
        f"start of a prepared study of {count} subjects", f"{median(few_s):.3f} s (50)", clock_s, cpu_s, STUDY_TARGET_S
    )
    return replace(named, note=f"{named.note}; open_study alone {median(open_s):.2f} s")


def memory(few: tuple[Path, SliceStore], many: tuple[Path, SliceStore]) -> Row:
    """Memory that a loader's worker does not share with files."""
    held = []
    for root, store in (few, many):
        command = [sys.executable, __file__, "--hold", str(root / "study"), str(store.folder)]
        held.append(float(subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout))
    ratio = held[1] / held[0]
    return Row(
        f"memory of a loader's worker, {len(many[1].index.subjects)} subjects",
        f"{held[1]:.0f} MiB",
        f"{held[0]:.0f} MiB ({len(few[1].index.subjects)})",
        ratio,
        ratio,
        ratio,
        f"at most {MEMORY_TARGET:g}",
        reached=ratio <= MEMORY_TARGET,
    )


def hold(study_root: Path, folder: Path) -> None:
    """Hold what a job holds, start a loader with one worker, and print the worker's anonymous memory in MiB."""
    import torch
    from torch.utils.data import DataLoader

    from nerveseg.data.augmentation import TensorAugmentation
    from nerveseg.data.context_samples import PlainSlices, TrainingSlices

    class Measured(TrainingSlices):
        """Reads no slice: the store holds none."""

        def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
            """Memory of the process that was asked, in KiB."""
            assert len(self) > key[1]
            status = Path("/proc/self/status").read_text()
            return torch.tensor(float(status.split("RssAnon:")[1].split()[0]))

    study, store = opened(study_root), open_slices(folder)
    every = PlainSlices(store, [subject.id for subject in study.subjects], seed=1)
    loader = DataLoader(Measured(every, TensorAugmentation()), sampler=[(0, 0), (0, len(every) - 1)], num_workers=1)
    print(max(float(kib) for kib in loader) / 1024)


if __name__ == "__main__":
    main()
