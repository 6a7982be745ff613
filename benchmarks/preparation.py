"""Time of preparing the slice store on all cores, against nibabel and numpy in one process, in turn; and its memory.

`python benchmarks/preparation.py [--subjects N] [--rounds N] [--json FILE]` writes a study of noise (384 x 330 x 60,
three raters) into a temporary folder and prints the ratio of the clock's seconds, of one process's and of all cores'.
The baseline loads, normalises, crops and saves, and no more; ours also checks every file to its end and writes the
consensus. Then the largest memory of a worker, for a third of the subjects and for all of them.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np

from nerveseg.data import stored_subjects
from nerveseg.data.description import StudyDescription
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slices import prepare_slices
from nerveseg.data.stored_subjects import available_cores
from nerveseg.data.study import Study, open_study

SHAPE = (384, 330, 60)
SPACING_MM = (0.52, 0.52, 4.4)
RATERS = ("OS", "BW", "LG")
PREPROCESSING = Preprocessing()


def main() -> None:
    """Measure, print a line for each row, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prepare", nargs=3, metavar=("STUDY", "OUTPUT", "WORKERS"), help="used by the benchmark")
    options = parser.parse_args()
    if options.prepare:
        prepare(*options.prepare)
        return
    print(f"{available_cores()} CPUs, load {os.getloadavg()[0]:.1f}: processes gain only where cores are free")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(options.subjects):
            write_subject(root / "study", number)
            if number < options.subjects // 3:
                write_subject(root / "third", number)
        rows = [*times(root, options.rounds), memory(root, options.subjects)]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


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
    return open_study(StudyDescription(name="noise", root=root, images={"T2": "{id}/T2.nii.gz"}, raters=raters))


def times(root: Path, rounds: int) -> list[dict[str, float | str]]:
    """Both ways and the baseline in turn; the store is removed in between."""
    study, cores = opened(root / "study"), available_cores()
    seconds: dict[str, list[float]] = {"baseline": [], "one process": [], f"{cores} processes": []}
    for _ in range(rounds):
        for name, taken in seconds.items():
            output = root / "output"
            started = time.perf_counter()
            if name == "baseline":
                baseline(study, output)
            else:
                prepare_slices(study, PREPROCESSING, output, workers=1 if name == "one process" else cores)
            taken.append(time.perf_counter() - started)
            shutil.rmtree(output)
    baseline_s = seconds.pop("baseline")
    return [ratio_row(name, baseline_s, taken, len(study.subjects)) for name, taken in seconds.items()]


def ratio_row(name: str, baseline_s: list[float], ours_s: list[float], subjects: int) -> dict[str, float | str]:
    """Print and return one comparison."""
    ratios = [theirs / ours for theirs, ours in zip(baseline_s, ours_s, strict=True)]
    print(
        f"preparing, {name}: nibabel + numpy {median(baseline_s) / subjects:.2f} s, ours "
        f"{median(ours_s) / subjects:.2f} s a subject, ratio {median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f})"
    )
    return {
        "row": f"preparing the slice store, {name}",
        "baseline_s": median(baseline_s) / subjects,
        "ours_s": median(ours_s) / subjects,
        "ratio": median(ratios),
        "smallest": min(ratios),
        "largest": max(ratios),
    }


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


def memory(root: Path, subjects: int) -> dict[str, float | str]:
    """Peak memory of the largest worker for a third of the subjects, and for all."""
    peaks = []
    for name in ("third", "study"):
        command = [sys.executable, __file__, "--prepare", str(root / name), str(root / "output"), "2"]
        peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    print(
        f"memory of a worker at its peak: {peaks[0]:.0f} MiB with {subjects // 3} subjects, {peaks[1]:.0f} MiB "
        f"with {subjects}; ratio {peaks[1] / peaks[0]:.2f}, target at most 1.1"
    )
    return {"row": "memory of a worker", "few_mib": peaks[0], "all_mib": peaks[1], "ratio": peaks[1] / peaks[0]}


def prepare(study: str, output: str, workers: str) -> None:
    """Prepare a study, however small, in processes, and print the memory of the largest one in MiB."""
    stored_subjects.POOL_START_S = 0.0
    prepare_slices(opened(Path(study)), PREPROCESSING, Path(output), workers=int(workers))
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
