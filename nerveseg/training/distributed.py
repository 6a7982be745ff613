"""Distributed training of one fold (DDP): several processes, one GPU each, started by `torchrun`.

Each batch is divided among the processes, gradients are averaged, and batch normalisation is synchronised over the
whole batch (on GPUs only, as in torch), so batch size and learning rate keep their meaning. All processes prepare the
same fold and train it; only rank 0 writes files, draws, tests and prints.

References:
    Li S et al. PyTorch Distributed: experiences on accelerating data parallel training. VLDB 2020; 13:3005-3018.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nerveseg.errors import ConfigurationError


@dataclass(frozen=True)
class Processes:
    """Process group that trains one fold, as seen from one of its processes."""

    rank: int = 0  # of this process
    count: int = 1  # processes in all
    local_count: int = 1  # processes on this machine

    @property
    def is_first(self) -> bool:
        """Return whether this process has rank 0."""
        return self.rank == 0

    @property
    def description(self) -> str:
        """Return the text that follows the device's description; empty for a single process."""
        return f", {self.count} processes" if self.count > 1 else ""

    def check_batch(self, slices: int) -> None:
        """Raise `ConfigurationError` if the number of processes does not divide the slices of a batch."""
        if slices % self.count:
            raise ConfigurationError(
                f"optimization.batch_size is shared out evenly to {self.count} processes",
                found=slices,
                remedy=f"optimization.batch_size={-(-slices // self.count) * self.count}, or other --nproc-per-node",
            )

    def trainer_options(self, accelerator: str) -> dict[str, Any]:
        """Return the keywords of `pl.Trainer` for these processes on an accelerator, gpu or cpu."""
        if self.count == 1:
            return {"devices": 1}
        from pytorch_lightning.strategies import DDPStrategy

        return {
            "devices": self.local_count,
            "num_nodes": self.count // self.local_count,
            "strategy": DDPStrategy(),
            "sync_batchnorm": accelerator == "gpu",
            "use_distributed_sampler": False,  # `EpochSampler` divides the slices
        }

    def environment(self) -> Any:
        """Return the plugin of `torchrun` or of one process; Slurm's would write checkpoints within epochs."""
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

        return LightningEnvironment() if self.count == 1 else TorchElasticEnvironment()

    def shut_down(self) -> None:
        """Destroy the process group; rank 0 continues with testing."""
        import torch.distributed

        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


ALONE = Processes()


def training_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """Return the process group that `torchrun` started, or a single process."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return ALONE
    return Processes(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"]))
