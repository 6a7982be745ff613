"""Calibrate the expected Dice at the end of a sweep, on its out-of-fold test subjects, and store it with its models.

`uncertainty.csv` in a fold's folder holds the features of each test subject and class; the fold's test writes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nerveseg.console import say
from nerveseg.errors import RunError
from nerveseg.evaluation.comparisons import CLASS, automatic_dice, read_scores
from nerveseg.evaluation.risk_coverage import EXPECTED_COLUMNS, measure_expectation
from nerveseg.files import file_sha256
from nerveseg.inference.calibration import LEAST_GROUPS, TestedScans, expect_left_out, fit_calibration
from nerveseg.inference.expected_dice import FILE, NOTHING, Calibration, Calibrations, ExpectedDice, write_calibrations
from nerveseg.inference.uncertainty import Features
from nerveseg.runs import FoldFolder

FEATURES = tuple(Features.model_fields)
UNCERTAINTY_COLUMNS = ("subject", CLASS, *FEATURES)
_REMEDY = "delete the fold's scores.csv and train again: only the test is repeated"


def uncertainty_rows(subject: str, features: Mapping[str, Features | None]) -> list[dict[str, object]]:
    """Return the rows of `uncertainty.csv` of a subject; features of an empty mask are missing."""
    return [
        {"subject": subject, CLASS: name, **({} if each is None else each.model_dump())}
        for name, each in features.items()
    ]


def calibrate_folds(folds: Sequence[FoldFolder], study: str) -> pd.DataFrame:
    """Write `expected_dice.json` into the model of every fold; remove it where no class can be calibrated.

    Returns:
        Table with `EXPECTED_COLUMNS`: the Dice expected of each test subject by a calibration on the other folds. It
        lacks the classes that cannot be calibrated, of which a line is printed.

    Raises:
        RunError: A table of a fold is damaged.
    """
    calibrations: dict[str, Calibration] = {}
    tables: dict[str, pd.DataFrame] = {}
    for name, rows in _tested(folds).groupby(CLASS, sort=False):
        found = rows.dropna(subset=list(FEATURES))
        features = [Features.model_validate(row) for row in found[list(FEATURES)].to_dict("records")]
        scans = TestedScans(
            features,
            found["dice"].to_numpy(dtype=float),
            found["fold"].to_numpy(dtype=int),
            found["group"].to_numpy(dtype=str),
        )
        if scans.suffice:
            calibrations[str(name)] = fit_calibration(scans)
            expected = dict(zip(found["subject"], expect_left_out(scans), strict=True))
            tables[str(name)] = _expected(rows, expected)
        else:
            say(
                f"expected Dice of {name}: not calibrated, as it takes {LEAST_GROUPS} people with masks of different"
                f" Dice, spread over at least two folds; there are {found['group'].nunique()} with a mask in"
                f" {found['fold'].nunique()} folds"
            )
    record = Calibrations(
        study=study,
        sources={f"{fold.path.name}/{file.name}": file_sha256(file) for fold in folds for file in _tables(fold)},
        classes=calibrations,
        tests={name: asdict(measure_expectation(table)) for name, table in tables.items()},
    )
    for fold in folds:
        if calibrations and fold.model.is_dir():
            write_calibrations(fold.model, record)
        else:
            (fold.model / FILE).unlink(missing_ok=True)
    return pd.concat(tables.values(), ignore_index=True) if tables else pd.DataFrame(columns=list(EXPECTED_COLUMNS))


def _tables(fold: FoldFolder) -> list[Path]:
    return [path for path in (fold.uncertainty, fold.scores) if path.is_file()]


def _tested(folds: Sequence[FoldFolder]) -> pd.DataFrame:
    """Return features and Dice of the test subjects in whom the Dice is defined; nothing if a fold has no features."""
    columns = ["subject", "group", "cohort", CLASS, "fold", "dice", *FEATURES]
    lacking = [str(fold.number) for fold in folds if not fold.uncertainty.is_file()]
    if lacking:
        say(
            f"expected Dice: not calibrated, as an earlier version tested fold {', '.join(lacking)}"
            f" (no uncertainty.csv): {_REMEDY}"
        )
        return pd.DataFrame(columns=columns)
    tables = [
        automatic_dice(read_scores(fold.scores))
        .rename(columns={"value": "dice"})
        .merge(_read_uncertainty(fold.uncertainty), on=["subject", CLASS], validate="one_to_one")
        for fold in folds
    ]
    return pd.concat(tables, ignore_index=True)[columns].dropna(subset=["dice"])


def _read_uncertainty(path: Path) -> pd.DataFrame:
    """Read `uncertainty.csv`; raise `RunError` if it is damaged."""
    types = {"subject": "string", CLASS: "string"} | dict.fromkeys(FEATURES, "float64")
    try:
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=dict.fromkeys(FEATURES, ""))
    except (ValueError, TypeError, OSError) as error:
        found = f"{type(error).__name__}: {error}"
    else:
        if tuple(table.columns) == UNCERTAINTY_COLUMNS:
            return table
        found = f"the columns {','.join(map(str, table.columns))[:200]}"
    raise RunError(
        f"uncertainty.csv has the columns {','.join(UNCERTAINTY_COLUMNS)}",
        found=found,
        path=path,
        remedy=_REMEDY,
    )


def _expected(rows: pd.DataFrame, expected: Mapping[str, ExpectedDice]) -> pd.DataFrame:
    """Return the table of one class; the Dice of an empty mask is expected to be 0."""
    found = [expected.get(subject, NOTHING) for subject in rows["subject"]]
    numbers = {"expected": "value", "lower": "low", "upper": "high"}
    columns = {column: [getattr(each, name) for each in found] for column, name in numbers.items()}
    return rows.assign(**columns, unlike=[", ".join(each.unlike) for each in found])[list(EXPECTED_COLUMNS)]
