"""The tiny and the demo cohort, simulated once."""

import pytest

from nerveseg.launch.compose import compose_config, to_plain_dict
from nerveseg.phantom.cohort import CohortSpec, participants, simulate_subject, write_cohort


@pytest.fixture(scope="session")
def cohort_spec():
    return lambda name: CohortSpec(**to_plain_dict(compose_config("simulate", [f"cohort={name}"]))["cohort"])


@pytest.fixture(scope="session")
def tiny(cohort_spec):
    return cohort_spec("tiny")


@pytest.fixture(scope="session")
def demo(cohort_spec):
    return cohort_spec("demo")


@pytest.fixture(scope="session")
def demo_subjects(demo):
    return [simulate_subject(demo, participant) for participant in participants(demo)]


@pytest.fixture(scope="session")
def tiny_study(tiny, tmp_path_factory):
    root = tmp_path_factory.mktemp("study") / "tiny"
    write_cohort(tiny, root)
    return root
