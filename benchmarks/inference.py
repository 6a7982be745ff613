"""One scan of 60 slices on a CPU: ours against the same network run plainly, and against nnU-Net's default 2-D network.

`python benchmarks/inference.py [--model FOLDER --scan FILE] [--slices N] [--baseline-slices N] [--rounds N]`

Baseline: the network as published, eager, single precision, channels first, every slice whole. Its cost is the same for
every slice, so it is timed on a few that are spread over the scan and multiplied; `--baseline-slices 60` times all.
Ours is `predict_volume`, the code that `nerveseg.segment` runs, on the whole scan. Each round times all in turn.

Without `--model` the network is `fixture_network`'s and the scan the synthetic one that it was taught.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fixture_network import SIZES, fixture_network, synthetic_scan
from numpy.typing import NDArray
from rows import RESULTS, Row, compared, write_rows

from nerveseg.data.preprocessing import Crop, Preprocessing, normalise
from nerveseg.data.volumes.volume import read_image
from nerveseg.evaluation.metrics.pair_scores import dice
from nerveseg.inference.bundle import Bundle, ModelDescription, TrainingRecord, load_bundle
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.predict import predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.inference.runtimes import THRESHOLD, settled_runtime
from nerveseg.networks.registry import NetworkSpec

SPACING_MM = (0.520833, 0.520833, 4.4)
NNUNET: dict[str, Any] = {
    "n_stages": 7,
    "features_per_stage": (32, 64, 128, 256, 512, 512, 512),
    "kernel_sizes": 3,
    "strides": (1, 2, 2, 2, 2, 2, 2),
    "n_conv_per_stage": 2,
    "n_conv_per_stage_decoder": 2,
}
"""Of nnU-Net's 2-D configuration for slices of this size."""


@dataclass(frozen=True)
class Case:
    """What is segmented, by what.

    Attributes:
        bundle: The model.
        image: As read, (x, y, slice), of the size that is measured.
        truth: Nerve, where it is known.
    """

    bundle: Bundle
    image: NDArray[np.float32]
    truth: NDArray[np.bool_] | None


