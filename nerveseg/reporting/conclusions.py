"""Rows of `tests.csv` as sentences for readers who do not know the tests; no number is computed here.

Three questions are answered, the fair one first. Each answer states the difference, its interval and, where there is a
margin, the verdict of `tests.csv`. A large p-value is never reported as equality.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nerveseg.evaluation.hypotheses import CHANGED, CONTRAST, LEAVE_ONE_OUT, SHARE_ABOVE, verdict_in_words
from nerveseg.evaluation.metric_catalog import label_of
from nerveseg.evaluation.risk_coverage import measure_expectation
from nerveseg.inference.expected_dice import LEVEL
from nerveseg.reporting.style import format_p

Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Finding:
    """Answer for one cohort."""

    cohort: str  # name of the cohort, after that of the class where there are several
    topic: str  # heading of the metric that was compared
    text: str  # answer in one or a few sentences
    verdict: str = ""  # verdict as in tests.csv; "" without a margin
    words: str = ""  # verdict in the words of all outputs


@dataclass(frozen=True)
class Question:
    """Question to the study, with its reason and its answers."""

    title: str
    explanation: str  # reason for the question
    findings: tuple[Finding, ...]


def questions(tests: pd.DataFrame, label: str = "") -> list[Question]:
    """Answer up to three questions by the rows of `tests.csv` of a class; questions without an answer are left out.

    A label, the name of the class where there are several, stands before each cohort.
    """
    asked = [
        (
            "Is the automatic mask as close to the raters as they are to each other?",
            "Like is compared with like: in every subject, the automatic mask's agreement with each rater is set"
            " against the raters' agreement with each other. A further rater of equal skill would show no difference."
            " The Williams index is the quotient of the two; 1 is as close as a rater.",
            {CONTRAST: _contrast, LEAVE_ONE_OUT: _contrast, "williams": _williams},
        ),
        (
            "Is it far off more often than raters are?",
            "Mean distances are ruled by a few gross misses, so these are counted: subjects in whom the surface"
            " distance (HD95) to the raters exceeds a limit.",
            {SHARE_ABOVE: _share_above},
        ),
        (
            "What does the paper's own test say?",
            "The paper compares Auto-GT with R-R (Mann-Whitney test). This favours the automatic mask, because the"
            " consensus (GT) is less noisy than any single rater, and counts pairs of masks as if they were"
            " independent; it is here to be set beside the paper's result. That no difference is shown does not mean"
            " that there is none. Adjusted: for the number of tests.",
            {"paper": _paper},
        ),
    ]
    answered = [(title, why, _findings(tests, words, label)) for title, why, words in asked]
    return [Question(title, why, findings) for title, why, findings in answered if findings]


def _findings(tests: pd.DataFrame, words: Mapping[str, Callable[[Row], str]], label: str) -> tuple[Finding, ...]:
    """Return one finding per cohort and topic; the Williams index is added to its contrast."""
    found: dict[tuple[str, str], Finding] = {}
    for row in tests[tests["test"].isin(list(words))].to_dict("records"):
        cohort, topic = f"{label}, {row['cohort']}" if label else str(row["cohort"]), _topic(row)
        text = words[row["test"]](row) if pd.notna(row["estimate"]) else _not_computable(row)
        before = found.get((cohort, topic), Finding(cohort, topic, ""))
        answer = f"{before.text} {text}".strip()
        verdict = before.verdict or ("" if pd.isna(row["margin"]) else str(row["verdict"]))
        found[cohort, topic] = Finding(cohort, topic, answer, verdict, before.words or verdict_in_words(row))
    return tuple(found.values())


def _topic(row: Row) -> str:
    return label_of(row["metric"]) + (", against the other raters' consensus" if row["test"] == LEAVE_ONE_OUT else "")


def _not_computable(row: Row) -> str:
    kind = "Williams index" if row["test"] == "williams" else "Difference"
    return f"{kind}: {_note(row) or 'not computable'}."


def _contrast(row: Row) -> str:
    metric, margin = label_of(row["metric"]), _margin(row, "a loss of")
    if row["test"] == LEAVE_ONE_OUT:
        compared = f"Its {metric} is {_compared(row['estimate'], metric, 'rater left out')}"
    else:
        compared = f"Its {metric} with the raters is {_compared(row['estimate'], metric)} with each other"
    return f"{compared}, by the pseudomedian over subjects {_certainty(row)}. {margin}".rstrip()


def _williams(row: Row) -> str:
    return f"Williams index {row['estimate']:.3f} {_certainty(row)}."


def _share_above(row: Row) -> str:
    limit = str(row["method"]).split(";")[0]
    points = 100 * row["estimate"]
    size = f"{abs(points):.1f} percentage points {'larger than' if points > 0 else 'smaller than'}"
    compared = "the same as" if round(points, 1) == 0 else size
    return (
        f"The share of subjects {limit} is {compared} among the raters {_certainty(row, 100.0, 1)}."
        f" {_margin(row, 'an excess of', 100.0, ' percentage points')}"
    ).rstrip()


def _paper(row: Row) -> str:
    adjusted: str = "" if pd.isna(row["p_holm"]) else f", adjusted {_p(row['p_holm'])}"
    counted = f"({_p(row['p_value'])}{adjusted}; {row['n']} values against {row['n_pairs']})"
    if pd.isna(row["p_value"]) or row["p_value"] >= 0.05:
        return f"No difference shown {counted}."
    return f"Auto-GT tends to be {'higher' if row['estimate'] > 0 else 'lower'} than R-R {counted}."


def _compared(difference: float, metric: str, whose: str = "raters'") -> str:
    size = f"{abs(difference):.3f}"
    other = f"the {whose} {metric}" if whose.endswith("'") else f"that of the {whose}"
    return f"equal to {other}" if float(size) == 0 else f"{size} {'higher' if difference > 0 else 'lower'} than {other}"


def _margin(row: Row, loss: str, scale: float = 1.0, unit: str = "") -> str:
    if pd.isna(row["margin"]):
        return ""
    size = f"{loss} {scale * row['margin']:g}{unit}"
    capital = size[0].upper() + size[1:]
    margin = (
        "the margin, changed after the results were known" if CHANGED in _note(row) else "the margin set beforehand"
    )
    worse = "larger" if row["test"] == SHARE_ABOVE else "lower"
    return {
        "better": f"{capital} or more, {margin}, is ruled out.",
        "no worse": f"{capital} or more, {margin}, is ruled out.",
        "worse": f"That it is {worse} is shown. {capital}, {margin}, is not ruled out.",
        "inconclusive": f"{capital}, {margin}, is not ruled out.",
        "not decidable": f"To rule out {size}, {margin}, takes at least {row['n_needed']} subjects.",
    }[row["verdict"]]


def _certainty(row: Row, scale: float = 1.0, digits: int = 3) -> str:
    """Format interval and number of subjects in brackets, with the note."""
    subjects = f"{row['n']} subject{'' if row['n'] == 1 else 's'}"
    if pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return f"({subjects}: no 95 % interval)"
    low, high = (f"{scale * row[end]:.{digits}f}".replace("-", "−") for end in ("ci_low", "ci_high"))
    note = _note(row)
    return f"(95 % interval {low} to {high}; {subjects}{f'; {note}' if note else ''})"


def _note(row: Row) -> str:
    return "" if pd.isna(row["note"]) else re.sub(r"^n=\d+: ", "", str(row["note"]))


def _p(value: float) -> str:
    return format_p(value) or "p not computable"


def expectation_in_words(expected: pd.DataFrame) -> str:
    """Summarise the rows of `expected_dice.csv` of one class in a sentence; an empty text without rows."""
    if expected.empty:
        return ""
    found = measure_expectation(expected)
    if found.mean_absolute_error is None:
        return f"Expected Dice without a reference: none of {found.withheld} subjects gets a number."
    ranking = f"AUROC {found.auroc:.2f} for Dice" if found.auroc is not None else "no AUROC for Dice"
    return (
        f"Expected Dice without a reference, every fold by a calibration on the others: mean absolute error"
        f" {found.mean_absolute_error:.3f}, {ranking} below {found.limit:g} ({found.failed} of {found.subjects}"
        f" subjects), {found.coverage:.0%} of the subjects inside the {LEVEL:.0%} interval."
        f" False alarms: {found.withheld} of {len(expected)} subjects get no number, as unlike the training."
    )
