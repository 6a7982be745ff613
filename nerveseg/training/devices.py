"""Choice of device and precision: a GPU if there is one, bfloat16 if the GPU has it and the experiment allows it."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from nerveseg.errors import ConfigurationError

Accelerator = Literal["auto", "gpu", "cpu"]
SettledPrecision = Literal["32-true", "bf16-mixed"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Device:
    """A device and a precision, as Lightning's Trainer takes them.

    Attributes:
        accelerator: Name of the accelerator, gpu or cpu.
        precision: Name of the precision, 32-true or bf16-mixed.
        description: Text for the log, one line.
    """

    accelerator: Literal["gpu", "cpu"]
    precision: SettledPrecision
    description: str


def choose_device(accelerator: str = "auto", precision: str = "auto") -> Device:
    """Return the device and precision that `auto` stands for on this machine.

    Args:
        accelerator: Name of an `Accelerator`; "auto" takes a GPU if there is one.
        precision: Name of a `Precision`; "auto" is bfloat16 autocast on a GPU that has it, else single precision.

    Raises:
        ConfigurationError: A GPU is asked for and there is none, or a name is unknown.
    """
    if accelerator not in get_args(Accelerator):
        raise ConfigurationError("trainer.accelerator is auto, gpu or cpu", found=accelerator, remedy="trainer=auto")
    if precision not in get_args(Precision):
        raise ConfigurationError(
            "trainer.precision is auto, 32-true or bf16-mixed", found=precision, remedy="trainer.precision=auto"
        )
    has_gpu = torch.cuda.is_available()
    if accelerator == "gpu" and not has_gpu:
        raise ConfigurationError(
            "trainer=gpu needs a GPU that PyTorch can use",
            found="none",
            remedy="trainer=cpu, or install a CUDA build of PyTorch",
        )
    wants_bfloat16 = precision == "bf16-mixed"
    if accelerator == "cpu" or not has_gpu:
        settled: SettledPrecision = "bf16-mixed" if wants_bfloat16 else "32-true"
        return Device("cpu", settled, f"CPU ({torch.get_num_threads()} threads), {settled}")
    wants_bfloat16 = wants_bfloat16 or (precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False))
    settled = "bf16-mixed" if wants_bfloat16 else "32-true"
    torch.backends.cudnn.allow_tf32 = wants_bfloat16  # single precision means all of its bits
    return Device("gpu", settled, f"{torch.cuda.get_device_name()}, {settled}")
