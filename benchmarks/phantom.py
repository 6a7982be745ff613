"""Is the synthetic cohort like the paper's? Every calibrated quantity, its target and its value.

`python benchmarks/phantom.py [--json FILE]` simulates 300 volunteers and 600 patients (masks only) with a seed that is
not the cohort's, then the shipped cohort, then whole subjects, and prints a line for each quantity. Targets are of
Table 1 of Balsiger et al. 2018 and of the anatomy; they hold for the expectation, that is for the many, and the shipped
cohort has to lie within two standard errors of it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nerveseg.evaluation.metrics.pair_scores import dice, hausdorff_distance, volumetric_similarity
from nerveseg.phantom.cohort import CohortSpec, participants, simulate_subject, write_subject
from nerveseg.phantom.specification import Participant

COHORT = Path(__file__).parents[1] / "conf" / "cohort" / "paper.yaml"
REAL_MASK = (
    Path(os.environ.get("NERVESEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    / "sciatic_reference"
    / "EXAMPLE_GROUND_TRUTH.mha"
)
MANY = {"volunteers": 300, "patients": {"distal": 200, "medial": 100, "proximal": 300}}
OTHER_SEED = 314159
PAIRS = ("OS-BW", "OS-LG", "BW-LG")
TABLE1_DICE = {
    "volunteer": {"OS-BW": 0.865, "OS-LG": 0.878, "BW-LG": 0.862, "OS-GT": 0.938, "BW-GT": 0.927, "LG-GT": 0.936},
    "patient": {"OS-BW": 0.807, "OS-LG": 0.784, "BW-LG": 0.766, "OS-GT": 0.906, "BW-GT": 0.896, "LG-GT": 0.870},
}
R_R = {"volunteer": (0.869, 0.031, 0.937), "patient": (0.786, 0.093, 0.897)}
"""Dice, its standard deviation, volumetric similarity."""
GROSS_MM = 3.0
"""A pair is grossly off beyond this `hd95_paper_mm`; Table 1's volunteers have one value beyond 3."""


@dataclass(frozen=True)
class Measured:
    """One subject: the metrics of every comparison, and its nerve."""

    cohort: str
    lesion: str
    dice: dict[str, float]
    hd95_paper_mm: dict[str, float]
    vs: dict[str, float]
    fraction: float
    area_mm2: float
    swelling: float
    slice_change: float
    tibial_mm2: float
    peroneal_mm2: float


@dataclass(frozen=True)
class Row:
    """One line of the calibration table."""

    cohort: str
    quantity: str
    low: float
    high: float
    target: str
    value: float

    @property
    def met(self) -> bool:
        """Whether the value lies within the target."""
        return bool(self.low <= self.value <= self.high)


def measure(spec: CohortSpec, participant: Participant) -> Measured:
    """Simulate one subject's masks and compare them, within the box that holds them all."""
    subject = simulate_subject(spec, participant)
    masks = dict(subject.raters)
    masks["GT"] = sum(mask.astype(np.int8) for mask in masks.values()) >= 2
    drawn = np.logical_or.reduce(list(masks.values()))
    box = tuple(slice(int(s[0]), int(s[-1]) + 1) for s in (np.flatnonzero(drawn.any(axis=a)) for a in ((1, 2), (0, 2))))
    masks = {name: np.ascontiguousarray(mask[box]) for name, mask in masks.items()}
    pairs = {f"{a}-{b}": (masks[b], masks[a]) for a, b in itertools.combinations(masks, 2)}
    pixel_mm2 = spec.spacing_mm[0] * spec.spacing_mm[1]
    slices, branches = subject.known.slices, subject.known.branches[box]
    below = [row.slice for row in slices if row.split]
    tibial, peroneal = ((branches[..., below] == label).sum() * pixel_mm2 / max(len(below), 1) for label in (1, 2))
    return Measured(
        cohort=participant.cohort,
        lesion=participant.lesion,
        dice={name: dice(*pair) for name, pair in pairs.items()},
        hd95_paper_mm={
            name: hausdorff_distance(*pair, spec.spacing_mm, quantile=0.95, points="foreground")
            for name, pair in pairs.items()
        },
        vs={name: volumetric_similarity(*pair) for name, pair in pairs.items()},
        fraction=100.0 * masks["GT"].sum() / drawn.size,
        area_mm2=float(np.mean([row.area_mm2 for row in slices])),
        swelling=max(row.swelling for row in slices),
        slice_change=change_per_slice(masks["GT"]),
        tibial_mm2=float(tibial) if below else float("nan"),
        peroneal_mm2=float(peroneal) if below else float("nan"),
    )


