"""One fold trained by several processes, a GPU each (DDP), that `torchrun` has started.

Every batch is shared out, gradients are averaged and batch normalisation sees the whole batch (on GPUs; torch has that
for nothing else), so batch size and learning rate keep their meaning. All processes prepare the same fold and train it;
only the first writes, draws, tests and speaks.

References:
    Li S et al. PyTorch Distributed: experiences on accelerating data parallel training. VLDB 2020; 13:3005-3018.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nerveseg.errors import ConfigurationError


@dataclass(frozen=True)
class Processes:
    """Those that train one fold, as one of them sees them.

    Attributes:
        rank: Of this one, from 0.
        count: Of all.
        local_count: Number of processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    @property
    def description(self) -> str:
        """Words behind those for the device; none for one process alone."""
        return f", {self.count} processes" if self.count > 1 else ""

    def check_batch(self, slices: int) -> None:
        """Every process takes as many slices of a batch.

        Raises:
            ConfigurationError: They cannot.
        """
        if slices % self.count:
            raise ConfigurationError(
                f"optimization.batch_size is shared out evenly to {self.count} processes",
                found=slices,
                remedy=f"optimization.batch_size={-(-slices // self.count) * self.count}, or other --nproc-per-node",
            )

    def trainer_options(self, accelerator: str) -> dict[str, Any]:
        """What Lightning's Trainer has to know.

        Args:
            accelerator: gpu or cpu.
        """
        if self.count == 1:
            return {"devices": 1}
        from pytorch_lightning.strategies import DDPStrategy

        return {
            "devices": self.local_count,
            "num_nodes": self.count // self.local_count,
            "strategy": DDPStrategy(),
            "sync_batchnorm": accelerator == "gpu",
            "use_distributed_sampler": False,  # ours shares out by itself
        }

    def environment(self) -> Any:
        """Lightning's plugin for processes that `torchrun` started, or for one alone, also inside a Slurm job.

        Its plugin for Slurm would answer SIGUSR1 with a checkpoint from the middle of an epoch, and go on from that.
        """
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

        return LightningEnvironment() if self.count == 1 else TorchElasticEnvironment()

    def shut_down(self) -> None:
        """End what bound the processes together, before the first goes on alone."""
        import torch.distributed

        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


ALONE = Processes()


def training_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes that this one trains together with: those of `torchrun`, else it is alone."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return ALONE
    return Processes(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"]))
