"""Accuracy of the paper's recipe, of `experiment=best` and of nnU-Net, at equal processor time per fold.

`python benchmarks/accuracy.py [half|hippocampus|hippocampus_parts] [--methods ...] [--folds ...] [--seconds S]
[--nnunet-python FILE] [--root FOLDER]` trains every method on every fold, one thread each, and prints a table. Each
training is resumable and each finished one is kept: the same command goes on, and several may run side by side with
other folds or methods.

- Equal time: what an epoch costs is measured first (trainings of few batches, thrown away), and a method gets as many
  epochs as fit into the seconds, its learning-rate schedule included. The table has the processor seconds that were
  used: of nnU-Net those of the training, of ours those of the whole command, test and start included.
- nnU-Net (2-D and 3-D) runs in an environment of its own, see `nnunet_fold.py`; it gets the slices that ours get, that
  is the same crop on the same voxels, and the same training subjects. Its masks are put back on the scan's grid.
- All scores are those of `nerveseg.evaluate`, on the same test subjects, against the consensus of the raters.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from rows import this_machine

from nerveseg.data.folds import Fold, select_fold, split_folds
from nerveseg.data.slice_store import SliceStore
from nerveseg.data.study import Study
from nerveseg.data.volumes.volume import read_image_grid, write_labels
from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS
from nerveseg.files import wait_for_lock
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.prepare_study import open_configured_study, prepared_slices
from nerveseg.workflows.training_job import TrainingJob, training_job

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
FIXED = ("logger=csv", "report=false", "trainer=cpu", "trainer.workers=0", "trainer.compile=false")
TRIAL_BATCHES = (8, 80)
TRIALS = 2  # of each, of which the faster counts: a busy machine makes single ones slower
FAR_MM = 10.0  # limit of the share of subjects with a far surface error


@dataclass(frozen=True)
class Yardstick:
    """A study with the recipes that are compared on it; overrides of `train` by method, and the seconds of a fold."""

    study: str
    seconds: float
    recipes: dict[str, tuple[str, ...]]


YARDSTICKS = {
    "half": Yardstick("phantom_half", 900, {"paper": ("experiment=half",), "best": ("experiment=best_half",)}),
    "hippocampus": Yardstick(
        "hippocampus",
        150,
        {"paper": ("experiment=hippocampus",), "best": ("experiment=hippocampus_parts", "study=hippocampus")},
    ),
    "hippocampus_parts": Yardstick(
        "hippocampus_parts",
        150,
        {"paper": ("experiment=hippocampus", "study=hippocampus_parts"), "best": ("experiment=hippocampus_parts",)},
    ),
}
NNUNET = {"nnunet_2d": "2d", "nnunet_3d": "3d_fullres"}


@dataclass(frozen=True)
class Bench:
    """One yardstick below a folder."""

    name: str
    seconds: float
    root: Path
    nnunet_python: Path

    @property
    def yardstick(self) -> Yardstick:
        """Study and recipes."""
        return YARDSTICKS[self.name]

    @cached_property
    def config(self) -> TrainConfig:
        """Configuration that names study, preprocessing and folds."""
        return self.job("paper", 0).config

    @cached_property
    def study(self) -> Study:
        """The study, simulated first if it is a synthetic one that does not exist."""
        return open_configured_study(self.config.study)

    @cached_property
    def store(self) -> SliceStore:
        """Its preprocessed slices."""
        return prepared_slices(self.study, self.config.preprocessing, self.root)

    def fold(self, number: int) -> Fold:
        """The split of a fold, the same for all methods."""
        folds = self.config.folds
        return select_fold(split_folds(self.study.subjects, folds.count, folds.seed, folds.minimum_per_cohort), number)

    def job(self, method: str, fold: int, *more: str) -> TrainingJob:
        """The training of a fold by a recipe."""
        words = to_hydra_overrides("train", self.overrides(method, fold, *more))
        return training_job(compose_jobs("train", words)[0])

    def overrides(self, method: str, fold: int, *more: str, name: str | None = None) -> list[str]:
        """Words after `train`."""
        name = name or self.run_name(method)
        recipe = self.yardstick.recipes[method]
        return [*recipe, f"name={name}", f"fold={fold}", f"output_root={self.root}", *FIXED, *more]

    def run_name(self, method: str) -> str:
        """Name of a method's run; another budget is another run."""
        return f"accuracy-{self.name}-{method}-{self.seconds:g}s"

    def work(self, method: str, fold: int | None = None) -> Path:
        """Folder of what the benchmark keeps of a method."""
        folder = self.root / "accuracy" / self.run_name(method)
        return folder if fold is None else folder / f"fold-{fold}"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default="half", choices=YARDSTICKS)
    parser.add_argument("--methods", nargs="+", choices=["paper", "best", *NNUNET])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--seconds", type=float, help="processor seconds of a training; default 900 (hippocampus 150)")
    parser.add_argument("--root", type=Path, default=REPOSITORY / "outputs")
    parser.add_argument("--nnunet-python", type=Path, default=REPOSITORY / "outputs" / "nnunet" / "bin" / "python")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and train nothing")
    options = parser.parse_args()
    seconds = options.seconds or YARDSTICKS[options.study].seconds
    methods = options.methods or [*YARDSTICKS[options.study].recipes, *NNUNET]
    bench = Bench(options.study, seconds, options.root.absolute(), options.nnunet_python)
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}
    if not options.table:
        for fold in options.folds:
            for method in methods:
                print(f"{bench.name}: {method}, fold {fold}", flush=True)
                run_nnunet(bench, method, fold) if method in NNUNET else run_nerveseg(bench, method, fold)
    print(f"\n{bench.name}, {bench.seconds:g} processor seconds a fold, {this_machine()}\n")
    print(table(bench, methods, options.folds))


