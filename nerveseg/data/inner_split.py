"""Subjects held out of a fold's training set, to choose between settings by (not in the paper, which has no such set).

Settings that are chosen by the test subjects look better than they are. The inner split never touches these: it divides
what is left for training, each cohort in proportion, and keeps the subjects of one group together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from nerveseg.data.folds import Fold, subject_groups
from nerveseg.errors import ConfigurationError, FoldError


def hold_out(fold: Fold, fraction: float, seed: int) -> Fold:
    """A fold whose validation subjects are taken from its training subjects.

    Args:
        fold: Without validation subjects.
        fraction: Share of the training subjects, from 0 (none) to below 1; above 0 it is at least one subject.
        seed: Of the random choice; with it, the fold's number counts.

    Raises:
        ConfigurationError: The fraction is out of its range.
        FoldError: Nothing would be left to train on.
    """
    if not 0 <= fraction < 1:
        raise ConfigurationError("folds.validation_fraction is a number from 0 to below 1", found=fraction)
    if fraction == 0:
        return fold
    ordered = sorted(fold.train, key=lambda subject: subject.id)
    random = np.random.default_rng([seed, fold.number])
    groups = subject_groups(ordered)
    waiting = [groups[index] for index in random.permutation(len(groups))]
    wanted = {cohort: fraction * number for cohort, number in Counter(each.cohort for each in ordered).items()}
    held: set[str] = set()
    while waiting and len(held) < max(1, round(fraction * len(ordered))):
        neediest = max(sorted(wanted), key=lambda cohort: wanted[cohort])
        group = next((each for each in waiting if each[0].cohort == neediest), waiting[0])
        waiting.remove(group)
        held |= {subject.id for subject in group}
        for subject in group:
            wanted[subject.cohort] -= 1
    train = tuple(subject for subject in fold.train if subject.id not in held)
    if not train:
        raise FoldError(
            "an inner split leaves subjects to train on",
            found=f"{len(ordered)} training subjects, all of them held out",
            remedy="lower folds.validation_fraction, or 0",
        )
    return replace(fold, train=train, validation=tuple(subject for subject in fold.train if subject.id in held))
