"""Normative values: z-scores from a table that somebody measured, and from nothing else.

The table is CSV with the columns quantity, location, sex, weight_min_kg, weight_max_kg, mean, sd. An empty cell means
any. A row speaks of a person if all its filled cells fit what is known of the person: a row for women says nothing
where the sex is unknown. Weight lies in [min, max), so that neighbouring bands share no weight. For each quantity one
row may fit; none gives no z-score, several are an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.errors import ConfigurationError

NORM_COLUMNS = ("quantity", "location", "sex", "weight_min_kg", "weight_max_kg", "mean", "sd")
QUANTITIES = (
    "volume_mm3",
    "length_mm",
    "mean_csa_mm2",
    "mean_csa_perpendicular_mm2",
    "max_csa_mm2",
    "lesion_volume_mm3",
    "lesion_burden",
)
"""Of the summary; the mean signal of a channel is `mean_signal.<channel>`."""

SIGNAL = "mean_signal."
COVERED = 0.99
"""Least share of the nerve that a lesion's volume is of, to be held against whole nerves."""


class Norm(BaseModel):
    """One row of the table; None is any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantity: str
    location: str | None = None
    sex: str | None = None
    weight_min_kg: float | None = None
    weight_max_kg: float | None = None
    mean: float = Field(allow_inf_nan=False)
    sd: float = Field(gt=0, allow_inf_nan=False)


@dataclass(frozen=True)
class Person:
    """What is known of the person scanned; None is unknown."""

    location: str | None = None
    sex: str | None = None
    weight_kg: float | None = None


def read_norms(path: Path) -> tuple[Norm, ...]:
    """Read a normative table.

    Raises:
        ConfigurationError: Not a readable table, other columns, an unknown quantity, or a value out of range.
    """
    remedy = "columns: " + ", ".join(NORM_COLUMNS) + "; an empty cell is any"
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ConfigurationError("norms is a table", found=error, path=path, remedy=remedy) from None
    if sorted(frame.columns) != sorted(NORM_COLUMNS):
        found = ", ".join(map(str, frame.columns))
        raise ConfigurationError("norms has its seven columns", found=found, path=path, remedy=remedy)
    return tuple(_norm(row, line, path) for line, row in enumerate(frame.to_dict("records"), start=2))


def _norm(row: dict[Any, Any], line: int, path: Path) -> Norm:
    """One row; every fault is named by its line in the file."""
    cells = {name: value.strip() for name, value in row.items() if value.strip()}
    try:
        norm = Norm.model_validate(cells)
    except ValidationError as error:
        first = error.errors()[0]
        found = f"line {line}, {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ConfigurationError("a norm has a mean and a positive sd", found=found, path=path) from None
    if norm.quantity not in QUANTITIES and not norm.quantity.startswith(SIGNAL):
        raise ConfigurationError(
            "a norm is of a quantity of the summary",
            found=f"line {line}: {norm.quantity}",
            path=path,
            remedy=f"one of {', '.join(QUANTITIES)}, {SIGNAL}<channel>",
        )
    return norm


def z_scores(summary: NerveSummary, person: Person, norms: tuple[Norm, ...]) -> dict[str, float]:
    """Distance from the norm in its standard deviations, for every quantity that has a value and a fitting norm.

    Raises:
        ConfigurationError: Several rows fit.
    """
    scores = {}
    for quantity in dict.fromkeys(norm.quantity for norm in norms):
        fitting = [norm for norm in norms if norm.quantity == quantity and _fits(norm, person)]
        if len(fitting) > 1:
            raise ConfigurationError(
                "one row of the norms fits a person",
                found=f"{len(fitting)} rows for {quantity}",
                remedy="make the rows of the table exclude one another",
            )
        value = _value(summary, quantity)
        if fitting and value is not None:
            scores[quantity] = (value - fitting[0].mean) / fitting[0].sd
    return scores


def _value(summary: NerveSummary, quantity: str) -> float | None:
    if quantity.startswith(SIGNAL):
        return summary.mean_signal.get(quantity.removeprefix(SIGNAL))
    if quantity == "lesion_volume_mm3" and (summary.lesion_coverage or 0.0) < COVERED:
        return None
    value = getattr(summary, quantity)
    return None if value is None else float(value)


def _fits(norm: Norm, person: Person) -> bool:
    named = (norm.location in (None, person.location)) and (norm.sex in (None, person.sex))
    if norm.weight_min_kg is None and norm.weight_max_kg is None:
        return named
    if person.weight_kg is None:
        return False
    above = norm.weight_min_kg is None or person.weight_kg >= norm.weight_min_kg
    below = norm.weight_max_kg is None or person.weight_kg < norm.weight_max_kg
    return named and above and below
