"""Build networks by the name that a configuration or a model bundle gives them, and define their interface.

A network is any `torch.nn.Module` that satisfies `SegmentationNetwork`; it inherits nothing of ours. Its name is that
of the registry (`FCDenseNet`) or the dotted path of its class (`monai.networks.nets.DynUNet`, `my_package.MyNet`), and
its arguments are plain JSON. Classes of nerveseg.networks, monai.networks.nets and torch.nn may be named as they are,
those of another package if the user's own configuration lists the package in `plugins`. Nothing else is imported or
called, because the name may come from a bundle of unknown origin.

The constructor gets the number of image channels as `in_channels`, and the number of classes as the first of
`classes`, `out_channels` and `num_classes` that its signature has.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from nerveseg.errors import ConfigurationError
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.size_limit import MOST_PARAMETERS, size_limit
from nerveseg.networks.unet import UNet
from nerveseg.targets import PARTIAL, TARGET, find_target, instantiate_target

NETWORKS: dict[str, type[nn.Module]] = {"FCDenseNet": FCDenseNet, "UNet": UNet}
"""Networks of nerveseg by the name that a bundle gives them."""

OPEN_PACKAGES = ("nerveseg.networks", "monai.networks.nets", "torch.nn")
"""Packages whose classes may be named without `plugins`."""

LARGEST_NUMBER = 1_000_000
"""Largest number among a network's arguments, before which a constructor would make lists of that length."""

CHANNELS_ARGUMENT = "in_channels"
CLASSES_ARGUMENTS = ("classes", "out_channels", "num_classes")


class SegmentationNetwork(Protocol):
    """Network as training and inference use it, in training and in evaluation mode.

    Images are slices (x, y), or with `context=volume` patches (x, y, z). It returns one tensor of logits, not
    probabilities, and no further outputs: a network with deep supervision is refused (`inspection.check_network`),
    because its additional outputs would need losses of their own. It takes every in-plane size that is a multiple of
    its reduction, which is the integer attribute `reduction` if it has one, else found by `inspection.find_reduction`.
    A class prior needs a last convolution with a bias (`find_classifier`).
    """

    def __call__(self, images: Float[Tensor, "batch channel *size"]) -> Float[Tensor, "batch class *size"]:
        """Return the logits of every pixel or voxel."""
        ...


@dataclass(frozen=True)
class NetworkSpec:
    """Name of a network and the arguments that it is built with."""

    name: str  # name in `NETWORKS`, or dotted path of the class
    arguments: dict[str, Any]  # arguments of the constructor in plain JSON


@dataclass(frozen=True)
class BuiltNetwork:
    """Network beside the record of how it was built."""

    module: nn.Module  # network with untrained weights
    spec: NetworkSpec  # name and arguments, for the bundle


def build_network(
    section: Mapping[str, Any], in_channels: int, classes: int, plugins: Sequence[str] = ()
) -> BuiltNetwork:
    """Build the network of a section of the user's configuration, `_target_` and arguments.

    Raises:
        ConfigurationError: The network may not be named, does not exist, or does not take these arguments.
    """
    name = str(section.get(TARGET) or "")
    cls = find_network(name, plugins)
    arguments = {key: value for key, value in section.items() if key != TARGET}
    _check_arguments(arguments, "network")
    arguments |= _channel_arguments(cls, in_channels, classes)
    spec = NetworkSpec(next((short for short, own in NETWORKS.items() if own is cls), name), arguments)
    with size_limit():
        return BuiltNetwork(_instantiate(cls, name, arguments, plugins), spec)


def load_network(spec: NetworkSpec, plugins: Sequence[str] = (), most_parameters: int = MOST_PARAMETERS) -> nn.Module:
    """Build the network that a model bundle of any origin names; its arguments make it read no file and no address.

    Raises:
        ConfigurationError: The network may not be named, does not exist, is too large, or refuses these arguments.
    """
    cls = find_network(spec.name, plugins)
    _check_arguments(spec.arguments, "network")
    with size_limit(most_parameters):
        return _instantiate(cls, spec.name, spec.arguments | _pretrained_off(cls), plugins)


def find_network(name: str, plugins: Sequence[str] = ()) -> type[nn.Module]:
    """Return the class that a network's name stands for; raise `ConfigurationError` if it is no allowed network."""
    if name in NETWORKS:
        return NETWORKS[name]
    cls = find_target(name, "network", plugins, OPEN_PACKAGES)
    if not (inspect.isclass(cls) and issubclass(cls, nn.Module)):
        raise ConfigurationError(
            "network._target_ is a torch.nn.Module",
            found=name,
            remedy="choose a file of conf/network/, or a class that inherits torch.nn.Module",
        )
    return cls


def _instantiate(cls: type[nn.Module], name: str, arguments: Mapping[str, Any], plugins: Sequence[str]) -> nn.Module:
    target = f"{cls.__module__}.{cls.__qualname__}" if name in NETWORKS else name
    network: nn.Module = instantiate_target({TARGET: target, **arguments}, "network", plugins)
    return network


def _channel_arguments(cls: type[nn.Module], in_channels: int, classes: int) -> dict[str, int]:
    names = inspect.signature(cls).parameters
    classes_name = next((name for name in CLASSES_ARGUMENTS if name in names), None)
    if CHANNELS_ARGUMENT not in names or classes_name is None:
        raise ConfigurationError(
            f"the constructor of a network takes {CHANNELS_ARGUMENT} and one of {', '.join(CLASSES_ARGUMENTS)}",
            found=f"{cls.__name__}({', '.join(names)})",
            remedy="name another class, or write a subclass whose constructor takes them",
        )
    return {CHANNELS_ARGUMENT: in_channels, classes_name: classes}


def _pretrained_off(cls: type[nn.Module]) -> dict[str, Any]:
    """Return arguments that keep a constructor from reading weights, which a bundle replaces anyway."""
    parameters = inspect.signature(cls).parameters.values()
    return {
        parameter.name: False if isinstance(parameter.default, bool) else None
        for parameter in parameters
        if parameter.name.startswith("pretrained")
    }


def _check_arguments(value: Any, key: str) -> None:
    """Raise `ConfigurationError` unless a value for a bundle is plain JSON without target, path or address."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str) or name in (TARGET, PARTIAL):
                raise _not_plain(f"{key}.{name}")
            _check_arguments(name, key)
            _check_arguments(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_arguments(inner, f"{key}.{index}")
    elif isinstance(value, str) and ("/" in value or "\\" in value):
        raise ConfigurationError(
            "the arguments of a network, which its bundle stores, are no paths and no addresses",
            found=value,
            remedy="read weights in a callback of your own; do not use a bundle that holds a path",
        )
    elif isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
        raise ConfigurationError(f"a network's arguments are at most {LARGEST_NUMBER:,}", found=f"{key}={value}")
    elif not (value is None or isinstance(value, str | int | float)):
        raise _not_plain(f"{key}: {type(value).__name__}")


def _not_plain(found: str) -> ConfigurationError:
    return ConfigurationError(
        "the arguments of a network are numbers, texts, true, false, null, lists and mappings",
        found=found,
        remedy="build the objects in the constructor of a network of your own",
    )
