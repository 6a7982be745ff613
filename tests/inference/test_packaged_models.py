"""Models that are part of nerveseg: their names, and the files of the one that is shipped."""

from pathlib import Path

import pytest

from nerveseg.errors import BundleError
from nerveseg.inference import model_folder
from nerveseg.inference.bundle import load_bundle
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.model_folder import DEFAULT, check_model_folder, default_model, model_path
from tests.helpers.composed import parsed_config
from tests.helpers.scan_models import write_model

SHIPPED = model_folder.PACKAGED / DEFAULT
MOST_BYTES = 6_000_000


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """The folder of a small model that stands for the one of the package."""
    monkeypatch.setattr(model_folder, "PACKAGED", tmp_path / "package")
    return write_model(tmp_path / "package" / DEFAULT, 3, {})


def test_a_model_of_the_package_is_called_by_its_name(packaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_path(DEFAULT) == default_model(tmp_path) == packaged
    assert open_model(model_path(DEFAULT)).name == DEFAULT
    for other in (f"./{DEFAULT}", f"{DEFAULT}/", "outputs/demo", Path(DEFAULT), None):
        assert model_path(other) == other
    assert parsed_config("segment", "input=a", f"model={DEFAULT}").model == packaged
    assert parsed_config("segment", "input=a", f"model=./{DEFAULT}").model == Path(DEFAULT)
    assert parsed_config("train", f"init={DEFAULT}").init == packaged


def test_an_unknown_name_is_told_with_the_names_that_exist(packaged, tmp_path):
    with pytest.raises(BundleError) as caught:
        check_model_folder(tmp_path / "thihg")
    assert f"model={DEFAULT}" in caught.value.remedy


def test_without_a_model_of_the_package_one_has_to_be_given(tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "PACKAGED", tmp_path)
    assert model_path(DEFAULT) == DEFAULT
    with pytest.raises(BundleError):
        default_model(tmp_path)


@pytest.mark.skipif(not SHIPPED.exists(), reason="nerveseg/models/thigh is not in this checkout")
def test_the_shipped_model_is_small_licensed_and_says_that_it_is_synthetic():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < MOST_BYTES
    assert (SHIPPED / "LICENSE").read_bytes() == (Path(__file__).parents[2] / "LICENSE").read_bytes()
    description = load_bundle(SHIPPED).description
    training = description.training
    assert (training.synthetic, training.subjects, training.voxels) == (True, {}, {})
    assert training.samples > 0
    assert description.result_classes == ["nerve"]
    assert description.ranges is not None
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert "SYNTHETIC TRAINING DATA" in card
    assert f"{training.samples:,} samples" in card