def change_per_slice(mask: Any) -> float:
    """Median change of the area from one slice to the next, relative to their mean."""
    area = mask.sum(axis=(0, 1)).astype(float)
    return float(np.median(np.abs(np.diff(area)) / np.maximum((area[1:] + area[:-1]) / 2, 1.0)))


def measured(spec: CohortSpec, workers: int) -> list[Measured]:
    """Every subject of a cohort."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(measure, spec), participants(spec), chunksize=8))


def calibration(many: list[Measured]) -> Iterable[Row]:
    """The table: what the paper or the anatomy asks for, and what the cohort gives."""
    by_cohort = {name: [one for one in many if one.cohort == name] for name in R_R}
    fractions = {name: np.array([one.fraction for one in rows]) for name, rows in by_cohort.items()}
    mean = (10 * fractions["volunteer"].mean() + 42 * fractions["patient"].mean()) / 52
    square = (10 * (fractions["volunteer"] ** 2).mean() + 42 * (fractions["patient"] ** 2).mean()) / 52
    yield near("all", "nerve fraction of the grid, %", 0.143, 0.01, mean)
    yield near("all", "its standard deviation", 0.049, 0.02, np.sqrt(square - mean**2))
    for cohort, rows in by_cohort.items():
        target, target_sd, target_vs = R_R[cohort]
        pooled = pool(rows, "dice")
        yield near(cohort, "R-R Dice", target, 0.01, pooled.mean())
        yield near(cohort, "R-R Dice, standard deviation", target_sd, 0.02, pooled.std(ddof=1))
        for pair, value in TABLE1_DICE[cohort].items():
            yield near(cohort, f"{pair} Dice", value, 0.02, float(np.mean([one.dice[pair] for one in rows])))
        yield near(cohort, "R-R VS", target_vs, 0.015, pool(rows, "vs").mean())
        yield from distances(cohort, rows)
    yield from anatomy(by_cohort)


def distances(cohort: str, rows: list[Measured]) -> Iterable[Row]:
    """R-R `hd95_paper_mm`."""
    pooled = pool(rows, "hd95_paper_mm")
    if cohort == "volunteer":
        exact = np.isclose(pooled, 200 / 384, atol=1e-3).mean()
        outlying = float(np.mean([max(one.hd95_paper_mm[pair] for pair in PAIRS) > 1.0 for one in rows]))
        yield Row(cohort, "R-R HD95: share at one pixel", 25 / 30, 1.0, ">= 25/30", exact)
        yield Row(cohort, "R-R HD95: share of outlying subjects", 0.02, 0.2, "about 1 in 10", outlying)
    else:
        yield Row(cohort, "R-R HD95, mm", 11.2 / 1.3, 11.2 * 1.3, "11.2 within 1.3x", pooled.mean())
        yield Row(cohort, "R-R HD95, median, mm", 0.0, 1.1, "< 1.1", float(np.median(pooled)))
        share = (pooled > GROSS_MM).mean()
        yield Row(cohort, f"R-R HD95: share beyond {GROSS_MM:g} mm", 0.20, 0.28, "0.20 to 0.28", share)


def anatomy(by_cohort: dict[str, list[Measured]]) -> Iterable[Row]:
    """Areas; the tolerances of this part are the project's own."""
    healthy = np.array([one.area_mm2 for one in by_cohort["volunteer"]])
    yield near("volunteer", "nerve area per slice, mm2", 45.0, 3.0, healthy.mean())
    yield near("volunteer", "its standard deviation", 12.0, 3.0, healthy.std(ddof=1))
    swelling = [one.swelling for one in by_cohort["patient"] if one.lesion in ("focal", "extended")]
    yield Row("patient", "greatest swelling, 5th percentile", 1.25, 3.0, "1.3 to 3", float(np.percentile(swelling, 5)))
    yield Row("patient", "greatest swelling, 95th percentile", 1.3, 3.0, "1.3 to 3", float(np.percentile(swelling, 95)))
    parts = [one for rows in by_cohort.values() for one in rows if one.tibial_mm2 == one.tibial_mm2]
    tibial = float(np.mean([one.tibial_mm2 for one in parts]))
    peroneal = float(np.mean([one.peroneal_mm2 for one in parts]))
    yield Row("all", "tibial nerve below the split, mm2", 20.0, 35.0, "20 to 35", tibial)
    yield Row("all", "peroneal nerve below the split, mm2", 8.0, 20.0, "8 to 20", peroneal)
    if REAL_MASK.is_file():
        import SimpleITK

        real = change_per_slice(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(REAL_MASK))).transpose(2, 1, 0) > 0)
        change = float(np.mean([one.slice_change for rows in by_cohort.values() for one in rows]))
        yield Row("all", "change from slice to slice", real / 1.5, real * 1.5, f"{real:.3f} (real mask) 1.5x", change)


