"""Random folds for cross-validation: every subject is tested once (paper, 2.4.3).

The paper balances "at least two volunteer images among the 13 test images", a minimum per cohort; other experiments
spread the cohorts evenly. Subjects of one group (a person scanned twice, a family) are never divided.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nerveseg.data.study import Subject
from nerveseg.errors import ConfigurationError, FoldError


@dataclass(frozen=True)
class Fold:
    """Split of the subjects into training, validation and test."""

    number: int  # number of the fold, from 0 up
    train: tuple[Subject, ...]  # training subjects, in the study's order
    test: tuple[Subject, ...]  # test subjects, in the study's order
    # Subjects taken from the training subjects to choose settings by, in the study's order.
    validation: tuple[Subject, ...] = ()


def split_folds(
    subjects: Sequence[Subject], count: int, seed: int, minimum_per_cohort: Mapping[str, int] | None = None
) -> list[Fold]:
    """Divide subjects at random into `count` test sets of equal size (they differ by one where they must).

    Args:
        subjects: All subjects, in any order; the result does not depend on it.
        count: Number of folds.
        seed: Seed of the random split, independent of the training's seed.
        minimum_per_cohort: Least number of each cohort's subjects in every test set, with the others at random (as in
            the paper); by default cohorts are spread evenly.

    Raises:
        FoldError: The cohort is too small for the folds.
        ConfigurationError: `count` is below 2.
    """
    if count < 2:
        raise ConfigurationError("folds.count is a number from 2 up", found=count)
    ordered = sorted(subjects, key=lambda subject: subject.id)
    groups = subject_groups(ordered)
    if len(groups) < count:
        rule, found = f"{count} folds need at least {count} independent subjects", f"{len(groups)} of them"
        raise FoldError(rule, found=found, remedy=f"folds.count={len(groups)} or fewer, or more subjects")
    minimum = minimum_per_cohort or {}
    _check_minimum(ordered, count, minimum)
    random = np.random.default_rng(seed)
    shuffled = [groups[index] for index in random.permutation(len(groups))]
    tests = _deal(shuffled, count, minimum) if minimum else _deal_evenly(shuffled, count)
    _check_result(tests, minimum)
    folds = []
    for number, test in enumerate(tests):
        ids = {subject.id for subject in test}
        train, held_out = (tuple(one for one in subjects if (one.id in ids) == inside) for inside in (False, True))
        folds.append(Fold(number, train, held_out))
    return folds


def select_fold(folds: Sequence[Fold], number: int) -> Fold:
    """Return the fold of that number; raise `ConfigurationError` if no fold has it."""
    if not 0 <= number < len(folds):
        rule = f"fold is a number from 0 to {len(folds) - 1}"
        raise ConfigurationError(rule, found=number, remedy="choose one of these, or set folds.count")
    return folds[number]


def subject_groups(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Group subjects that may not be divided between training and test."""
    groups: dict[str, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(subject.group, []).append(subject)
    return list(groups.values())


def _check_minimum(subjects: Sequence[Subject], count: int, minimum: Mapping[str, int]) -> None:
    sizes = Counter(subject.cohort for subject in subjects)
    for cohort, least in minimum.items():
        if sizes[cohort] < least * count:
            rule = f"{count} folds with at least {least} of cohort {cohort} each need {least * count} of them"
            found = f"{sizes[cohort]}; the study's cohorts are " + ", ".join(sorted(sizes))
            remedy = "folds=even, or lower folds.minimum_per_cohort or folds.count, or add subjects"
            raise FoldError(rule, found=found, remedy=remedy)


def _deal(groups: list[list[Subject]], count: int, minimum: Mapping[str, int]) -> list[list[Subject]]:
    """Assign each cohort's minimum, largest groups first, to the fold that has fewest; the rest to the smallest."""
    tests: list[list[Subject]] = [[] for _ in range(count)]
    rest = list(groups)
    for cohort, least in minimum.items():
        for group in sorted(rest, key=lambda group: _number_of(group, cohort), reverse=True):
            neediest = min(tests, key=lambda test: _number_of(test, cohort))
            if not _number_of(group, cohort) or _number_of(neediest, cohort) >= least:
                break
            neediest.extend(group)
            rest.remove(group)
    for group in sorted(rest, key=len, reverse=True):
        min(tests, key=len).extend(group)
    return tests


def _deal_evenly(groups: list[list[Subject]], count: int) -> list[list[Subject]]:
    """Assign each group to the fold with fewest subjects of its cohort, and among these to the smallest."""
    tests: list[list[Subject]] = [[] for _ in range(count)]
    for group in sorted(groups, key=lambda group: (-len(group), group[0].cohort)):
        cohort = group[0].cohort
        min(tests, key=lambda test: (_number_of(test, cohort), len(test))).extend(group)
    return tests


def _number_of(subjects: Sequence[Subject], cohort: str) -> int:
    return sum(subject.cohort == cohort for subject in subjects)


def _check_result(tests: Sequence[Sequence[Subject]], minimum: Mapping[str, int]) -> None:
    """Raise `FoldError` for a fold without test subjects or minimum, which large groups can cause."""
    for number, test in enumerate(tests):
        short = [cohort for cohort, least in minimum.items() if _number_of(test, cohort) < least]
        if short or not test:
            found = f"fold {number} has {len(test)} subjects, too few of {', '.join(short) or 'all cohorts'}"
            remedy = "the study's groups are too large for these folds: lower folds.count"
            raise FoldError("every fold has test subjects, and its minimum of each cohort", found=found, remedy=remedy)


def hold_out(fold: Fold, fraction: float, seed: int) -> Fold:
    """Take validation subjects from a fold's training subjects at random, by a seed and the fold's number.

    The fraction is a share of the training subjects, from 0 (none) to below 1; above 0, at least one subject is taken.

    Raises:
        ConfigurationError: The fraction is out of its range.
        FoldError: No training subjects would remain.
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
        rule, remedy = "a validation split leaves training subjects", "lower folds.validation_fraction, or 0"
        raise FoldError(rule, found=f"{len(ordered)} training subjects, all of them held out", remedy=remedy)
    return replace(fold, train=train, validation=tuple(subject for subject in fold.train if subject.id in held))
