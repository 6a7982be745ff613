"""Rank the settings of a sweep: a table with a row for each cross-validation, best first.

Settings are chosen by subjects that were held out of the training sets (`folds.validation_fraction`). Without such
subjects the test subjects rank them, and a note under the table says that the choice is biased. The Dice of a subject
is the mean over its classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from nerveseg.console import console, say
from nerveseg.errors import RunError
from nerveseg.evaluation.comparisons import read_scores, subject_dice
from nerveseg.files import write_csv, write_text
from nerveseg.runs import FOLD_PREFIX, FoldFolder, find_folds
from nerveseg.workflows.run_records import read_run_config
from nerveseg.workflows.training_job import result_affecting_options

TABLE = "settings.csv"
OVER_SEEDS = "settings_over_seeds.csv"
RECORD = "settings.json"
VALIDATION = "validation_dice"
TEST = "test_dice"
SEED = "seed"
BIASED = (
    "Sorted by the Dice of the test subjects (Auto-GT). Choosing settings by it is biased: the best of several scores"
    " too high. folds.validation_fraction=0.2 holds training subjects out to choose by."
)
UNBIASED = "Sorted by the Dice of the subjects held out of the training sets; test subjects are not used."


@dataclass(frozen=True)
class Ranking:
    """Cross-validations of several settings."""

    # Row for each, best first, those with missing folds last: the options that differ, number of complete `folds`,
    # numbers of the `missing` ones, number of `subjects` tested, mean `validation_dice` over held-out subjects (NaN
    # without them), mean `test_dice` (Auto-GT) and its `test_dice_sd` over subjects, mean of each cohort, `folder`.
    table: pd.DataFrame
    options: tuple[str, ...]  # columns with options
    chosen_by: str  # column by which the table is sorted
    notes: tuple[str, ...]  # remarks on the choice, printed under the table


def rank_settings(folders: Sequence[Path]) -> Ranking | None:
    """Rank cross-validations by their files; None if fewer than two are begun. Raise `RunError` for a damaged one."""
    folds = {folder: [fold for fold in find_folds(folder) if fold.config.is_file()] for folder in folders}
    begun = {folder: found for folder, found in folds.items() if found}
    if len(begun) < 2:
        return None
    configs = {folder: read_run_config(found[0]) for folder, found in begun.items()}
    options = _differing([result_affecting_options(config) for config in configs.values()])
    scores = {folder: _scores([fold for fold in found if fold.is_complete]) for folder, found in begun.items()}
    rows = [
        {key: values[number] for key, values in options.items()}
        | _row(begun[folder], configs[folder], scores[folder])
        | {"folder": folder.name}
        for number, folder in enumerate(begun)
    ]
    table = pd.DataFrame(rows)
    whole = table["missing"] == ""
    compared = whole if whole.any() else table["folds"] > 0  # a search trains one fold of each
    chosen_by = VALIDATION if compared.any() and table.loc[compared, VALIDATION].notna().all() else TEST
    order = table.assign(whole=whole).sort_values(["whole", chosen_by], ascending=False, kind="stable").index
    cohorts = sorted(key for key in rows[0] | rows[-1] if key.startswith(f"{TEST}_") and key != f"{TEST}_sd")
    columns = [*options, "folds", "missing", "subjects", VALIDATION, TEST, f"{TEST}_sd", *cohorts, "folder"]
    tested = {frozenset(scores[folder]["subject"]) for folder, complete in zip(begun, whole, strict=True) if complete}
    notes = [UNBIASED if chosen_by == VALIDATION else BIASED]
    if len(tested) > 1:
        notes.append("These settings were tested on different subjects, so their order is not conclusive.")
    return Ranking(table.loc[order, columns].reset_index(drop=True), tuple(options), chosen_by, tuple(notes))


def averaged_over_seeds(ranking: Ranking) -> pd.DataFrame | None:
    """Return the mean of each settings over its seeds, or None if the seed is the same in all.

    Returns:
        Table, best first, those with missing folds last: the options without `seed`, number of `seeds` with all their
        folds, number of `incomplete` ones, which do not count, and for `validation_dice`, `test_dice` and that of each
        cohort the mean over seeds, with the SD between seeds (of n - 1; NaN for a single one) as `<column>_seed_sd`.
    """
    if SEED not in ranking.options:
        return None
    options = [option for option in ranking.options if option != SEED]
    columns = map(str, ranking.table)
    dice = [column for column in columns if column.startswith((VALIDATION, TEST)) and column != f"{TEST}_sd"]
    rows = []
    for _, repeats in ranking.table.groupby(ranking.table[options].astype(str).agg(",".join, axis=1), sort=False):
        whole = repeats[repeats["missing"] == ""]
        row = {option: repeats[option].iloc[0] for option in options}
        row |= {"seeds": len(whole), "incomplete": len(repeats) - len(whole)}
        for column in dice:
            row |= {column: whole[column].mean(), f"{column}_seed_sd": whole[column].std()}
        rows.append(row)
    table = pd.DataFrame(rows)
    order = table.assign(whole=table["incomplete"] == 0).sort_values(["whole", ranking.chosen_by], ascending=False)
    return table.loc[order.index].reset_index(drop=True)


def _show_ranking(ranking: Ranking, folder: Path) -> None:
    """Write the table (CSV, and JSON with the column it is sorted by) and print it, and the means over seeds."""
    write_csv(folder / TABLE, ranking.table)
    rows = json.loads(ranking.table.to_json(orient="records"))
    record = {"chosen_by": ranking.chosen_by, "notes": ranking.notes, "settings": rows}
    write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    console.print(_printed(ranking.table, "folds", "missing", f"Settings of {folder.name}, best first, by mean Dice"))
    averaged = averaged_over_seeds(ranking)
    if averaged is not None:
        write_csv(folder / OVER_SEEDS, averaged)
        title = f"Settings of {folder.name} over seeds, best first, mean Dice (SD between seeds)"
        console.print(_printed(averaged, "seeds", "incomplete", title))
    for note in ranking.notes:
        say(note)
    say(f"settings: {folder / TABLE}")


def _printed(table: pd.DataFrame, counted: str, lacking: str, title: str) -> Table:
    """Lay out the options, which are the columns before `counted`, this number, and the Dice (with SD over seeds)."""
    columns = list(map(str, table))
    options = columns[: columns.index(counted)]
    dice = [column for column in columns if column.startswith((VALIDATION, TEST)) and not column.endswith("_seed_sd")]
    printed = Table(title=title)
    for column in options:
        printed.add_column(column, justify="right", overflow="fold")
    for column in [counted, *dice]:
        printed.add_column(column.removesuffix("_dice").removeprefix(f"{TEST}_"), justify="right")
    for row in table.to_dict("records"):
        lacks = f" ({row[lacking]} {lacking})" if row[lacking] else ""
        numbers = (_mean_and_sd(row[key], row.get(f"{key}_seed_sd")) for key in dice)
        printed.add_row(*(str(row[key]) for key in options), f"{row[counted]}{lacks}", *numbers)
    return printed


def _mean_and_sd(mean: float, sd: float | None) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean:.3f}" if pd.isna(sd) else f"{mean:.3f} ({sd:.3f})"


def _differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the options that differ between configurations, with their values; one of several with equal columns."""
    columns: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [config.get(key) for config in configs]
        if any(value != values[0] for value in values) and values not in columns.values():
            columns[key] = values
    return columns