def run_nerveseg(bench: Bench, method: str, fold: int) -> None:
    """Train and test a fold of a recipe with the epochs that the time allows."""
    chosen = f"optimization.epochs={epochs_in_time(bench, method)}"
    if bench.job(method, fold, chosen).folder.is_complete:
        return
    record = bench.work(method, fold) / "cost.json"
    before, start = _read(record)["seconds"] if record.exists() else 0.0, _children_seconds()
    try:
        _run("train", bench.overrides(method, fold, chosen))
    finally:
        _write(record, {"seconds": before + _children_seconds() - start})


def epochs_in_time(bench: Bench, method: str) -> int:
    """Return the number of epochs that fit into the time, measured on two trainings of few batches."""
    file = bench.work(method) / "epochs.json"
    with wait_for_lock(file.with_name(".measuring")):
        if not file.exists():
            bench.store  # noqa: B018  prepared here, so that no training counts it
            config = bench.job(method, 0).config
            samples = sum(config.context.samples(bench.store.subject(one.id).slices) for one in bench.fold(0).train)
            few, many = (
                min(_trial_seconds(bench, method, batches) for _ in range(TRIALS)) for batches in TRIAL_BATCHES
            )
            if many <= few:
                raise SystemExit(
                    f"accuracy: the cost of a batch could not be measured, {few:.1f} and {many:.1f} s; again"
                )
            batch_s = (many - few) / (TRIAL_BATCHES[1] - TRIAL_BATCHES[0])
            epoch_s = batch_s * -(-samples // config.optimization.batch_size)
            _write(file, {"epoch_s": epoch_s, "epochs": max(1, round(bench.seconds / epoch_s))})
    return int(_read(file)["epochs"])


def _trial_seconds(bench: Bench, method: str, batches: int) -> float:
    name = f"{bench.run_name(method)}-trial"
    shutil.rmtree(bench.root / name, ignore_errors=True)
    few = ("folds=even", "folds.count=26", "optimization.epochs=1", f"trainer.limit_train_batches={batches}")
    start = _children_seconds()
    _run("train", bench.overrides(method, 0, *few, name=name))
    shutil.rmtree(bench.root / name)
    return _children_seconds() - start


def _run(verb: str, words: Sequence[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", f"nerveseg.{verb}", *words], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL
    )


def _children_seconds() -> float:
    """Return the processor seconds of all commands that were run so far."""
    times = os.times()
    return times.children_user + times.children_system


def run_nnunet(bench: Bench, method: str, fold: int) -> None:
    """Train nnU-Net on a fold's slices, and write its masks in the scans' own grids."""
    folder, split = bench.work(method, fold), bench.fold(fold)
    if not bench.nnunet_python.exists():
        raise SystemExit(
            f"accuracy: nnU-Net needs an environment of its own, with nnunetv2==2.8.1 and the torch of constraints.txt;"
            f" found none at {bench.nnunet_python}: make it with venv and pip, or give --nnunet-python"
        )
    if not (folder / "exported").exists():
        for one in (*split.train, *split.test):
            _export(bench, one.id, folder, is_test=one in split.test)
        parts = bench.study.description.class_table
        _write(folder / "classes.json", {parts.part_name(part): part for part in range(1, parts.count + 1)})
        (folder / "exported").touch()
    log = folder / "log.txt"
    with log.open("a", encoding="utf-8") as file:
        subprocess.run(
            [str(bench.nnunet_python), str(HERE / "nnunet_fold.py"), str(folder), NNUNET[method], str(bench.seconds)],
            check=True, stdout=file, stderr=file,
        )  # fmt: skip
    (bench.work(method) / "masks").mkdir(exist_ok=True)
    for subject in split.test:
        grid = read_image_grid(subject.image)
        cropped = np.asarray(nibabel.load(folder / "masks" / f"{subject.id}.nii.gz").dataobj)  # type: ignore[attr-defined]
        network = bench.store.index.preprocessing.grid(grid.ras_shape[:2], grid.ras_spacing_mm)
        whole = np.zeros(grid.ras_shape, np.uint8)
        for part in range(1, bench.study.description.class_table.count + 1):
            whole[network.undo((cropped == part).astype(np.float32)) > 0.5] = part
        labels = bench.study.description.class_table.decode(whole)
        write_labels(bench.work(method) / "masks" / f"{subject.id}.nii.gz", labels, grid)


def _export(bench: Bench, subject_id: str, folder: Path, is_test: bool) -> None:
    stored = bench.store.subject(subject_id)
    affine = np.diag([*stored.spacing_mm, 1.0])
    image = bench.store.images(subject_id)[:, 0].transpose(1, 2, 0)
    label = bench.store.labels(subject_id).transpose(1, 2, 0)
    files = {folder / ("tests" if is_test else "images") / f"{subject_id}_0000.nii.gz": image}
    if not is_test:
        files[folder / "labels" / f"{subject_id}.nii.gz"] = label
    for path, array in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.Nifti1Image(np.array(array), affine).to_filename(path)


def table(bench: Bench, methods: Sequence[str], folds: Sequence[int]) -> str:
    """Return the Markdown table of what has been trained: a row per method, class and cohort, and of the raters."""
    every = {method: scores for method in methods if (scores := _scores(bench, method, folds)) is not None}
    head = (
        "| method | class | cohort | folds | n | Dice | Dice, each rater | HD95, mm (median) | HD95 > 10 mm |"
        " Dice minus best's | better in | seconds a fold |"
    )
    lines = [head, "|" + 12 * " --- |"]
    lines += _rater_rows(next(iter(every.values()))) if every else []
    automatic = {method: scores[scores.comparison == AUTOMATIC_CONSENSUS] for method, scores in every.items()}
    for method, scores in automatic.items():
        for (structure, cohort), part in scores.groupby(["class", "cohort"], sort=False):
            dice = part[part.metric == "dice"].set_index("subject").value
            far = part[part.metric == "hd95_mm"].value.fillna(inf)  # of an empty mask
            versus = _versus(dice, automatic.get("best"), structure, cohort) if method != "best" else ("", "")
            lines.append(
                f"| {method} | {structure} | {cohort} | {part.fold.nunique()} | {len(dice)} | {dice.mean():.3f} ±"
                f" {dice.std():.3f} | {_against_raters(every[method], structure, cohort)} | {far.median():.2f} |"
                f" {(far > FAR_MM).sum()} of {len(far)} | {versus[0]} | {versus[1]} |"
                f" {_seconds(bench, method, folds)} |"
            )
    return "\n".join(lines)


def _rater_rows(scores: Any) -> list[str]:
    """Return the rows of the raters among themselves: means over the pairs, in the subjects of one method's scores."""
    of_raters = ~scores.comparison.str.startswith("Auto-") & ~scores.comparison.str.endswith("-GT")
    lines = []
    for (structure, cohort), part in scores[of_raters].groupby(["class", "cohort"], sort=False):
        dice = part[part.metric == "dice"].groupby("subject").value.mean()
        far = part[part.metric == "hd95_mm"].value.fillna(inf)
        lines.append(
            f"| raters, each other | {structure} | {cohort} | {part.fold.nunique()} | {len(dice)} | |"
            f" {dice.mean():.3f} | {far.median():.2f} | {(far > FAR_MM).sum()} of {len(far)} pairs | | | |"
        )
    return lines


def _against_raters(scores: Any, structure: str, cohort: str) -> str:
    """Return the mean Dice of the automatic masks and the masks of each rater; empty if there is one rater."""
    chosen = (scores["class"] == structure) & (scores.cohort == cohort) & (scores.metric == "dice")
    chosen &= scores.comparison.str.startswith("Auto-") & (scores.comparison != AUTOMATIC_CONSENSUS)
    return f"{scores[chosen].value.mean():.3f}" if chosen.any() else ""


def _versus(dice: Any, best: Any, structure: str, cohort: str) -> tuple[str, str]:
    """Return the mean difference from the best recipe's Dice in the same subjects, with its standard error."""
    if best is None:
        return "", ""
    chosen = (best["class"] == structure) & (best.cohort == cohort) & (best.metric == "dice")
    difference = (dice - best[chosen].set_index("subject").value).dropna()
    if len(difference) < 2:
        return "", ""
    error = stdev(difference) / len(difference) ** 0.5
    return f"{mean(difference):+.3f} ± {error:.3f}", f"{(difference > 0).sum()} of {len(difference)}"


def _scores(bench: Bench, method: str, folds: Sequence[int]) -> Any:
    """Return the scores of all comparisons, or None if no fold is finished."""
    if method in NNUNET:
        done = [fold for fold in folds if (bench.work(method, fold) / "predicted").exists()]
        if not done:
            return None
        output = bench.work(method) / "evaluation"
        words = [f"study={bench.yardstick.study}", f"study.root={bench.study.description.root}", f"output={output}"]
        words += [f"prediction={bench.work(method) / 'masks'}", "missing_predictions=skip", "report=false"]
        _run("evaluate", words)
        scores = pd.read_csv(output / "scores.csv", dtype={"subject": str})
        of_fold = {one.id: fold for fold in done for one in bench.fold(fold).test}
        scores["fold"] = scores.subject.map(of_fold)
        scores = scores[scores.fold.notna()]
    else:
        if not (bench.work(method) / "epochs.json").exists():
            return None
        chosen = f"optimization.epochs={epochs_in_time(bench, method)}"
        jobs = [bench.job(method, fold, chosen) for fold in folds]
        tables = [pd.read_csv(job.folder.scores, dtype={"subject": str}) for job in jobs if job.folder.is_complete]
        if not tables:
            return None
        scores = pd.concat(tables)
    return scores


def _seconds(bench: Bench, method: str, folds: Sequence[int]) -> str:
    """Return the range of the processor seconds of a fold: of nnU-Net the training, of ours the whole command."""
    key = "training_seconds" if method in NNUNET else "seconds"
    files = [bench.work(method, fold) / "cost.json" for fold in folds]
    found = [_read(file)[key] for file in files if file.exists()]
    return f"{min(found):.0f} to {max(found):.0f}" if found else ""


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
