"""Dice of the nerve on new samples, by the factor on the odds of nerve (`inference.nerve_odds`). SYNTHETIC.

    python benchmarks/thigh_odds.py <model> [--root FOLDER] [--samples N] [--seed N]

Makes samples with a seed that no training has, from the anatomies in <root>/thighs, and prints for each factor the mean
Dice over the samples that show nerve, and the share of them in which no nerve is found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from nerveseg.inference.bundle import Bundle
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.runtimes import most_likely, part_probabilities
from nerveseg.phantom.structures import NERVE
from nerveseg.synthesis.anatomies import prepare_bank
from nerveseg.synthesis.thigh_samples import ThighSamples
from nerveseg.workflows.made_samples import BANK_SEED, BANKS

ODDS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
SIDE = 128  # pixels of the network's grid
LEAST_PIXELS = 10  # of nerve in a sample that counts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--root", type=Path, default=Path("outputs"))
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--people", type=int, default=160)
    parser.add_argument("--seed", type=int, default=991)
    chosen = parser.parse_args()
    bundle = open_model(chosen.model).bundles[0]
    bank = prepare_bank(chosen.root / BANKS, chosen.people, BANK_SEED)
    samples = ThighSamples(bank, (SIDE, SIDE), (1.0, 1.0), bundle.description.context.neighbours, chosen.seed, 1)
    found = dice_by_odds(bundle, [samples[0, number] for number in range(chosen.samples)])
    print(f"SYNTHETIC, {len(found[1.0])} samples with nerve\n\n| odds | mean Dice | no nerve found |\n|---|---|---|")
    for odds, dice in found.items():
        print(f"| {odds:g} | {np.mean(dice):.3f} | {np.mean(np.array(dice) == 0):.1%} |")


def dice_by_odds(bundle: Bundle, samples: list[dict]) -> dict[float, list[float]]:
    """Return the Dice of each sample that shows nerve, by the factor on the odds."""
    nerve_parts = bundle.description.class_table.nerve_parts
    found: dict[float, list[float]] = {odds: [] for odds in ODDS}
    for batch in (samples[first : first + 8] for first in range(0, len(samples), 8)):
        images = torch.stack([sample["image"] for sample in batch]).float()
        with torch.no_grad():
            probabilities = part_probabilities(bundle.network, images).numpy().transpose(1, 2, 3, 0)
        for odds, dice in found.items():
            labels = most_likely(probabilities, nerve_parts, odds)
            for number, sample in enumerate(batch):
                truth, marked = sample["label"].numpy() == NERVE, np.isin(labels[..., number], nerve_parts)
                if truth.sum() >= LEAST_PIXELS:
                    dice.append(2 * float((truth & marked).sum()) / float(truth.sum() + marked.sum()))
    return found


if __name__ == "__main__":
    main()
