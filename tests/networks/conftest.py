"""Model descriptions around any network."""

import pytest

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.inference.bundle import ModelDescription, TrainingRecord


@pytest.fixture
def random_description():
    """`random_description(architecture, channels)`."""

    def make(architecture, channels):
        return ModelDescription(
            architecture=architecture,
            channels=channels,
            spacing_mm=(1.0, 1.0, 4.4),
            preprocessing=Preprocessing(size=(16, 16)),
            classes=None,
            training=TrainingRecord(study="x", synthetic=True, subjects={}, fold=0, epochs=1, seed=1, folds_seed=1),
            versions={},
        )

    return make
