"""Read and write the weights of a bundle, plain tensors whose hash and values are checked.

safetensors notices truncation but not a flipped bit, so the SHA-256 is compared. Weights that are not finite come from
a training that diverged, and are neither written nor read.
"""

import copy
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_model
from torch import nn

from nerveseg.errors import BundleError
from nerveseg.files import atomic_write, file_sha256
from nerveseg.runs import WEIGHTS

HALF = torch.float16


def write_weights(folder: Path, network: nn.Module, bundle: Path, *, half: bool = False) -> str:
    """Write a network's weights and return the file's hash; raise `BundleError` about `bundle` if one is not finite.

    With `half` only kernels are written in half precision, if their values fit: biases and the statistics of batch
    normalisation need little room, and a variance may be larger than half precision can hold.
    """
    _check_finite(network, bundle, "train again with a lower learning rate or gradient clipping")
    # safetensors cannot write a tensor of several names that lies channels last, as MONAI's DynUNet has them
    contiguous = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for parameter in contiguous.parameters() if half else ():
        if parameter.ndim > 1 and float(parameter.detach().abs().max()) <= torch.finfo(HALF).max:
            parameter.data = parameter.data.to(HALF)
    with atomic_write(folder / WEIGHTS) as file:
        save_model(contiguous, str(file))  # a tensor with several names is written once
    return file_sha256(folder / WEIGHTS)


def check_weights(folder: Path, sha256: str) -> int:
    """Return the size of the file of weights in bytes; raise `BundleError` if the file is missing or altered."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise BundleError(
            "a model bundle has weights",
            found=f"no {WEIGHTS}",
            path=folder,
            remedy="copy the whole folder of the model",
        )
    if (found := file_sha256(path)) != sha256:
        raise BundleError(
            "the weights have the hash that model.json names",
            path=path,
            found=f"{found[:12]}..., not {sha256[:12]}...",
            remedy="copy the model again from its source; do not use this one",
        )
    return path.stat().st_size


def read_weights(folder: Path, network: nn.Module) -> None:
    """Load the weights of a bundle, which are checked, into its network.

    Raises:
        BundleError: A weight is not finite.
        RuntimeError, SafetensorError: The weights do not fit the network, or are no safetensors file.
    """
    # safetensors' load_model refuses batch normalisation with several names, as MONAI's DynUNet has it
    weights = load_file(folder / WEIGHTS)
    by_address: dict[int, list[str]] = defaultdict(list)
    for name, tensor in network.state_dict().items():
        by_address[tensor.data_ptr()].append(name)
    for names in by_address.values():
        written = [name for name in names if name in weights]
        weights |= dict.fromkeys(names, weights[written[0]]) if len(written) == 1 else {}
    network.load_state_dict(weights)
    _check_finite(network, folder, "take another model; the training of this one diverged")


def _check_finite(network: nn.Module, path: Path, remedy: str) -> None:
    for name, tensor in network.state_dict().items():
        wrong = int((~torch.isfinite(tensor)).sum()) if isinstance(tensor, torch.Tensor) else 0
        if wrong:
            raise BundleError(
                "the weights of a model are finite numbers",
                found=f"{wrong} of {tensor.numel()} values of {name} are not",
                path=path,
                remedy=remedy,
            )
