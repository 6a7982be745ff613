"""The inner split: what it holds out, and what it never touches."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.folds import Fold, hold_out, split_folds
from nerveseg.data.study import Subject
from nerveseg.errors import ConfigurationError, FoldError


def subject(number, cohort, group=None):
    name = f"{cohort[0]}{number:02d}"
    return Subject(id=name, images={}, raters={}, cohort=cohort, group=group or name)


def study(volunteers=10, patients=42):
    return [subject(n, "volunteer") for n in range(volunteers)] + [subject(n, "patient") for n in range(patients)]


def ids(subjects):
    return [each.id for each in subjects]


def test_without_a_fraction_the_fold_is_the_papers():
    for fold in split_folds(study(), 4, 1):
        assert hold_out(fold, 0.0, 1) is fold


@given(fraction=st.floats(0.01, 0.7), seed=st.integers(0, 9), patients=st.integers(12, 40), number=st.integers(0, 3))
def test_training_subjects_are_divided_and_test_subjects_stay(fraction, seed, patients, number):
    fold = split_folds(study(8, patients), 4, seed)[number]
    inner = hold_out(fold, fraction, seed)
    assert inner.test == fold.test
    assert sorted(ids(inner.train + inner.validation)) == sorted(ids(fold.train))
    assert len(inner.validation) == max(1, round(fraction * len(fold.train)))
    whole, held = (Counter(each.cohort for each in part) for part in (fold.train, inner.validation))
    assert all(abs(held[cohort] - fraction * whole[cohort]) <= 1 for cohort in whole), "each cohort in proportion"
    assert hold_out(fold, fraction, seed) == inner


def test_the_order_of_the_subjects_does_not_matter():
    fold = split_folds(study(), 4, 1)[2]
    turned = Fold(fold.number, fold.train[::-1], fold.test)
    assert set(ids(hold_out(fold, 0.25, 1).validation)) == set(ids(hold_out(turned, 0.25, 1).validation))


def test_folds_and_seeds_hold_out_others():
    folds = split_folds(study(), 4, 1)
    chosen = [frozenset(ids(hold_out(fold, 0.25, seed).validation)) for fold in folds for seed in (1, 2)]
    assert len(set(chosen)) == 8


def test_a_person_scanned_twice_is_held_out_twice_or_not_at_all():
    pairs = [subject(n, "volunteer", group=f"g{n // 2}") for n in range(24)]
    for fold in split_folds(pairs, 4, 1):
        inner = hold_out(fold, 0.3, 1)
        assert not {each.group for each in inner.train} & {each.group for each in inner.validation}


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_a_fraction_is_a_share(fraction):
    with pytest.raises(ConfigurationError) as caught:
        hold_out(split_folds(study(), 4, 1)[0], fraction, 1)
    assert "folds.validation_fraction" in caught.value.rule
    assert caught.value.found == fraction


def test_something_is_left_to_train_on():
    one = [subject(n, "volunteer", group=f"g{n // 4}") for n in range(8)]
    with pytest.raises(FoldError) as caught:
        hold_out(split_folds(one, 2, 1)[0], 0.5, 1)
    assert caught.value.found.startswith("4 ")
    assert "folds.validation_fraction" in caught.value.remedy
