import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.folds import select_fold, split_folds
from nerveseg.data.study import Subject
from nerveseg.errors import ConfigurationError, FoldError

COHORTS = ("patient", "volunteer", "other")


def subject(subject_id, cohort="all", group=""):
    return Subject(id=subject_id, images={}, raters={}, cohort=cohort, group=group)


def cohort(**sizes):
    return [subject(f"{name}{number:02}", name) for name, size in sizes.items() for number in range(size)]


def ids(subjects):
    return [subject.id for subject in subjects]


def held_out(folds):
    return [ids(fold.test) for fold in folds]


def counts(folds, name):
    return [sum(subject.cohort == name for subject in fold.test) for fold in folds]


def check_cross_validation(folds, subjects, count):
    """What every cross-validation is, whatever its rule."""
    assert [fold.number for fold in folds] == list(range(count))
    assert sorted(itertools.chain(*held_out(folds))) == sorted(ids(subjects))
    for fold in folds:
        assert fold.test
        assert ids(subjects) == [
            name for name in ids(subjects) if (name in ids(fold.train)) != (name in ids(fold.test))
        ]
        assert ids(fold.train) == [name for name in ids(subjects) if name in ids(fold.train)]
        assert ids(fold.test) == [name for name in ids(subjects) if name in ids(fold.test)]


@st.composite
def studies(draw, least=2, most=40):
    names = draw(st.lists(st.sampled_from(COHORTS), min_size=least, max_size=most))
    subjects = [subject(f"s{number:02}", name) for number, name in enumerate(names)]
    return draw(st.permutations(subjects)), draw(st.integers(2, min(6, len(subjects))))


@st.composite
def grouped_studies(draw):
    sizes = draw(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(COHORTS)), min_size=4, max_size=12))
    subjects = [
        subject(f"g{number}-{member}", name, f"g{number}")
        for number, (size, name) in enumerate(sizes)
        for member in range(size)
    ]
    return draw(st.permutations(subjects)), draw(st.integers(2, 4))


@given(studies(), st.integers(0, 2**32 - 1))
def test_evenly_spread_cohorts_differ_by_at_most_one(study, seed):
    subjects, count = study
    folds = split_folds(subjects, count, seed)
    check_cross_validation(folds, subjects, count)
    for numbers in [[len(fold.test) for fold in folds], *(counts(folds, name) for name in COHORTS)]:
        assert max(numbers) - min(numbers) <= 1


