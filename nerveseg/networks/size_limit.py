"""Limit of a network's size, checked while its constructor runs, before memory is filled with weights.

torch reserves the memory of a parameter when it is made and touches it when it is initialised. A module registers its
parameters in between, which is where they are counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn.modules import module
from torch.nn.parameter import is_lazy

from nerveseg.errors import ConfigurationError

MOST_PARAMETERS = 500_000_000
MOST_MODULES = 50_000


@contextmanager
def size_limit(parameters: int = MOST_PARAMETERS) -> Iterator[None]:
    """Raise `ConfigurationError` from a constructor that registers more parameters, or modules, than are allowed."""
    found = {"parameters": 0, "modules": 0}

    def count_parameter(owner: Any, name: str, value: Any) -> None:
        add("parameters", 0 if value is None or is_lazy(value) else value.numel(), parameters)

    def count_module(owner: Any, name: str, value: Any) -> None:
        add("modules", 1, MOST_MODULES)

    def add(what: str, number: int, limit: int) -> None:
        found[what] += number
        if found[what] > limit:
            raise ConfigurationError(
                f"a network has at most {limit:,} {what}",
                found=f"{found[what]:,} and more",
                remedy="correct the network's arguments",
            )

    handles = (
        module.register_module_parameter_registration_hook(count_parameter),
        module.register_module_buffer_registration_hook(count_parameter),
        module.register_module_module_registration_hook(count_module),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