def near(cohort: str, quantity: str, target: float, tolerance: float, value: float) -> Row:
    """A row whose target is a value with a tolerance."""
    return Row(cohort, quantity, target - tolerance, target + tolerance, f"{target:g} +- {tolerance:g}", float(value))


def pool(rows: list[Measured], metric: str) -> Any:
    """A metric over subjects and rater pairs."""
    return np.array([getattr(one, metric)[pair] for one in rows for pair in PAIRS])


def shipped(few: list[Measured], many: list[Measured]) -> Iterable[Row]:
    """How far the shipped cohort lies from the expectation, in standard errors (subjects, not pairs, are drawn)."""
    kinds: dict[str, Callable[[Measured], float]] = {
        "R-R Dice": lambda one: float(np.mean([one.dice[pair] for pair in PAIRS])),
        "R-R VS": lambda one: float(np.mean([one.vs[pair] for pair in PAIRS])),
        "R-R HD95": lambda one: float(np.mean([one.hd95_paper_mm[pair] for pair in PAIRS])),
        "nerve fraction": lambda one: one.fraction,
    }
    for cohort, (name, of) in itertools.product(R_R, kinds.items()):
        here, there = (np.array([of(one) for one in group if one.cohort == cohort]) for group in (few, many))
        errors = (here.mean() - there.mean()) / (there.std(ddof=1) / np.sqrt(len(here)))
        yield Row(cohort, f"shipped {name}, standard errors off", -2.0, 2.0, "-2 to 2", float(errors))


def cost(spec: CohortSpec) -> Iterable[Row]:
    """Time and memory of one whole subject with its files, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool_of_one:
        seconds, megabytes = pool_of_one.submit(whole_subject, spec).result()
    yield Row("all", "one subject with its files, CPU seconds", 0.0, 6.0, "<= 6", seconds)
    yield Row("all", "peak memory, MB", 0.0, 1000.0, "<= 1000", megabytes)


def whole_subject(spec: CohortSpec) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of the median of three subjects."""
    seconds = []
    rows = participants(spec)
    for row in (rows[0], rows[len(rows) // 5], rows[-1]):
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            write_subject(spec, Path(folder), row)
        seconds.append(time.process_time() - start)
    return float(np.median(seconds)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    start = time.perf_counter()
    paper = CohortSpec(**yaml.safe_load(COHORT.read_text(encoding="utf-8")))
    quick = paper.model_copy(update={"raters_only": True})
    many = measured(quick.model_copy(update={"seed": OTHER_SEED} | MANY), arguments.workers)
    few = measured(quick, arguments.workers)
    rows = [*calibration(many), *shipped(few, many), *cost(paper)]
    print("| cohort | quantity | target | value | |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        verdict = "met" if row.met else "MISSED"
        print(f"| {row.cohort} | {row.quantity} | {row.target} | {row.value:.3f} | {verdict} |")
    print(f"\n{sum(row.met for row in rows)} of {len(rows)} met; {time.perf_counter() - start:.0f} s")
    if arguments.json:
        content = [asdict(row) | {"value": float(row.value), "met": row.met} for row in rows]
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
