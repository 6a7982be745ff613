"""A run on MLflow: a server's, or a database file of this machine that `mlflow server` shows.

MLflow's own helpers record the user, the script and its git commit; its client, which is used here, records what it is
given, and its report to its makers is turned off. A run is found again by a tag; a step that it has is not sent again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from nerveseg.dashboards.base import Dashboard, RunLabel
from nerveseg.errors import ConfigurationError

RUN_TAG = "nerveseg.run"
STEP = "trainer/global_step"
DATABASE = "mlflow.db"
LONGEST_VALUE = 500
LONGEST_DIGEST = 36
"""MLflow takes no longer ones; in characters."""

LARGEST_BATCH = 1000
"""Values that are sent at once."""


class MlflowDashboard(Dashboard):
    """A run on MLflow.

    Args:
        label: How the run is found.
        folder: The run's own.
        uri: Of the server or database; None is `MLFLOW_TRACKING_URI`, or else a database in `local`.
        experiment: MLflow's name for a project.
        local: Folder of the database and of its files.

    Raises:
        ConfigurationError: MLflow is not installed, or the server does not answer.
    """

    def __init__(self, label: RunLabel, folder: Path, uri: str | None, experiment: str, local: Path) -> None:
        super().__init__(label, folder)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            self._mlflow: Any = import_module("mlflow")
        except ImportError as error:
            raise ConfigurationError(
                "logger=mlflow needs the package mlflow",
                found="not installed",
                remedy="pip install 'nerveseg[mlflow]', or logger=csv",
            ) from error
        for talkative in ("mlflow", "alembic"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        self._entities: Any = import_module("mlflow.entities")
        place = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(local / DATABASE).resolve()}"
        self._client: Any = self._mlflow.MlflowClient(tracking_uri=place)
        self._pending: list[list[Any]] = []
        try:
            self._run, is_new = self._found_or_created(self._experiment(experiment, place, local))
        except self._mlflow.exceptions.MlflowException as error:
            raise ConfigurationError(
                "logger.mlflow.uri is the address of an MLflow server or database that answers",
                found=str(error).splitlines()[0],
                remedy="start the server, or logger.mlflow.uri=null for a database in output_root",
            ) from error
        if is_new:
            self._log_configuration()

    def _experiment(self, name: str, uri: str, local: Path) -> str:
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        files = (local / "mlflow-files").resolve().as_uri() if uri.startswith("sqlite:") else None
        return str(self._client.create_experiment(name, artifact_location=files))

    def _found_or_created(self, experiment: str) -> tuple[str, bool]:
        earlier = self._client.search_runs([experiment], filter_string=f"tags.`{RUN_TAG}` = '{self.id}'")
        if earlier:
            run = str(earlier[0].info.run_id)
            self._client.update_run(run, status="RUNNING")
            return run, False
        words = {
            RUN_TAG: self.id,
            "group": self.label.group,
            "job_type": self.label.job_type,
            "tags": ", ".join(self.label.tags),
            "data": self.label.data,
        }
        return str(self._client.create_run(experiment, run_name=self.label.name, tags=words).info.run_id), True

    def _log_configuration(self) -> None:
        parameters = [
            self._entities.Param(name, str(value)[:LONGEST_VALUE]) for name, value in _flat(self.label.config).items()
        ]
        for begin in range(0, len(parameters), 100):
            self._client.log_batch(self._run, params=parameters[begin : begin + 100])
        dataset = self._entities.Dataset(
            name=self.label.study, digest=self.label.data[:LONGEST_DIGEST], source_type="nerveseg", source="{}"
        )
        self._client.log_inputs(self._run, [self._entities.DatasetInput(dataset)])

    def logged_steps(self) -> set[int]:
        """What the server has."""
        return {int(metric.step) for metric in self._client.get_metric_history(self._run, STEP)}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step, sent with those of others when a checkpoint's are complete."""
        self._pending.append(self._metrics({**metrics, STEP: step or 0}, step or 0))

    def save(self) -> None:
        """Send what is pending, a step never in two pieces."""
        batch: list[Any] = []
        for values in self._pending:
            if len(batch) + len(values) > LARGEST_BATCH:
                self._client.log_batch(self._run, metrics=batch)
                batch = []
            batch += values
        if batch:
            self._client.log_batch(self._run, metrics=batch)
        self._pending = []

    def _metrics(self, values: Mapping[str, float], step: int) -> list[Any]:
        now_ms = int(time.time() * 1000)
        return [self._entities.Metric(name, float(value), now_ms, step) for name, value in values.items()]

    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """A table of MLflow's."""
        self._client.log_dict(self._run, json.loads(table.to_json(orient="split", index=False)), f"{name}.json")

    def log_picture(self, name: str, path: Path, caption: str = "") -> None:
        """A picture; there is no place for a caption."""
        with Image.open(path) as picture:
            self._client.log_image(self._run, np.asarray(picture.convert("RGB")), f"{name}.png")

    def log_page(self, name: str, html: str) -> None:
        """A page."""
        self._client.log_text(self._run, html, f"{name}.html")

    def log_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """The bundle's files, and what is known of it."""
        with tempfile.TemporaryDirectory() as place:
            copy = shutil.copytree(folder, Path(place) / "model")
            self._client.log_artifacts(self._run, str(copy), "model")
        self._client.set_tag(self._run, "model", json.dumps(facts))

    def summarize(self, values: Mapping[str, float]) -> None:
        """Values of the whole run."""
        self._client.log_batch(self._run, metrics=self._metrics(values, 0))

    def finish(self, failed: bool) -> None:
        """End the run."""
        self.save()
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
