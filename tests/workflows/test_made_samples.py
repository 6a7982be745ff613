import pytest

from nerveseg.errors import ConfigurationError
from nerveseg.workflows.made_samples import check_samples
from tests.helpers.composed import parsed_config


def test_the_experiment_can_be_trained():
    check_samples(parsed_config("train", "experiment=thigh"))


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("study=phantom_structures", "spacing_mm"),
        ("study=phantom_branches", "study.classes"),
        ("context.centred=0.5", "context.centred"),
        ("target=raters", "target"),
    ],
)
def test_samples_that_cannot_be_made_are_refused_before_anything_is_written(word, named):
    words = [word] if "structures" not in word else ["preprocessing.spacing_mm=study"]
    with pytest.raises(ConfigurationError) as caught:
        check_samples(parsed_config("train", "experiment=thigh", *words))
    assert named in caught.value.rule
