"""Training through `torch.compile`: where it is used, and how training goes on without it where it fails.

Compiling writes normalisation, ReLU and the joining of feature maps as one kernel, which saves most of the memory
traffic. It needs a compiler (Triton on a GPU, one for C++ on a CPU) and can fail in ways that have nothing to do with
the experiment. So a compiled step is tried once, and training goes on without it where that fails. On a CPU compiling
takes minutes for a step that becomes a tenth faster (docs/speed.md): `trainer.compile=true` asks for it there.
"""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Compile = Literal["auto"] | bool


def wants_compiling(choice: Compile, accelerator: str) -> bool:
    """Return the meaning of `trainer.compile`: "auto" compiles on a GPU that Triton can compile for."""
    if choice != "auto":
        return choice
    from torch.utils._triton import has_triton

    return accelerator == "gpu" and bool(has_triton())


def compile_or_explain(
    network: nn.Module,
    image: Tensor,
    tell: Callable[[str], None],
    compiler: Callable[[nn.Module], nn.Module] | None = None,
) -> nn.Module:
    """Return the compiled network, tried forwards and backwards on a batch of its shape, or the network as it was.

    Weights, running statistics, gradients and random numbers are afterwards what they were before. `tell` prints one
    line where compiling failed; `compiler` is by default `torch.compile` for fixed shapes.
    """
    compiler = compiler or _compile
    before = copy.deepcopy(network.state_dict())
    devices = [image.device] if image.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            compiled = compiler(network)
            compiled(image).float().square().mean().backward()
    except Exception as error:  # whatever a compiler, a driver or a full disk comes up with
        tell(f"training goes on without torch.compile, which failed: {_first_line(error)}")
        return network
    finally:
        network.load_state_dict(before)
        network.zero_grad(set_to_none=True)
    return compiled


def _compile(network: nn.Module) -> nn.Module:
    compiled = torch.compile(network, dynamic=False)
    assert isinstance(compiled, nn.Module)
    return compiled


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__
