"""Smallest detectable change of each quantity of a comparison: given values, or from repeated scans.

Tables of repeated scans have the columns quantity, first, second (and branch, if any), as `comparison.csv` has, or are
`agreement.csv` of a study. Of a study's table, the largest value of the cohorts and of the sources counts, of the
method alone where both masks are automatic.
"""

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nerveseg.biomarkers.profile import TOTAL
from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.evaluation.statistics.agreement import repeatability, smallest_detectable_change

STUDY_NAMES = {"mean_cross_sectional_area_mm2": "mean_csa_mm2", "volume_mm3": "volume_mm3"}
REMEDY = "a table with columns quantity, first, second, as comparison.csv, or agreement.csv of a study"


@dataclass(frozen=True)
class DetectableChange:
    """Smallest detectable changes."""

    values: Mapping[str, float]  # value by quantity, in its unit; of a branch by <branch>_<quantity>
    note: str  # origin of the values

    def of(self, branch: str, quantity: str) -> float:
        """Return the value of a quantity; NaN where it is not known."""
        return self.values.get(key_of(branch, quantity), float("nan"))


def key_of(branch: str, quantity: str) -> str:
    """Return the name of a quantity of a branch.

    >>> key_of("total", "csa_mm2"), key_of("tibial", "csa_mm2")
    ('csa_mm2', 'tibial_csa_mm2')
    """
    return quantity if branch == TOTAL else f"{branch}_{quantity}"


def tables_of(repeats: str | None) -> list[Path]:
    """Return the tables behind a path or pattern; raise `ConfigurationError` if there are none."""
    if repeats is None:
        return []
    given = Path(repeats).expanduser()
    paths = [given] if given.is_file() else [Path(each) for each in sorted(glob.glob(str(given), recursive=True))]
    if not (files := [path for path in paths if path.is_file()]):
        raise ConfigurationError("repeats= names tables of repeated scans", found="none", path=repeats, remedy=REMEDY)
    return files


def detectable_change(tables: list[Path], given: Mapping[str, float], *, automatic: bool) -> DetectableChange:
    """Return the smallest detectable changes of given values and of tables of repeated scans.

    Args:
        tables: Tables of repeated scans.
        given: Values by quantity.
        automatic: Flag of masks that a model made, so that its own repeatability counts.

    Raises:
        ConfigurationError: A table has other columns, or a quantity has a given value and repeated scans.
    """
    read = [_read(path) for path in tables]
    pairs = [table for table in read if "analysis" not in table]
    values = {} if not pairs else _of_pairs(pd.concat(pairs, ignore_index=True))
    for table in (table for table in read if "analysis" in table):
        for name, value in _of_study(table, automatic).items():
            values[name] = max(value, values.get(name, 0.0))
    if tables and not values:
        raise ConfigurationError(
            "repeated scans of two pairs or more", found="no quantity with two", path=tables[0], remedy=REMEDY
        )
    if twice := sorted(values.keys() & given.keys()):
        raise ConfigurationError(
            "a smallest detectable change has one origin", found=f"{', '.join(twice)}: given, and in repeats=",
            remedy="leave one of them out",
        )  # fmt: skip
    origins = [f"given: {', '.join(sorted(given))}"] if given else []
    counted = f"{len(tables)} {'table' if len(tables) == 1 else 'tables'}"
    origins += [f"repeated scans, {counted}; positions along one nerve are no independent pairs"] if tables else []
    none = "none given, so that no change can be told from the error of measurement (repeats=)"
    return DetectableChange(values | dict(given), f"smallest detectable change: {'; '.join(origins) or none}")


def check_known(
    compared: set[str], given: Mapping[str, float], detectable: DetectableChange, repeats: str | None
) -> None:
    """Raise `ConfigurationError` if a given limit, or all repeated scans, are of no quantity that is compared."""
    unknown = sorted(given.keys() - compared)
    if unknown or (repeats and not detectable.values.keys() & compared):
        raise ConfigurationError(
            "a smallest detectable change is of a quantity that is compared",
            found=", ".join(unknown or sorted(detectable.values)),
            path=None if unknown else repeats,
            remedy=f"one of: {', '.join(sorted(compared))}",
        )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ConfigurationError("repeats= names CSV tables", found=type(error).__name__, path=path) from error
    needed = ["quantity", "comparison", "smallest_detectable_change"] if "analysis" in table else ["first", "second"]
    if missing := [name for name in ["quantity", *needed] if name not in table]:
        raise ConfigurationError(
            "a table of repeated scans", found=f"no column {', '.join(missing)}", path=path, remedy=REMEDY
        )
    return table


def _of_pairs(table: pd.DataFrame) -> dict[str, float]:
    branches = table["branch"] if "branch" in table else pd.Series(TOTAL, index=table.index)
    keys = [
        key_of(str(branch), str(quantity))
        for branch, quantity in zip(branches.fillna(TOTAL), table["quantity"], strict=True)
    ]
    values = {}
    for key, rows in table.groupby(keys, sort=False):
        known = rows[["first", "second"]].apply(pd.to_numeric, errors="coerce").dropna().to_numpy(dtype=np.float64)
        if len(known) > 1:
            values[str(key)] = smallest_detectable_change(repeatability(*known.T).estimate)
    return {key: value for key, value in values.items() if np.isfinite(value)}


def _of_study(table: pd.DataFrame, automatic: bool) -> dict[str, float]:
    rows = table[(table["analysis"] == "repeatability") & table["smallest_detectable_change"].notna()]
    if "class" in rows and (rows["class"] == "nerve").any():
        rows = rows[rows["class"] == "nerve"]
    own = rows[rows["comparison"] == AUTOMATIC]
    rows = own if automatic and len(own) else rows
    largest = rows.groupby("quantity")["smallest_detectable_change"].max()
    return {STUDY_NAMES[str(name)]: float(value) for name, value in largest.items() if name in STUDY_NAMES}