def main() -> None:
    """Measure, print a line per row, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained bundle of one channel; default: the fixture")
    parser.add_argument("--scan", type=Path, help="a scan for it; default: the synthetic one")
    parser.add_argument("--size", default="paper", choices=SIZES)
    parser.add_argument("--minutes", type=float, default=2.5, help="that the fixture is taught")
    parser.add_argument("--slices", type=int, default=60, help="of the synthetic scan")
    parser.add_argument("--baseline-slices", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "inference.json")
    options = parser.parse_args()
    case = the_case(options)
    rows = measure(case, options.baseline_slices, options.rounds)
    for row in rows:
        print(row)
    write_rows(rows, options.json)


def the_case(options: argparse.Namespace) -> Case:
    """A model and a scan for it."""
    size = SIZES[options.size].in_plane
    image, truth = synthetic_scan(options.slices, size)
    known: NDArray[np.bool_] | None = truth
    if options.scan:
        volume = read_image(options.scan).array
        image, known = Crop((volume.shape[0], volume.shape[1]), size).apply(volume, float(volume.min())), None
    if options.model:
        return Case(load_bundle(options.model), image, known)
    network = fixture_network(options.json.parent, options.size, options.minutes, options.slices)
    description = ModelDescription(
        architecture=NetworkSpec("FCDenseNet", {"in_channels": 1, **SIZES[options.size].network}),
        channels=["T2"],
        spacing_mm=SPACING_MM,
        preprocessing=Preprocessing(size=size),
        foreground=None,
        training=TrainingRecord(study="fixture", synthetic=True, subjects={}, fold=0, epochs=0, seed=0, folds_seed=0),
        versions={},
    )
    return Case(Bundle(network, description), image, known)


def measure(case: Case, baseline_slices: int, rounds: int) -> list[Row]:
    """The three rows; every round times everything in turn."""
    count = case.image.shape[2]
    chosen = np.linspace(0, count - 1, min(count, baseline_slices)).round().astype(int)
    scale = count / len(chosen)
    slices = torch.from_numpy(normalise(case.image, "volume")[..., chosen].transpose(2, 0, 1).copy())[:, None]
    nnunet = nnunet_network()
    seconds: dict[str, list[float]] = {"plain": [], "nnunet": [], "exact": [], "fast": []}
    found: dict[str, NDArray[np.bool_]] = {}
    warm_up(case)
    for _ in range(rounds):
        seconds["plain"].append(scale * timed(lambda: found.update(plain=plainly(case.bundle.network, slices))))
        if nnunet is not None:
            seconds["nnunet"].append(scale * timed(lambda: run(nnunet, slices)))
        seconds["exact"].append(timed(lambda: found.update(exact=ours(case, "exact"))))
        seconds["fast"].append(timed(lambda: found.update(fast=ours(case, "fast"))))
    same = int((found["exact"][..., chosen] != found["plain"]).sum())
    shared = dice(found["fast"], found["exact"])
    runtime = f"{settled_runtime('auto', 'cpu')}, {count} slices"
    exact_note = f"{runtime}; {same} voxels of {len(chosen)} slices differ from the baseline's mask"
    fast_note = f"{runtime}; Dice against every slice whole {shared:.4f}{against(case.truth, found)}"
    rows = [
        compared("CPU inference, accuracy=fast", seconds["fast"], seconds["plain"], 30.0, fast_note),
        compared("CPU inference, accuracy=exact", seconds["exact"], seconds["plain"], 3.0, exact_note),
    ]
    row = "CPU inference, nnU-Net's network"
    if nnunet is None:
        return [*rows, Row(row, "unmeasured: pip install dynamic-network-architectures", "", None, 0.0, 0.0, 10.0)]
    parameters = sum(values.numel() for values in nnunet.parameters()) / 1e6
    note = f"accuracy=fast against PlainConvUNet, {parameters:.1f} M parameters, one pass"
    return [*rows, compared(row, seconds["fast"], seconds["nnunet"], 10.0, note)]


def ours(case: Case, accuracy: Any) -> NDArray[np.bool_]:
    """The mask of the whole scan."""
    settings = PredictionSettings(accuracy=accuracy, postprocessing=Postprocessing(remove_specks=False))
    return predict_volume([case.bundle], case.image[None], SPACING_MM, settings).mask


def plainly(network: torch.nn.Module, slices: torch.Tensor) -> NDArray[np.bool_]:
    """The masks of a few slices by the network as it is written, slice by slice, (x, y, slice)."""
    probability = torch.cat([torch.softmax(logits, dim=1)[:, 1] for logits in run(network, slices)])
    return (probability > THRESHOLD).numpy().transpose(1, 2, 0)


def run(network: torch.nn.Module, slices: torch.Tensor) -> list[torch.Tensor]:
    """Logits, slice by slice, channels first."""
    with torch.inference_mode():
        return [network(one[None].contiguous()) for one in slices]


def timed(task: Callable[[], object]) -> float:
    """Seconds of the clock."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def warm_up(case: Case) -> None:
    """What a first call pays and a second does not: OpenVINO's compilation, 0.3 s for the paper's network."""
    few = Case(case.bundle, case.image[..., :1], None)
    ours(few, "exact")
    run(case.bundle.network, torch.zeros(1, 1, 64, 64))


def against(truth: NDArray[np.bool_] | None, found: dict[str, NDArray[np.bool_]]) -> str:
    """Dice against the truth, of both."""
    if truth is None:
        return ""
    return f"; against the truth {dice(found['fast'], truth):.3f} and {dice(found['exact'], truth):.3f}"


def nnunet_network() -> torch.nn.Module | None:
    """nnU-Net's default 2-D network, with random weights; None where its package is not installed."""
    try:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet
    except ImportError:
        return None
    torch.manual_seed(0)
    network: torch.nn.Module = PlainConvUNet(
        input_channels=1, num_classes=2, conv_op=torch.nn.Conv2d, conv_bias=True, norm_op=torch.nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        **NNUNET,
    )  # fmt: skip
    return network.eval()


if __name__ == "__main__":
    main()
