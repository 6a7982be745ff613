"""A network of the paper's size that finds the nerve of one synthetic scan: what the inference benchmark needs.

How fast the nerve can be followed depends on a network that finds it, and training the paper's network takes hours. So
this one is taught the very scan it is timed on, for a few minutes, with small crops of it. It knows nothing else; no
figure of how well it segments means anything, only whether two ways of running it agree. `benchmarks/inference.py
--model FOLDER` takes a really trained one instead.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from nerveseg.data.preprocessing import Crop, normalise
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.phantom.specification import CohortSpec, participants
from nerveseg.phantom.subject import simulate_subject
from nerveseg.training.segmenter import init_classifier_bias

COHORT = Path(__file__).parents[1] / "conf" / "cohort" / "paper.yaml"
BATCH = 4
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class FixtureSize:
    """How large everything is.

    Attributes:
        in_plane: Of a slice.
        crop: Side of the crops that are taught.
        network: Options that are not the paper's.
    """

    in_plane: tuple[int, int]
    crop: int
    network: dict[str, int] = field(default_factory=dict)


SIZES = {
    "paper": FixtureSize((320, 320), 96),
    "tiny": FixtureSize((128, 128), 32, {"first_filters": 6, "growth_rate": 4, "layers_per_block": 2}),
}


def synthetic_scan(slices: int, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Image and nerve of the first volunteer of the paper's synthetic cohort, centre-cropped, (x, y, slice)."""
    settings = yaml.safe_load(COHORT.read_text(encoding="utf-8")) | {"slices": slices}
    spec = CohortSpec(**settings)
    subject = simulate_subject(spec, participants(spec)[0])
    image, truth = np.asarray(subject.image, dtype=np.float32), np.asarray(subject.truth)
    crop = Crop((image.shape[0], image.shape[1]), size)
    return crop.apply(image, float(image.min())), crop.apply(truth)


def fixture_network(folder: Path, size: str, minutes: float, slices: int) -> FCDenseNet:
    """The network, taught for so many minutes, or read where it was taught before."""
    path = folder / f"network-{size}-{minutes:g}-minutes.safetensors"
    network = FCDenseNet(**SIZES[size].network)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    print(f"teaching a network of the paper's size one synthetic scan, {minutes:g} minutes", flush=True)
    steps, loss = taught(network, *synthetic_scan(slices, SIZES[size].in_plane), SIZES[size].crop, minutes)
    print(f"{steps} steps, last loss {loss:.4f}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: values.contiguous() for name, values in network.state_dict().items()}, path)
    return network.eval()


def taught(
    network: FCDenseNet, image: NDArray[np.float32], truth: NDArray[np.bool_], side: int, minutes: float
) -> tuple[int, float]:
    """Train on crops of one scan, three of four round the nerve; steps done and the last loss."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    normal = normalise(image, "volume")
    init_classifier_bias(network, [0.01])
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    start, steps, loss = time.monotonic(), 0, math.nan
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * done))
        images, labels = zip(*(_crop(normal, truth, side, rng, round_nerve=n > 0) for n in range(BATCH)), strict=True)
        batch = torch.from_numpy(np.stack(images))[:, None].contiguous(memory_format=torch.channels_last)
        value = cross_entropy(network(batch), torch.from_numpy(np.stack(labels)).long())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        steps, loss = steps + 1, value.item()
    return steps, loss


def _crop(
    image: NDArray[np.float32], truth: NDArray[np.bool_], side: int, rng: np.random.Generator, round_nerve: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    number = int(rng.integers(image.shape[2]))
    places = np.argwhere(truth[..., number])
    if round_nerve and len(places):
        corner = places.mean(axis=0) - side / 2 + rng.uniform(-side / 3, side / 3, 2)
    else:
        corner = rng.uniform(0, np.array(image.shape[:2]) - side)
    x, y = np.clip(corner, 0, np.array(image.shape[:2]) - side).astype(int)
    part = (slice(x, x + side), slice(y, y + side), number)
    return image[part].copy(), truth[part].copy()
