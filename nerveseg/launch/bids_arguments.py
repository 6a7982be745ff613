"""Arguments of the BIDS App, as all BIDS Apps take them, and the overrides of `segment` that they stand for.

    nerveseg-bids <bids_dir> <output_dir> participant --model outputs/demo --participant-label 01 02
    nerveseg-bids <bids_dir> <output_dir> group

Reference:
    Gorgolewski et al. 2017, "BIDS apps: Improving ease of use, accessibility, and reproducibility of neuroimaging data
    analysis methods", https://doi.org/10.1371/journal.pcbi.1005209.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from nerveseg import __version__
from nerveseg.errors import ConfigurationError
from nerveseg.inference.model_folder import DEFAULT, packaged_models

PARTICIPANT, GROUP = "participant", "group"
LABEL = re.compile(r"[A-Za-z0-9]+")  # value of an entity of BIDS
USAGE = "nerveseg-bids <bids_dir> <output_dir> participant --model <model>; nerveseg-bids --help"


class _Parser(argparse.ArgumentParser):
    """Parser whose mistakes are errors of nerveseg, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise `ConfigurationError`."""
        raise ConfigurationError("the arguments of a BIDS App", found=message, remedy=USAGE)


def parse_bids_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments; raise `ConfigurationError` for a wrong one.

    Returns:
        Namespace with bids_dir, output_dir (paths), analysis_level, participant_label, session_label (lists without
        `sub-` and `ses-`), image, model, review, n_cpus, skip_bids_validation and option.
    """
    parser = _Parser(
        prog="nerveseg-bids",
        description="Segment the peripheral nerves of a BIDS dataset, and join the results. Not a medical device.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("bids_dir", type=Path, help="folder of the dataset")
    add("output_dir", type=Path, help="folder of the derivatives; those of several runs go into the same one")
    add("analysis_level", choices=(PARTICIPANT, GROUP), help="segment scans, or join the results of all of them")
    add("--participant-label", "--participant_label", nargs="+", default=[], metavar="LABEL", help="only these")
    add("--session-label", "--session_label", nargs="+", default=[], metavar="LABEL", help="only these")
    add("--model", help=f"folder of a sweep, of a fold or of a model; by default {DEFAULT}, the one of nerveseg")
    add(
        "--image", action="append", default=[], metavar="NAME=TEMPLATE",
        help="path of an image with {id}, {ses}, {run}, the model's first channel first: "
        "'T2=sub-{id}/anat/sub-{id}_acq-tse_T2w.nii.gz'; by default the plain T2w images of the dataset",
    )  # fmt: skip
    add("--option", action="append", default=[], metavar="KEY=VALUE", help="any option of nerveseg segment")
    add("--review", type=Path, help="group level: table of a reviewer's verdicts, as segmentations.html exports it")
    add("--n_cpus", "--n-cpus", "--nprocs", type=int, help="number of threads; by default all cores")
    add(
        "--skip-bids-validation", "--skip_bids_validation", "--skip-bids-validator", "--skip_bids_validator",
        action="store_true", help="do not ask for dataset_description.json in the dataset",
    )  # fmt: skip
    add("-v", "--version", action="version", version=f"nerveseg {__version__}")
    given = parser.parse_args(list(argv))
    given.participant_label = _labels(given.participant_label, "sub-", "--participant-label")
    given.session_label = _labels(given.session_label, "ses-", "--session-label")
    if given.n_cpus is not None and given.n_cpus < 1:
        raise ConfigurationError("--n_cpus is a number from 1", found=str(given.n_cpus), remedy="leave it out")
    if given.analysis_level == PARTICIPANT and given.model is None and DEFAULT not in packaged_models():
        raise ConfigurationError("the participant level applies a model", found="no --model", remedy=USAGE)
    if given.analysis_level == PARTICIPANT and given.review:
        raise ConfigurationError("--review goes with the group level", found="participant", remedy="leave it out")
    return given


def _labels(given: Sequence[str], prefix: str, option: str) -> list[str]:
    labels = [label.removeprefix(prefix) for each in given for label in each.replace(",", " ").split()]
    for label in labels:
        if not LABEL.fullmatch(label):
            raise ConfigurationError(
                f"{option} takes labels of BIDS, letters and digits", found=repr(label), remedy=f"{option} 01 02"
            )
    return labels


def segment_overrides(given: argparse.Namespace, images: dict[str, str], results: Path) -> list[str]:
    """Return the words of `segment` that the participant level stands for.

    Args:
        given: Arguments.
        images: Path template of each channel.
        results: Folder of the results.
    """
    added = [f"+study.images.{name}={_quoted(template)}" for name, template in images.items()]
    chosen = [
        f"{option}=[{','.join(map(_quoted, labels))}]"
        for option, labels in (("participants", given.participant_label), ("sessions", given.session_label))
        if labels
    ]
    return [
        "study=bids", f"study.root={given.bids_dir}", "~study.images.T2", *added,
        *([] if given.model is None else [f"model={given.model}"]),
        f"output={results}", *chosen, *given.option,
    ]  # fmt: skip


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
