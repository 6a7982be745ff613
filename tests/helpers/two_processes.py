"""Trains two convolutions on a fold for an epoch, alone or as one of the processes of torchrun; the first keeps them.

There is no batch normalisation in them, so that what several processes compute is what one alone would. Arguments: the
file to write, then those of `train`.
"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

from nerveseg.training.distributed import training_processes
from nerveseg.workflows.prepare_study import load_fold
from nerveseg.workflows.training_objects import build_datamodule, build_segmenter
from tests.helpers.composed import training_jobs


def main(output, *arguments):
    (job,) = training_jobs(*arguments)
    loaded = load_fold(job)
    processes = training_processes()
    torch.manual_seed(5)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, plugins=[processes.environment()], **processes.trainer_options("cpu"),
    )  # fmt: skip
    trainer.fit(
        build_segmenter(job.config, network), build_datamodule(job.config, loaded.store, loaded.fold, processes)
    )
    processes.shut_down()
    if processes.is_first:
        validation = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("validation/")}
        result = {"steps": trainer.global_step, "weights": network.state_dict(), "validation": validation}
        torch.save(result, Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
