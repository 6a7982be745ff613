"""Write the card of a model: intended use, input, prediction, training data and scores, in one page of Markdown.

References:
    Mitchell M, et al. Model cards for model reporting. FAT* 2019.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.notices import SYNTHETIC, SYNTHETIC_START

FIRST_MASK = "its mask is a beginning, to look at and to correct."

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
    made = "ranges" in description
    spacing = " x ".join(f"{step:g}" for step in description["spacing_mm"][: 2 if made else 3])
    size = " x ".join(map(str, preprocessing["size"]))
    lines = [
        f"# Nerve segmentation: {architecture['name']}, {training['study']}, fold {training['fold']}",
        "",
        *_warning(training),
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
            _ranges(description["ranges"])
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
        *(_made_samples(training) if made else _subjects(training)),
        *_command(training),
        "",
        f"## Scores on {description.get('scored') or 'the held-out subjects, against the consensus'}",
        *_score_lines(description["scores"], description["computation"], description.get("result_classes", [])),
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


def _made_samples(training: Mapping[str, Any]) -> list[str]:
    nobody = "; no image of a person" if _is_of_simulations(training) else ""
    return [
        f"{training.get('samples', 0):,} samples made on the fly from simulated anatomy{nobody}.",
        f"{training['epochs']} epochs, {_seed(training)}.",
    ]


def _is_of_simulations(training: Mapping[str, Any]) -> bool:
    """Return true if neither a training nor those before it, as far as they are recorded, had data of people."""
    return training["synthetic"] and ("init" not in training or _began_with_samples(training))


def _began_with_samples(training: Mapping[str, Any]) -> bool:
    return training.get("init_synthetic", False) and not training.get("init_subjects")


def _warning(training: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the card has to know first, of simulated training data."""
    if training["synthetic"]:
        seen = "This model has never seen a real nerve: " if _is_of_simulations(training) else "Of this model, "
        return [f"**{SYNTHETIC}.** {seen}{FIRST_MASK}", ""]
    return [f"**Note:** {SYNTHETIC_START}.", ""] if training.get("init_synthetic") else []


def _command(training: Mapping[str, Any]) -> list[str]:
    """Return the command that began a training, where it is recorded, and the changes of its options."""
    lines = []
    if "command" in training:
        lines += ["", "Begun with this command, by the defaults of that time:", "", f"    {training['command']}"]
    if "changes" in training:
        lines += ["", "Continued with changed options (resume=force), from epochs that are not recorded:", ""]
        lines += [f"- {change}" for change in training["changes"]]
    return lines


def _ranges(ranges: Mapping[str, Any]) -> list[str]:
    pixel, step = (f"{least:g} to {most:g} mm" for least, most in (ranges["pixel_mm"], ranges["step_mm"]))
    return [f"Its samples stand for scans with pixels of {pixel} and slice steps of {step}; others are flagged."]


def _target(training: Mapping[str, Any]) -> str:
    return "share of its raters who drew each part" if "target" in training else "consensus of its raters"


def _seed(training: Mapping[str, Any]) -> str:
    if "init" not in training:
        return f"seed {training['seed']}"
    counts = {"subjects": len(training.get("init_subjects", {}))}
    if not training["synthetic"]:
        counts["samples made on the fly"] = training.get("samples", 0)
    seen = " and ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    learnt = f", which had seen {seen}" if seen else ""
    return f"seed {training['seed']}, from the weights {training['init'][:12]} of another model{learnt}"


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


def _score_lines(scores: list[dict[str, Any]], computation: dict[str, Any] | None, classes: Sequence[str]) -> list[str]:
    if not scores:
        return ["Not measured yet."]
    lines = ["| cohort | n | mean Dice |", "|---|---|---|"]
    for score in scores:
        dice = "-" if score["dice"] is None else f"{score['dice']:.3f}"
        lines.append(f"| {score['cohort']} | {score['n']} | {dice} |")
    if classes:
        lines += ["", f"Dice of {', '.join(classes)} alone, not of the other classes."]
    if computation:
        made = "Masks as under Prediction, made on {device} in {runtime}, accuracy={accuracy}.".format(**computation)
        lines += ["", made]
    return lines
