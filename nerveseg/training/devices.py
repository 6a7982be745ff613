"""What a run computes on: a GPU where there is one, in bfloat16 where the chip has it and the experiment allows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from nerveseg.errors import ConfigurationError

Accelerator = Literal["auto", "gpu", "cpu"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Device:
    """A choice that Lightning's Trainer understands, and words for it.

    Attributes:
        accelerator: gpu or cpu.
        precision: 32-true or bf16-mixed.
        description: One line for the log.
    """

    accelerator: Literal["gpu", "cpu"]
    precision: Literal["32-true", "bf16-mixed"]
    description: str


def choose_device(accelerator: Accelerator = "auto", precision: Precision = "auto") -> Device:
    """Settle what `auto` means on this machine.

    Args:
        accelerator: "auto" takes a GPU where there is one.
        precision: "auto" is bfloat16 autocast on a GPU that has it, else single precision.

    Raises:
        ConfigurationError: A GPU is asked for and there is none, or a name is unknown.
    """
    if accelerator not in ("auto", "gpu", "cpu"):
        raise ConfigurationError("trainer.accelerator is auto, gpu or cpu", found=accelerator)
    if precision not in ("auto", "32-true", "bf16-mixed"):
        raise ConfigurationError("trainer.precision is auto, 32-true or bf16-mixed", found=precision)
    has_gpu = torch.cuda.is_available()
    if accelerator == "gpu" and not has_gpu:
        raise ConfigurationError("trainer=gpu needs a GPU that PyTorch can use", found="none",
                                 remedy="trainer=cpu, or install a CUDA build of PyTorch")  # fmt: skip
    if accelerator == "cpu" or not has_gpu:
        chosen: Literal["32-true", "bf16-mixed"] = "32-true" if precision == "auto" else precision
        return Device("cpu", chosen, f"CPU ({torch.get_num_threads()} threads), {chosen}")
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return Device("gpu", precision, f"{torch.cuda.get_device_name()}, {precision}")
