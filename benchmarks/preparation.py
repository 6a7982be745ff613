"""Time of preparing the slice store on all cores, against nibabel and numpy in one process, in turn; and its memory.

`python benchmarks/preparation.py [--subjects N] [--rounds N] [--json FILE]` writes a study of noise (384 x 330 x 60,
three raters) into a temporary folder and tells the ratio of the clock's seconds, of one process's and of all cores'.
The baseline loads, normalises, crops and saves, and no more; ours also checks every file to its end and writes the
consensus. Processes take two seconds to start, so that few subjects gain less by them than many. Then the largest
memory of a worker, for five of the subjects and for two thirds of them.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from rows import RESULTS, Row, compared, this_machine, write_rows

from nerveseg.data import slice_store_build
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.slice_store_build import available_cores
from nerveseg.data.study import Study, open_study
from nerveseg.data.study_layout import StudyLayout

SHAPE = (384, 330, 60)
SPACING_MM = (0.52, 0.52, 4.4)
RATERS = ("OS", "BW", "LG")
PREPROCESSING = Preprocessing()
WORTH_A_CORE = 0.75
"""Each core has to bring at least this part of what it would bring if nothing were shared."""
MEMORY_TARGET = 1.1
FEW = 5
"""Subjects of which two processes each have more than one to store, after the first."""


def main() -> None:
    """Measure, print a line for each row, and leave them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=18, help="at least 6")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS / "preparation.json")
    parser.add_argument("--prepare", nargs=3, metavar=("STUDY", "OUTPUT", "WORKERS"), help="used by the benchmark")
    options = parser.parse_args()
    if options.prepare:
        prepare(*options.prepare)
        return
    print(this_machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(options.subjects):
            write_subject(root / "study", number)
        rows = [*times(root, options.rounds), memory(root, FEW, max(2 * options.subjects // 3, FEW + 1))]
    for row in rows:
        print(row)
    write_rows(rows, options.json)


def write_subject(root: Path, number: int) -> None:
    """An image of noise and three masks, each a block that one rater drew a little larger."""
    random = np.random.default_rng(number)
    affine = np.diag([*SPACING_MM, 1.0])
    folder = root / f"S{number:02d}"
    folder.mkdir(parents=True)
    image = random.normal(200, 40, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(image, affine), folder / "T2.nii.gz")
    for margin, rater in enumerate(RATERS):
        mask = np.zeros(SHAPE, np.uint8)
        mask[180 - margin : 200 + margin, 150:170] = 1
        nib.save(nib.Nifti1Image(mask, affine), folder / f"{rater}.nii.gz")


def opened(root: Path) -> Study:
    """The study in a folder."""
    raters = {rater: f"{{id}}/{rater}.nii.gz" for rater in RATERS}
    return open_study(StudyLayout(name="noise", root=root, images={"T2": "{id}/T2.nii.gz"}, raters=raters))


def times(root: Path, rounds: int) -> list[Row]:
    """Both ways and the baseline in turn; the store is removed in between."""
    study, cores = opened(root / "study"), available_cores()
    seconds: dict[int, list[float]] = {0: [], 1: [], cores: []}
    for _ in range(rounds):
        for processes, taken in seconds.items():
            output = root / "output"
            started = time.perf_counter()
            if processes:
                prepare_slices(study, PREPROCESSING, output, workers=processes)
            else:
                baseline(study, output)
            taken.append(time.perf_counter() - started)
            shutil.rmtree(output)
    subjects = len(study.subjects)
    each = {processes: [second / subjects for second in taken] for processes, taken in seconds.items()}
    one = compared("preparing a subject, one process", each[1], each[0], "-", "baseline: nibabel and numpy")
    every = compared(f"preparing a subject, {cores} processes", each[cores], each[0], f"{cores} cores' worth")
    worth = (one.ratio or 0.0) * cores * WORTH_A_CORE
    note = f"{subjects} subjects, the start of processes included"
    return [one, replace(every, note=note, reached=(every.ratio or 0.0) >= worth)]


def baseline(study: Study, output: Path) -> None:
    """What a script does: load in RAS order, normalise, crop, majority, save."""
    output.mkdir()
    x, y = PREPROCESSING.size
    left, front = (SHAPE[0] - x) // 2, (SHAPE[1] - y) // 2
    for subject in study.subjects:
        image = nib.as_closest_canonical(nib.load(subject.image)).get_fdata(dtype=np.float32)
        image = (image - image.mean()) / image.std()
        masks = [nib.as_closest_canonical(nib.load(path)).get_fdata() for path in subject.raters.values()]
        consensus = (np.sum(masks, axis=0) >= 2).astype(np.uint8)
        for name, array in (("image", image), ("label", consensus)):
            crop = array[left : left + x, front : front + y]
            np.save(output / f"{subject.id}_{name}.npy", np.ascontiguousarray(crop.transpose(2, 0, 1)))


def memory(root: Path, few: int, many: int) -> Row:
    """Peak memory of the largest worker for few of the subjects, and for more."""
    peaks = []
    for count in (few, many):
        part = root / f"first-{count}"
        for number in range(count):
            shutil.copytree(root / "study" / f"S{number:02d}", part / f"S{number:02d}", copy_function=os.link)
        command = [sys.executable, __file__, "--prepare", str(part), str(root / "output"), "2"]
        peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    ratio = peaks[1] / peaks[0]
    return Row(
        "memory of a preparing worker at its peak",
        f"{peaks[1]:.0f} MiB ({many} subjects)",
        f"{peaks[0]:.0f} MiB ({few})",
        ratio,
        ratio,
        ratio,
        f"at most {MEMORY_TARGET:g}",
        reached=ratio <= MEMORY_TARGET,
    )


def prepare(study: str, output: str, workers: str) -> None:
    """Prepare a study, however small, in processes, and print the memory of the largest one in MiB."""
    slice_store_build.POOL_START_S = 0.0
    prepare_slices(opened(Path(study)), PREPROCESSING, Path(output), workers=int(workers))
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
