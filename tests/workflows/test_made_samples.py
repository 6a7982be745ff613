import numpy as np
import pytest

from nerveseg.errors import ConfigurationError
from nerveseg.synthesis.scanner import draw_scanner
from nerveseg.synthesis.scene import draw_levels
from nerveseg.workflows.made_samples import RANGES, check_samples
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


def test_the_recorded_ranges_are_those_that_are_drawn():
    rng = np.random.default_rng(3)
    pixels = [draw_scanner(rng, 5).pixel_mm for _ in range(4000)]
    steps = [draw_levels(rng, 2)[1] for _ in range(4000)]
    for (low, high), drawn in ((RANGES.pixel_mm, pixels), (RANGES.step_mm, steps)):
        assert low <= min(drawn) <= 1.01 * low
        assert 0.99 * high <= max(drawn) <= high
