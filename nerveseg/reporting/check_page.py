"""Page of a study's check: faults, doubts with a picture of each subject, and the measures of every mask."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nerveseg.errors import NervesegError
from nerveseg.evaluation.mask_faults import Doubt
from nerveseg.evaluation.mask_measures import MaskMeasures
from nerveseg.files import write_text
from nerveseg.reporting.overlay import colours, overlay
from nerveseg.reporting.page_assets import data_uri, render
from nerveseg.types import Image, Mask

HEADINGS = (
    "subject", "class", "rater", "voxels", "volume, mm³", "slices", "pieces", "Dice", "best change", "Dice after it",
    "place, x", "place, y", "contrast",
)  # fmt: skip
MOST_PICTURES = 40  # largest number of subjects with a picture; a study with more is wrong as a whole


def checked_case(subject: str, image: Image, masks: Mapping[str, Mask], structure: str = "") -> dict[str, Any]:
    """Draw the slice in which the raters' masks (of a class) are largest; return the template's values of a case."""
    index = int(np.sum(list(masks.values()), axis=0).sum(axis=(0, 1)).argmax())
    picture = overlay(
        image[:, :, index].astype(np.float64), {rater: mask[:, :, index] for rater, mask in masks.items()}
    )
    shown = {"picture": data_uri(picture, "webp"), "colours": list(colours(list(masks)).items())}
    named = f"sub-{subject}{f', {structure}' if structure else ''}"
    return {"subject": named, "slice": index + 1} | shown


def write_check_page(
    path: Path,
    name: str,
    warning: str,
    rows: Sequence[MaskMeasures],
    faults: Sequence[NervesegError],
    doubts: Sequence[Doubt],
    cases: Sequence[Mapping[str, Any]],
) -> None:
    """Write the page of the study `name`, with a warning or none: all measures, and the cases of `checked_case`."""
    flagged = {str(fault.subject) for fault in faults} | {doubt.subject for doubt in doubts}
    several = len({row.structure for row in rows}) > 1
    content = {
        "name": name,
        "warning": warning,
        "subjects": len({row.subject for row in rows}),
        "faults": [str(fault) for fault in faults],
        "doubts": [str(doubt) for doubt in doubts],
        "cases": cases,
        "headings": [heading for heading in HEADINGS if heading != "class" or several],
        "rows": [
            {"flagged": row.subject in flagged, "cells": _cells(row, several)}
            for row in sorted(rows, key=lambda row: row.subject not in flagged)
        ],
    }
    write_text(path, render("check.html.j2", **content))


def _cells(row: MaskMeasures, several: bool) -> list[Any]:
    numbers = [row.dice, row.changed_dice, row.x_share, row.y_share, row.contrast]
    dice, changed, x, y, contrast = ("–" if value != value else f"{value:.2f}" for value in numbers)
    size = [row.voxels, f"{row.volume_mm3:.0f}", row.slices, row.components]
    return [
        f"sub-{row.subject}",
        *([row.structure] if several else []),
        row.rater,
        *size,
        dice,
        row.change or "–",
        changed,
        x,
        y,
        contrast,
    ]
