"""Normative values: z-scores from a user's table of measured values.

The table is CSV with the columns quantity, location, sex, weight_min_kg, weight_max_kg, mean, sd. An empty cell means
any. A row applies if all its filled cells match the known data of the patient: a row for women does not apply where the
sex is unknown. Weight is in [min, max). For each quantity at most one row may apply; without a row there is no z-score.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.errors import ConfigurationError

NORM_COLUMNS = ("quantity", "location", "sex", "weight_min_kg", "weight_max_kg", "mean", "sd")
QUANTITIES = (
    "volume_mm3", "length_mm", "mean_csa_mm2", "mean_csa_perpendicular_mm2", "max_csa_mm2", "lesion_volume_mm3",
    "lesion_burden",
)  # fmt: skip
"""Quantities of the summary; the mean signal of a channel is `mean_signal.<channel>`."""

SIGNAL = "mean_signal."
COVERED = 0.99  # least judged share of the nerve from which a lesion's volume is compared with whole nerves


class Norm(BaseModel, frozen=True, extra="forbid"):
    """Row of the table; None means any."""

    quantity: str
    location: str | None = None
    sex: str | None = None
    weight_min_kg: float | None = None
    weight_max_kg: float | None = None
    mean: float = Field(allow_inf_nan=False)
    sd: float = Field(gt=0, allow_inf_nan=False)


@dataclass(frozen=True)
class PatientTraits:
    """Known data of the patient by which a norm is selected; None is unknown."""

    location: str | None = None
    sex: str | None = None
    weight_kg: float | None = None


def read_norms(path: Path) -> tuple[Norm, ...]:
    """Read a normative table.

    Raises:
        ConfigurationError: The file is no readable table, or has other columns, an unknown quantity, or a value out of
            range.
    """
    remedy = "columns: " + ", ".join(NORM_COLUMNS) + "; an empty cell is any"
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ConfigurationError("a table of norms", found=error, path=path, remedy=remedy) from None
    if sorted(frame.columns) != sorted(NORM_COLUMNS):
        found = ", ".join(map(str, frame.columns))
        raise ConfigurationError("the seven columns of a table of norms", found=found, path=path, remedy=remedy)
    return tuple(_norm(row, line, path) for line, row in enumerate(frame.to_dict("records"), start=2))


def _norm(row: dict[Any, Any], line: int, path: Path) -> Norm:
    cells = {name: value.strip() for name, value in row.items() if value.strip()}
    try:
        norm = Norm.model_validate(cells)
    except ValidationError as error:
        first = error.errors()[0]
        found = f"line {line}, {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ConfigurationError("a norm with a mean and a positive sd", found=found, path=path) from None
    if norm.quantity not in QUANTITIES and not norm.quantity.startswith(SIGNAL):
        rule, remedy = "a norm of a quantity of the summary", f"one of {', '.join(QUANTITIES)}, {SIGNAL}<channel>"
        raise ConfigurationError(rule, found=f"line {line}: {norm.quantity}", path=path, remedy=remedy)
    return norm


def norms_for(patient: PatientTraits, norms: Iterable[Norm]) -> dict[str, Norm]:
    """Return the norm of each quantity that has one for the patient.

    Raises:
        ConfigurationError: Several rows fit.
    """
    fitting: dict[str, list[Norm]] = {}
    for norm in norms:
        if _fits(norm, patient):
            fitting.setdefault(norm.quantity, []).append(norm)
    for quantity, rows in fitting.items():
        if len(rows) > 1:
            rule, found = "one row of the norms per patient and quantity", f"{len(rows)} rows for {quantity}"
            raise ConfigurationError(rule, found=found, remedy="make the rows of the table exclude one another")
    return {quantity: rows[0] for quantity, rows in fitting.items()}


def z_scores(summary: NerveSummary, norms: Mapping[str, Norm]) -> dict[str, float]:
    """Compute the distance from the norm in standard deviations, for every quantity with a value and a norm."""
    values = {quantity: _value(summary, quantity) for quantity in norms}
    return {name: (value - norms[name].mean) / norms[name].sd for name, value in values.items() if value is not None}


def _value(summary: NerveSummary, quantity: str) -> float | None:
    if quantity.startswith(SIGNAL):
        return summary.mean_signal.get(quantity.removeprefix(SIGNAL))
    if quantity == "lesion_volume_mm3" and (summary.lesion_coverage or 0.0) < COVERED:
        return None
    value = getattr(summary, quantity)
    return None if value is None else float(value)


def _fits(norm: Norm, patient: PatientTraits) -> bool:
    weight_kg, least, most = patient.weight_kg, norm.weight_min_kg, norm.weight_max_kg
    above = least is None or (weight_kg is not None and weight_kg >= least)
    below = most is None or (weight_kg is not None and weight_kg < most)
    return above and below and norm.location in (None, patient.location) and norm.sex in (None, patient.sex)
