"""Trains two convolutions on a fold for an epoch, alone or as one of the processes of torchrun; the first keeps them.

There is no batch normalisation in them, so that what several processes compute is what one alone would. Arguments: the
file to write, then those of `train`.
"""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import nn

from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.training.distributed import training_processes
from nerveseg.workflows.sweep import planned_jobs
from nerveseg.workflows.train_fold import build_datamodule, build_segmenter, load_fold


def main(output, *arguments):
    (job,) = planned_jobs(to_hydra_overrides("train", list(arguments)))
    loaded = load_fold(job, Console(quiet=True))
    processes = training_processes()
    torch.manual_seed(5)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, plugins=[processes.environment()], **processes.trainer_options("cpu"),
    )  # fmt: skip
    trainer.fit(build_segmenter(job.config, network), build_datamodule(job.config, loaded, processes))
    processes.part()
    if processes.is_first:
        torch.save({"steps": trainer.global_step, "weights": network.state_dict()}, Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
