"""Choice of device and precision: a GPU if there is one, bfloat16 if the GPU has it and the experiment allows it."""

from dataclasses import dataclass
from typing import Literal

import torch

from nerveseg.errors import ConfigurationError

Accelerator = Literal["auto", "gpu", "cpu"]
SettledPrecision = Literal["32-true", "bf16-mixed"]
Precision = Literal["auto", "32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Device:
    """A device and a precision, as Lightning's Trainer takes them."""

    accelerator: Literal["gpu", "cpu"]
    precision: SettledPrecision
    description: str  # one line for the log


def choose_device(accelerator: Accelerator = "auto", precision: Precision = "auto") -> Device:
    """Return the device and precision that `auto` stands for: a GPU if there is one, bfloat16 autocast if it has it.

    Raises:
        ConfigurationError: A GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if accelerator == "gpu" and not has_gpu:
        raise ConfigurationError(
            "trainer=gpu needs a GPU that PyTorch can use",
            found="none",
            remedy="trainer=cpu, or install a CUDA build of PyTorch",
        )
    takes_gpu = has_gpu and accelerator != "cpu"
    takes_bfloat16 = precision == "bf16-mixed" or (
        takes_gpu and precision == "auto" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    settled: SettledPrecision = "bf16-mixed" if takes_bfloat16 else "32-true"
    if not takes_gpu:
        return Device("cpu", settled, f"CPU ({torch.get_num_threads()} threads), {settled}")
    torch.backends.cudnn.allow_tf32 = takes_bfloat16  # single precision means all of its bits
    return Device("gpu", settled, f"{torch.cuda.get_device_name()}, {settled}")
