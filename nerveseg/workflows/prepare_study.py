"""Open and preprocess the study that a configuration names; simulate a synthetic one that does not exist."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from glob import iglob
from pathlib import Path

from nerveseg.console import report_progress, say
from nerveseg.data.folds import Fold, hold_out, select_fold, split_folds
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.rater_counts import write_rater_counts
from nerveseg.data.slice_store import SliceStore, prepare_slices
from nerveseg.data.slice_store_build import available_cores
from nerveseg.data.study import Study, open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.template_fields import template_glob
from nerveseg.errors import FoldError, StudyError
from nerveseg.files import check_writable_folder, wait_for_lock, write_text
from nerveseg.phantom.specification import CohortSpec
from nerveseg.workflows.config import StudyConfig
from nerveseg.workflows.run_records import differences
from nerveseg.workflows.training_job import TrainingJob

STORES = "slices"  # name of the folder, below `output_root`, of slice stores and of the cached hashes of studies' files

LOCK = ".preparing"  # name of the lock file in the folder of slice stores

COHORT_FILE = "code/cohort.json"  # BIDS keeps there what made a dataset
"""Name of the file, in a synthetic study's folder, with the options of the simulation."""


def open_configured_study(config: StudyConfig) -> Study:
    """Open a study; simulate a synthetic one first if its folder does not exist."""
    root = config.root
    if config.simulate and not root.exists():
        check_writable_folder(root, "study.root")
        with wait_for_lock(root.with_name(f".{root.name}.simulating")):
            if not root.exists():  # another process may have simulated it meanwhile
                simulate(config.simulate, root, workers=1)
    return open_study(checked_layout(config))


def check_study_folder(job: TrainingJob) -> None:
    """Raise `StudyError` if a training that has not begun names a study without a folder, before torch is imported."""
    study = job.config.study
    if not (study.simulate or study.root.exists() or job.folder.path.exists()):
        open_study(study.layout)


def checked_layout(config: StudyConfig, masks: bool = True) -> StudyLayout:
    """Return a study's layout; `masks` says whether the raters' masks are needed.

    Raises:
        StudyError: The study's folder was simulated with other options than configured, or by an earlier version that
            wrote fewer files.
    """
    if config.simulate:
        _check_simulation(config.simulate, config.root)
        _check_simulated_files(config.root, [*config.images.values(), *(config.raters.values() if masks else ())])
    return config.layout


def _check_simulation(cohort: CohortSpec, root: Path) -> None:
    for record in filter(Path.is_file, (root / COHORT_FILE, root / "cohort.json")):  # the second of earlier versions
        before = {"varied": False} | json.loads(record.read_text(encoding="utf-8"))  # of earlier versions
        changes = differences(before, json.loads(cohort.model_dump_json()))
        if changes:
            raise StudyError(
                "the options with which the synthetic study in this folder was simulated",
                found="; ".join(changes),
                path=root,
                remedy="study.root=<another folder>, or delete this one",
            )


def _check_simulated_files(root: Path, templates: Iterable[str]) -> None:
    for template in templates if root.is_dir() else ():
        if next(iglob(template_glob(template), root_dir=root), None) is None:
            rule = "a simulated study has files of each of its templates"
            remedy = "if an earlier version simulated it, delete the folder, and train simulates it again"
            found = f"none of {template}"
            raise StudyError(rule, found=found, path=root, remedy=f"correct the template, or {remedy}")


def simulate(cohort: CohortSpec, root: Path, workers: int) -> None:
    """Write a synthetic study into a new folder, with a number of processes; raise `StudyError` if it exists."""
    from nerveseg.phantom.cohort import write_cohort

    with report_progress(f"simulating the study {cohort.name}") as progress:
        write_cohort(cohort, root, workers, progress)
    write_text(root / COHORT_FILE, cohort.model_dump_json(indent=1) + "\n")
    say(f"SYNTHETIC study {cohort.name}: {root}")


def prepared_slices(study: Study, preprocessing: Preprocessing, output_root: Path) -> SliceStore:
    """Return the study's slice store below the output folder; one process builds it if missing, others wait."""
    stores = output_root / STORES
    title = f"preparing {study.description.name}"
    with wait_for_lock(stores / LOCK), report_progress(title, len(study.subjects)) as progress:
        return prepare_slices(study, preprocessing, stores, progress, available_cores())


@dataclass(frozen=True)
class FoldInput:
    """Data of a fold."""

    study: Study  # opened study
    fold: Fold  # training and test subjects
    store: SliceStore  # slices and consensus masks

    @property
    def training_ids(self) -> list[str]:
        """Ids of the training subjects."""
        return [subject.id for subject in self.fold.train]


def load_fold(job: TrainingJob) -> FoldInput:
    """Return the study of a job, its split and its slices."""
    config = job.config
    study = open_configured_study(config.study)
    for channel in study.description.optional_channels:
        missing = [subject.id for subject in study.subjects if channel not in subject.images]
        if missing:
            say(f"{channel} is missing in {len(missing)} of {len(study.subjects)} subjects")
    folds = split_folds(study.subjects, config.folds.count, config.folds.seed, config.folds.minimum_per_cohort)
    fold = hold_out(select_fold(folds, config.fold), config.folds.validation_fraction, config.folds.seed)
    for channel in study.description.optional_channels:
        if not any(channel in subject.images for subject in fold.train):
            rule, remedy = "some training subjects have each optional channel", "folds.seed=<another>, or leave it out"
            raise FoldError(rule, found=f"{channel} in none of {len(fold.train)}", remedy=remedy)
    store = prepared_slices(study, config.preprocessing, config.output_root)
    if config.target == "raters":
        title = f"counting the raters of {study.description.name}"
        with wait_for_lock(store.folder.parent / LOCK), report_progress(title, len(fold.train)) as progress:
            write_rater_counts(study, store, fold.train, progress)
    return FoldInput(study, fold, store)
