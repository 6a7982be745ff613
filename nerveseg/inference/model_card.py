"""The card of a model: what it is for, what it learned from, how well it did, in one page of Markdown.

References:
    Mitchell M, et al. Model cards for model reporting. FAT* 2019.
"""

from __future__ import annotations

from typing import Any

SYNTHETIC_WARNING = "**SYNTHETIC TRAINING DATA.** This model has never seen a real nerve. Do not use it on patients."


def model_card(description: dict[str, Any]) -> str:
    """Markdown page for a model's description (the content of `model.json`)."""
    training, preprocessing = description["training"], description["preprocessing"]
    architecture = description["architecture"]
    spacing = " x ".join(f"{step:g}" for step in description["spacing_mm"])
    size = " x ".join(map(str, preprocessing["size"]))
    warning = [SYNTHETIC_WARNING, ""] if training["synthetic"] else []
    lines = [
        f"# Nerve segmentation: {architecture['name']}, {training['study']}, fold {training['fold']}",
        "",
        *warning,
        "**Not a medical device.** For research only; a person who can read the images has to check every mask.",
        "",
        "## Intended use",
        "Marks the voxels of peripheral nerve in axial magnetic resonance volumes like those it was trained on. Other",
        "sequences, body regions or spacings are outside what was measured.",
        "",
        "## Input",
        f"Channels {', '.join(description['channels'])}; axial slices, about {spacing} mm; each volume to zero mean",
        f"and unit variance, centre crop of {size} pixels.",
        "",
        "## Training data",
        f"{len(training['subjects'])} subjects of the study {training['study']}, consensus of its raters;",
        f"{training['epochs']} epochs, seed {training['seed']}. Their ids and file hashes are in `model.json`.",
        "",
        "## Scores on the held-out subjects, against the consensus",
        *_score_lines(description["scores"]),
        "",
        "## Method",
        "Balsiger F, et al. Segmentation of peripheral nerves from magnetic resonance neurography: a fully-automatic,",
        "deep learning-based approach. Front Neurol 2018; 9:777. doi:10.3389/fneur.2018.00777.",
        "",
    ]
    return "\n".join(lines)


def _score_lines(scores: list[dict[str, Any]]) -> list[str]:
    if not scores:
        return ["Not measured yet."]
    rows = [f"| {score['cohort']} | {score['n']} | {_number(score['dice'])} |" for score in scores]
    return ["| cohort | n | mean Dice |", "|---|---|---|", *rows]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
