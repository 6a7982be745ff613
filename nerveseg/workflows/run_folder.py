"""Create or validate a fold's run folder: `config.yaml` and `provenance.json`.

The configuration of a resumed fold has to be the same, unless `resume=force` changes it: then the earlier configuration
is kept beside the new one, and the provenance records the change.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch
import yaml

from nerveseg.console import say
from nerveseg.files import write_text
from nerveseg.runs import ConfigChange, Provenance, StartRecord
from nerveseg.training.checkpoint_files import Resumption
from nerveseg.training.devices import Device
from nerveseg.training.epoch_checkpoint import check_resumable
from nerveseg.training.segmenter import Segmenter
from nerveseg.workflows.run_records import check_data, read_provenance
from nerveseg.workflows.training_job import TrainingJob, changes_of


def initialise_run_folder(
    job: TrainingJob,
    data: str,
    device: Device,
    segmenter: Segmenter,
    resumption: Resumption | None,
    start: StartRecord | None = None,
) -> None:
    """Write the configuration and the provenance of a fold, or check the existing ones.

    Args:
        job: Job of the fold.
        data: Key of the slice store.
        device: Device to train on.
        segmenter: Network and optimizer, which a checkpoint has to fit.
        resumption: Checkpoint that the fold goes on from, if any.
        start: Record of the model that the training began with, if any.

    Raises:
        RunError: The folder was begun on other data, or its checkpoint does not fit the changed configuration.
    """
    if job.folder.provenance.is_file():
        check_data(job.folder, data)
        changes = changes_of(job)
        if changes:
            say(f"{job.title} goes on under a changed configuration: {'; '.join(changes)}")
            if resumption:
                checkpoint = torch.load(resumption.checkpoint, map_location="cpu", weights_only=True)
                check_resumable(checkpoint, segmenter, job.config.optimization.epochs, resumption.checkpoint)
            _change_configuration(job, changes)
        provenance = read_provenance(job.folder)
        if provenance.init != start:  # begun again before its first checkpoint, with a model that was trained again
            _write_provenance(job, provenance.model_copy(update={"init": start}))
        return
    text = _configuration(job)
    provenance = Provenance(
        command=_command(), data=data, config_sha256=_sha256(text), device=device.description, init=start
    )
    write_text(job.folder.config, text)
    _write_provenance(job, provenance)


def add_training_time(job: TrainingJob, seconds: float) -> None:
    """Add the training time of a process, in s, to the provenance."""
    provenance = read_provenance(job.folder)
    total = round((provenance.training_seconds or 0) + seconds, 1)
    _write_provenance(job, provenance.model_copy(update={"training_seconds": total}))


def _change_configuration(job: TrainingJob, changes: list[str]) -> None:
    """Remove old scores first and write the new configuration last, so that an interrupted change is made again."""
    text, provenance = _configuration(job), read_provenance(job.folder)
    job.folder.scores.unlink(missing_ok=True)
    if provenance.config_sha256 != _sha256(text):
        former = job.folder.former_config(len(provenance.config_changes) + 1)
        write_text(former, job.folder.config.read_text(encoding="utf-8"))
        change = ConfigChange(differences=changes, former=former.name, command=_command())
        update = {"config_sha256": _sha256(text), "config_changes": [*provenance.config_changes, change]}
        _write_provenance(job, provenance.model_copy(update=update))
    write_text(job.folder.config, text)


def _configuration(job: TrainingJob) -> str:
    """Return the configuration as YAML, with absolute paths, so that the run can be evaluated from any folder."""
    study = job.values["study"] | {"root": str(job.config.study.root.resolve())}
    values = job.values | {"study": study, "output_root": os.path.realpath(job.config.output_root)}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_provenance(job: TrainingJob, provenance: Provenance) -> None:
    write_text(job.folder.provenance, json.dumps(provenance.model_dump(), indent=1) + "\n")
