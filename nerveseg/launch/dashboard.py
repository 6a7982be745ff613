"""The evaluation of a cross-validation as a W&B run of its own: the tables, figures and page that lie on disk.

Nothing is computed or drawn again, and nothing leaves the machine that names a path of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER
from nerveseg.training.loggers import start_wandb_run

TABLES = ("table1", "tests", "scores", "agreement", "locations")
"""Of the evaluation's folder."""


def log_evaluation(cross_validation: Path, config: dict[str, Any]) -> None:
    """Log the evaluation of a cross-validation, in the mode of its own configuration.

    Args:
        cross_validation: Folder of the folds and their `evaluation/`.
        config: Of the folds.
    """
    settings = config.get("logger", {}).get("wandb")
    if not settings:
        return
    root, place = Path(config["output_root"]).resolve(), cross_validation.resolve()
    group = place.relative_to(root).as_posix() if place.is_relative_to(root) else place.name
    folder = cross_validation / "evaluation"
    run = start_wandb_run(
        settings["mode"], settings["project"], group, f"{group}/evaluation", folder, without_roots(config), "evaluate"
    )
    if run is None:
        return
    import wandb

    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in TABLES if (folder / f"{name}.csv").is_file()}
    run.log(
        {f"evaluation/{name}": wandb.Table(dataframe=table) for name, table in tables.items()}
        | {f"figures/{path.stem}": wandb.Image(str(path)) for path in sorted((folder / "figures").glob("*.png"))}
        | {path.stem: wandb.Html(path.read_text(encoding="utf-8")) for path in folder.glob("report.html")}
    )
    for row in tables["table1"].to_dict("records"):
        if row["comparison"] in (AUTOMATIC_CONSENSUS, RATER_RATER):
            run.summary[f"{row['comparison']}/dice/{row['cohort']}"] = row["dice_mean"]
    run.finish()


def without_roots(config: dict[str, Any]) -> dict[str, Any]:
    """What may leave the machine: no paths."""
    study = {key: value for key, value in config["study"].items() if key != "root"}
    return {key: value for key, value in config.items() if key != "output_root"} | {"study": study}
