"""The rows of `tests.csv` as sentences that can be read without knowing the tests; no number is computed here.

Three questions are answered, the fair one first. Each answer says how large the difference is, how certain that is,
and, where a margin was set beforehand, whether being worse by as much can be ruled out. "Not shown" is said where the
data do not decide: an absent difference is never claimed from a large p-value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nerveseg.evaluation.hypotheses import CONTRAST, LEAVE_ONE_OUT
from nerveseg.evaluation.metric_catalog import BY_KEY

Row = Mapping[Hashable, Any]

NO_WORSE, NOT_SHOWN, WORSE, UNDECIDED = "no worse", "not shown", "worse", "undecided"


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        cohort: Whom it is about.
        topic: What was compared: a metric's heading.
        text: The answer, a sentence or a few.
        verdict: "no worse", "not shown", "worse", "undecided" (too few subjects), or "" where no margin was set.
    """

    cohort: str
    topic: str
    text: str
    verdict: str = ""


@dataclass(frozen=True)
class Question:
    """A question to the study, why it is asked so, and its answers."""

    title: str
    explanation: str
    findings: tuple[Finding, ...]


def questions(tests: pd.DataFrame) -> list[Question]:
    """What the tests say, as far as they were made.

    Args:
        tests: Rows as of `tests.csv`.

    Returns:
        Up to three questions; none for an empty table.
    """
    asked = [
        (
            "Is the automatic mask as close to the raters as they are to each other?",
            "Like is compared with like: in every subject, the automatic mask's agreement with each rater is set"
            " against the raters' agreement with each other. A further rater of equal skill would show no difference."
            " The Williams index is the quotient of the two; 1 is as close as a rater.",
            {CONTRAST: _contrast, LEAVE_ONE_OUT: _left_out, "williams": _williams},
        ),
        (
            "Is it far off more often than raters are?",
            "Mean distances are ruled by a few gross misses, so these are counted: subjects in whom the surface"
            " distance (HD95) to the raters exceeds a limit.",
            {"share above": _share_above},
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
    answered = [(title, why, _findings(tests, words)) for title, why, words in asked]
    return [Question(title, why, findings) for title, why, findings in answered if findings]


def _findings(tests: pd.DataFrame, words: Mapping[str, Callable[[Row], str]]) -> tuple[Finding, ...]:
    """One finding per cohort and topic; the Williams index stands with the difference that it belongs to."""
    found: dict[tuple[str, str], Finding] = {}
    for row in tests[tests["test"].isin(list(words))].to_dict("records"):
        cohort, topic = str(row["cohort"]), _topic(row)
        text = words[row["test"]](row) if pd.notna(row["estimate"]) else _not_computable(row)
        before = found.get((cohort, topic), Finding(cohort, topic, ""))
        found[cohort, topic] = Finding(
            cohort, topic, f"{before.text} {text}".strip(), before.verdict or _verdict(row)
        )  # fmt: skip
    return tuple(found.values())


def _topic(row: Row) -> str:
    return _label(row) + (", against the other raters' consensus" if row["test"] == LEAVE_ONE_OUT else "")


def _label(row: Row) -> str:
    return BY_KEY[row["metric"]].label if row["metric"] in BY_KEY else str(row["metric"])


def _not_computable(row: Row) -> str:
    kind = "Williams index" if row["test"] == "williams" else "Difference"
    return f"{kind}: {_note(row) or 'not computable'}."


def _contrast(row: Row) -> str:
    metric = _label(row)
    return (
        f"Its {metric} with the raters is {_compared(row['estimate'], metric)} with each other {_certainty(row)}."
        f" {_margin(row, 'a loss of')}"
    ).rstrip()


def _left_out(row: Row) -> str:
    return (
        f"Its {_label(row)} is {_compared(row['estimate'], _label(row), 'rater left out')} {_certainty(row)}."
        f" {_margin(row, 'a loss of')}"
    ).rstrip()


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
    return {
        NO_WORSE: f"{_capital(size)} or more, the margin set beforehand, is ruled out.",
        WORSE: f"The whole interval lies beyond {size}, the margin set beforehand.",
        NOT_SHOWN: f"{_disadvantage(row)}{_capital(size)}, the margin set beforehand, is not ruled out.",
        UNDECIDED: f"Whether {size}, the margin set beforehand, can be ruled out is not decided.",
    }[_verdict(row)]


def _verdict(row: Row) -> str:
    """Against the margin; of shares a higher one is the worse, of Dice and VS a lower one."""
    if pd.isna(row["margin"]):
        return ""
    if row["non_inferior"] is None or pd.isna(row["non_inferior"]):
        return UNDECIDED
    if row["non_inferior"]:
        return NO_WORSE
    beyond = row["ci_low"] > row["margin"] if row["test"] == "share above" else row["ci_high"] < -row["margin"]
    return WORSE if beyond else NOT_SHOWN


def _disadvantage(row: Row) -> str:
    """Said where the interval excludes equality to the method's disadvantage, though not the margin."""
    if row["test"] == "share above":
        return "That it is larger is shown. " if row["ci_low"] > 0 else ""
    return "That it is lower is shown. " if row["ci_high"] < 0 else ""


def _certainty(row: Row, scale: float = 1.0, digits: int = 3) -> str:
    """Interval and subjects in brackets, with what has to be known about them."""
    subjects = f"{row['n']} subject{'' if row['n'] == 1 else 's'}"
    if pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return f"({subjects}: no 95 % interval)"
    low, high = (f"{scale * row[end]:.{digits}f}".replace("-", "−") for end in ("ci_low", "ci_high"))
    note = _note(row)
    return f"(95 % interval {low} to {high}; {subjects}{f'; {note}' if note else ''})"


def _note(row: Row) -> str:
    return "" if pd.isna(row["note"]) else re.sub(r"^n=\d+: ", "", str(row["note"]))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _p(value: float) -> str:
    if pd.isna(value):
        return "p not computable"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