def _row(folds: Sequence[FoldFolder], config: Mapping[str, Any], scores: pd.DataFrame) -> dict[str, Any]:
    complete = [fold for fold in folds if fold.is_complete]
    missing = sorted(set(range(config["folds"]["count"])) - {fold.number for fold in complete})
    held_out = [fold.validation_scores for fold in complete if fold.validation_scores.is_file()]
    validated = [subject_dice(read_scores(file))["value"] for file in held_out]
    dice = scores["value"]
    return {
        "folds": len(complete),
        "missing": ", ".join(map(str, missing)),
        "subjects": scores["subject"].nunique(),
        VALIDATION: pd.concat(validated).mean() if validated and len(validated) == len(complete) else float("nan"),
        TEST: dice.mean(),
        f"{TEST}_sd": dice.std(),
    } | {f"{TEST}_{cohort}": values.mean() for cohort, values in dice.groupby(scores["cohort"])}


def _scores(complete: Sequence[FoldFolder]) -> pd.DataFrame:
    """Return the Auto-GT Dice of the test subjects, each the mean over its classes; no rows without a complete fold."""
    if not complete:
        return pd.DataFrame({"subject": [], "cohort": [], "value": pd.Series([], dtype="float64")})
    return subject_dice(pd.concat([read_scores(fold.scores) for fold in complete], ignore_index=True))


def show_settings(run: Path) -> None:
    """Rank all cross-validations of a run if it has several; print why if a damaged file prevents the table."""
    try:
        ranking = rank_settings(sorted({path.parent for path in run.rglob(f"{FOLD_PREFIX}*") if path.is_dir()}))
    except RunError as error:
        say(f"no table of settings: {error}")
        return
    if ranking:
        _show_ranking(ranking, run)