@given(studies(least=8), st.integers(0, 2**32 - 1), st.data())
def test_every_fold_has_its_minimum_and_sizes_differ_by_at_most_one(study, seed, data):
    subjects, count = study
    sizes = Counter(subject.cohort for subject in subjects)
    names = data.draw(st.lists(st.sampled_from(sorted(sizes)), min_size=1, unique=True))
    minimum = {name: data.draw(st.integers(0, sizes[name] // count)) for name in names}
    folds = split_folds(subjects, count, seed, minimum)
    check_cross_validation(folds, subjects, count)
    lengths = [len(fold.test) for fold in folds]
    assert max(lengths) - min(lengths) <= 1
    for name, least in minimum.items():
        assert min(counts(folds, name)) >= least


@given(grouped_studies(), st.integers(0, 2**32 - 1))
def test_a_group_is_never_divided(study, seed):
    subjects, count = study
    folds = split_folds(subjects, count, seed)
    check_cross_validation(folds, subjects, count)
    for fold in folds:
        assert not {subject.group for subject in fold.test} & {subject.group for subject in fold.train}


@given(grouped_studies(), st.integers(0, 2**32 - 1))
def test_a_minimum_with_groups_is_held_or_refused(study, seed):
    subjects, count = study
    name = subjects[0].cohort
    try:
        folds = split_folds(subjects, count, seed, {name: 1})
    except FoldError:
        # brute force: one subject of the cohort per fold needs that many of its groups
        assert len({subject.group for subject in subjects if subject.cohort == name}) < count
        return
    check_cross_validation(folds, subjects, count)
    assert min(counts(folds, name)) >= 1
    for fold in folds:
        assert not {subject.group for subject in fold.test} & {subject.group for subject in fold.train}


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_several_sizes_are_dealt_so_that_the_minimum_is_met(seed):
    sizes = (1, 1, 1, 1, 2, 2)
    subjects = [subject(f"{group}-{member}", "a", f"g{group}") for group, n in enumerate(sizes) for member in range(n)]
    assert counts(split_folds(subjects, 4, seed, {"a": 2}), "a") == [2, 2, 2, 2]


@pytest.mark.parametrize("seed", range(20))
def test_a_large_group_does_not_upset_the_spread(seed):
    family = [subject(f"f{member}", "family", "f") for member in range(4)]
    singles = [subject(f"s{number}", "single") for number in range(8)]
    assert counts(split_folds([*family, *singles], 4, seed), "single") == [2, 2, 2, 2]
    half = split_folds([*family, *singles[:4]], 2, seed, {"single": 0})
    assert [len(fold.test) for fold in half] == [4, 4]


@given(studies(), st.integers(0, 1000), st.booleans(), st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_subjects(study, seed, with_minimum, random):
    subjects, count = study
    minimum = {subjects[0].cohort: 0} if with_minimum else None
    shuffled = list(subjects)
    random.shuffle(shuffled)
    first, second = split_folds(subjects, count, seed, minimum), split_folds(shuffled, count, seed, minimum)
    assert [sorted(test) for test in held_out(first)] == [sorted(test) for test in held_out(second)]


@pytest.mark.parametrize("minimum", [None, {"volunteer": 2}])
def test_the_seed_decides_the_split(minimum):
    subjects = cohort(volunteer=10, patient=42)
    splits = {seed: held_out(split_folds(subjects, 4, seed, minimum)) for seed in range(30)}
    assert len({str(split) for split in splits.values()}) == 30
    assert held_out(split_folds(subjects, 4, 3, minimum)) == splits[3]
    assert len({split[0][0] for split in splits.values()}) > 3


@pytest.mark.parametrize("seed", range(50))
def test_the_papers_52_subjects_in_folds_of_13_with_two_volunteers_each(seed):
    folds = split_folds(cohort(volunteer=10, patient=42), 4, seed, {"volunteer": 2})
    assert [(len(fold.test), len(fold.train)) for fold in folds] == [(13, 39)] * 4
    assert min(counts(folds, "volunteer")) >= 2


def test_the_papers_rule_is_a_minimum_and_not_an_even_spread():
    subjects = cohort(volunteer=10, patient=42)
    paper = {tuple(sorted(counts(split_folds(subjects, 4, seed, {"volunteer": 2}), "volunteer"))) for seed in range(80)}
    even = {tuple(sorted(counts(split_folds(subjects, 4, seed), "volunteer"))) for seed in range(80)}
    assert paper == {(2, 2, 2, 4), (2, 2, 3, 3)}
    assert even == {(2, 2, 3, 3)}


def test_every_subject_is_as_likely_in_every_fold():
    subjects = cohort(volunteer=4, patient=8)
    tested = Counter((split_folds(subjects, 4, seed)[0].test[0].id) for seed in range(400))
    assert set(tested) >= {"volunteer00", "volunteer01", "volunteer02", "volunteer03"}
    assert all(abs(tested[f"volunteer0{number}"] - 100) < 40 for number in range(4))


@pytest.mark.parametrize(
    ("subjects", "count", "minimum", "rule", "found", "remedy"),
    [
        (cohort(a=3), 4, None, "4 folds", "^3 ", "folds.count=3"),
        ([], 2, None, "2 folds", "^0 ", "folds.count"),
        ([subject(f"s{n}", group="one") for n in range(9)], 2, None, "2 folds", "^1 ", "folds.count=1"),
        (cohort(volunteer=7, patient=50), 4, {"volunteer": 2}, "8 of", "^7; .*patient, volunteer$", "folds.count"),
        (cohort(patient=50), 4, {"volunteer": 2}, "cohort volunteer", "^0; .*patient$", "folds.count"),
        (
            cohort(a=9, b=9) + [subject(f"x{n}", "c", "one") for n in range(4)],
            4,
            {"c": 1},
            "",
            r"^fold \d.* c$",
            "folds.count",
        ),
    ],
)
def test_a_cohort_that_is_too_small_is_refused(subjects, count, minimum, rule, found, remedy):
    with pytest.raises(FoldError) as caught:
        split_folds(subjects, count, 1, minimum)
    assert rule in caught.value.rule
    assert re.search(found, caught.value.found)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("count", [1, 0, -4])
def test_fewer_than_two_folds_are_refused(count):
    with pytest.raises(ConfigurationError) as caught:
        split_folds(cohort(a=9), count, 1)
    assert "folds.count" in caught.value.rule
    assert caught.value.found == count


def test_a_fold_is_selected_by_its_number():
    folds = split_folds(cohort(a=8), 4, 1)
    assert [select_fold(folds, number).number for number in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("number", [7, 4, -1])
def test_a_fold_that_does_not_exist_is_refused(number):
    with pytest.raises(ConfigurationError) as caught:
        select_fold(split_folds(cohort(a=8), 4, 1), number)
    assert "0 to 3" in caught.value.rule
    assert caught.value.found == number
    assert "folds.count" in caught.value.remedy
