"""Write the card of a model: intended use, input, prediction, training data and scores, in one page of Markdown.

References:
    Mitchell M, et al. Model cards for model reporting. FAT* 2019.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nerveseg.inference.prediction_settings import PredictionSettings

SYNTHETIC_WARNING = "**SYNTHETIC TRAINING DATA.** This model has never seen a real nerve. Do not use it on patients."

SYNTHSEG = (
    "",
    "Billot B, et al. SynthSeg: segmentation of brain MRI scans of any contrast and resolution without retraining.",
    "Med Image Anal 2023; 86:102789. arXiv:2107.09559.",
)
"""Method of training on samples made on the fly."""


def model_card(description: dict[str, Any]) -> str:
    """Return the Markdown page of a model's description (the content of `model.json`)."""
    training, preprocessing = description["training"], description["preprocessing"]
    architecture = description["architecture"]
    made = "samples" in training
    spacing = " x ".join(f"{step:g}" for step in description["spacing_mm"][: 2 if made else 3])
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
        f"Channels {', '.join(description['channels'])}{_optional(description['optional'])};",
        f"axial slices{_context(description['context'])},",
        f"{'resampled in plane to' if made else 'about'} {spacing} mm;",
        f"each volume to zero mean and unit variance{_limited(preprocessing['normalisation'])}.",
        *(
            _ranges(description)
            if made
            else [f"It was trained on centre crops of {size} pixels{_resampled(preprocessing['spacing_mm'])}."]
        ),
        "",
        "## Prediction",
        "The masks of the test and those of `segment` are made alike:",
        "",
        *(f"- {step}" for step in _prediction(description)),
        "",
        "## Training data",
        *(_made_samples(description) if made else _subjects(training)),
        "",
        "## Scores on the held-out subjects, against the consensus",
        *_score_lines(description["scores"], description["computation"]),
        "",
        "## Method",
        "Balsiger F, et al. Segmentation of peripheral nerves from magnetic resonance neurography: a fully-automatic,",
        "deep learning-based approach. Front Neurol 2018; 9:777. doi:10.3389/fneur.2018.00777.",
        *(SYNTHSEG if made else ()),
        "",
    ]
    return "\n".join(lines)


def _subjects(training: Mapping[str, Any]) -> list[str]:
    return [
        f"{len(training['subjects'])} subjects of the study {training['study']}, {_target(training)};",
        f"{training['epochs']} epochs, {_seed(training)}. Their ids and file hashes are in `model.json`.",
    ]


def _made_samples(description: Mapping[str, Any]) -> list[str]:
    """Return how many samples made on the fly a network has seen, and the command that trains it."""
    training, size = description["training"], description["context"].get("size")
    shown = f" context.size=[{size[0]},{size[1]}]" if size else ""
    command = f"python -m nerveseg.train experiment={training['study']} seed={training['seed']}{shown}"
    return [
        f"{training['samples']:,} samples made on the fly from simulated anatomy, no two alike; no image of a person.",
        f"{training['epochs']} epochs, {_seed(training)}. To repeat it, stopped at any time:",
        "",
        f"    {command}",
        f"    python -m nerveseg.workflows.package_model outputs/{training['study']}/<fold> <folder of the model>",
    ]


def _ranges(description: Mapping[str, Any]) -> list[str]:
    ranges = description.get("ranges")
    if ranges is None:
        return []
    pixel, step = (f"{least:g} to {most:g} mm" for least, most in (ranges["pixel_mm"], ranges["step_mm"]))
    return [f"Its samples stand for scans with pixels of {pixel} and slice steps of {step}; others are flagged."]


def _target(training: Mapping[str, Any]) -> str:
    return "share of its raters who drew each part" if "target" in training else "consensus of its raters"


def _seed(training: Mapping[str, Any]) -> str:
    begun = f", from the weights {training['init'][:12]} of another model" if "init" in training else ""
    return f"seed {training['seed']}{begun}"


def _optional(channels: Sequence[str]) -> str:
    return f" (a scan may lack {', '.join(channels)})" if channels else ""


def _prediction(description: Mapping[str, Any]) -> list[str]:
    settings = PredictionSettings.model_validate(description["prediction"])
    return settings.in_words(patches="depth" in description["context"])


def _context(context: Mapping[str, Any]) -> str:
    if "depth" in context:
        return f", {context['depth']} at a time"
    return f", each with {context['neighbours']} slices on either side" if context["neighbours"] else ""


def _limited(normalisation: str) -> str:
    return " of values within their percentiles 0.5 and 99.5" if normalisation == "percentile" else ""


def _resampled(spacing_mm: Sequence[float] | None) -> str:
    if spacing_mm is None:
        return ", not resampled"
    return f" of {spacing_mm[0]:g} x {spacing_mm[1]:g} mm, to which volumes of another spacing were resampled"


def _score_lines(scores: list[dict[str, Any]], computation: dict[str, Any] | None) -> list[str]:
    if not scores:
        return ["Not measured yet."]
    lines = ["| cohort | n | mean Dice |", "|---|---|---|"]
    for score in scores:
        dice = "-" if score["dice"] is None else f"{score['dice']:.3f}"
        lines.append(f"| {score['cohort']} | {score['n']} | {dice} |")
    if computation:
        made = "Masks as under Prediction, made on {device} in {runtime}, accuracy={accuracy}.".format(**computation)
        lines += ["", made]
    return lines
