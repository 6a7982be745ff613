"""Thousands of damaged and hostile inputs: each is read, or refused in one line; none ends the process.

Every kind starts from sound files and mutates bytes, fields or words with a fixed seed. A case that is refused has to
raise a `NervesegError`; any other exception, a crash, a hang or a hunger for memory fails the test.
"""

import shutil
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch

from nerveseg.data.study import open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.volume import read_image, read_image_grid, read_labels, read_mask
from nerveseg.inference.bundle import load_bundle
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.runs import FoldFolder
from nerveseg.training.checkpoint_files import find_resumption, sealed
from nerveseg.workflows.run_records import read_run_config
from tests.data.volumes.test_slicer_seg import write as write_segmentation
from tests.fuzz import mutations
from tests.fuzz.contained import outcomes
from tests.helpers.dicom_series import pixels_of, write_enhanced, write_series
from tests.helpers.scan_models import write_model

pytestmark = pytest.mark.slow

CASES = 500
SHAPE = (12, 10, 5)


def sound_volume(folder):
    random = np.random.default_rng(1)
    array = random.normal(100, 20, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([0.5, 0.5, 4.0, 1.0])), folder / "image.nii")
    nib.save(nib.Nifti1Image((array > 110).astype(np.uint8), np.diag([0.5, 0.5, 4.0, 1.0])), folder / "mask.nii.gz")
    image = SimpleITK.GetImageFromArray(array)
    for name in ("image.mha", "image.nrrd"):
        SimpleITK.WriteImage(image, str(folder / name))
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = sound_volume(tmp_path_factory.mktemp("sound"))
    write_series(folder / "series")
    write_model(folder / "model", 1, {})
    return folder


def fuzzed(folder, data, name, mutate, call, seed, cases=CASES):
    """Outcomes of a call on a file that holds mutated data, by number."""
    path = folder / name

    def attempt(number):
        path.write_bytes(mutate(data, np.random.default_rng([seed, number])))
        call(path)

    return outcomes(range(cases), attempt)


def judge(found):
    """Fail with the distinct ways in which cases broke, and an example of each."""
    broken = Counter(outcome for outcome in found if outcome.startswith("broken"))
    example = {outcome: found.index(outcome) for outcome in broken}
    lines = [f"{count} x case {example[outcome]}: {outcome}" for outcome, count in broken.most_common()]
    assert not broken, "\n" + "\n".join(lines)
    assert "error" in found


@pytest.mark.parametrize("mutate", [mutations.damaged, mutations.nifti_header], ids=["bytes", "fields"])
def test_nifti(mutate, sound, tmp_path):
    data = (sound / "image.nii").read_bytes()

    def call(path):
        read_image_grid(path)
        read_image(path)

    judge(fuzzed(tmp_path, data, "scan.nii", mutate, call, 1, 2 * CASES))


def test_compressed_masks(sound, tmp_path):
    data = (sound / "mask.nii.gz").read_bytes()
    judge(fuzzed(tmp_path, data, "mask.nii.gz", mutations.damaged, read_mask, 2))


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
@pytest.mark.parametrize("mutate", [mutations.damaged, mutations.text], ids=["bytes", "words"])
def test_itk(suffix, mutate, sound, tmp_path):
    data = (sound / f"image.{suffix}").read_bytes()
    size = np.prod(SHAPE) * 4

    def header(whole, random):
        return mutate(whole[:-size], random) + whole[-size:]

    judge(fuzzed(tmp_path, data, f"scan.{suffix}", header, read_image, 3))


@pytest.mark.parametrize("mutate", [mutations.damaged, mutations.text], ids=["bytes", "words"])
def test_itk_segmentations(mutate, sound, tmp_path):
    image = SimpleITK.ReadImage(str(sound / "image.nrrd"))
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:5] = True
    segments = [("nerve", 1, 0), ("muscle", 1, 1)]
    data = write_segmentation(tmp_path / "x.seg.nrrd", image, [mask, ~mask], segments, start=(0, 0, 0)).read_bytes()
    size = data.index(b"\n\n")

    def header(whole, random):
        return mutate(whole[:size], random) + whole[size:]

    judge(fuzzed(tmp_path, data, "y.seg.nrrd", header, lambda path: read_labels(path, declared=(1,)), 8))


def test_dicom_of_many_frames(tmp_path):
    frames = [{"place": 6.5 * place, "pixels": pixels_of(place)} for place in range(4)]
    write_enhanced(tmp_path / "series" / "x.dcm", frames)
    path = tmp_path / "series" / "x.dcm"

    def call(path):
        read_image(path.parent)

    judge(fuzzed(path.parent, path.read_bytes(), path.name, mutations.damaged, call, 9, CASES // 2))


def test_dicom(sound, tmp_path):
    shutil.copytree(sound / "series", tmp_path / "series")
    first = sorted((tmp_path / "series").iterdir())[0]

    def call(path):
        read_image(path.parent)

    judge(fuzzed(first.parent, first.read_bytes(), first.name, mutations.damaged, call, 4))


@pytest.mark.parametrize("mutate", [mutations.damaged, mutations.json_values], ids=["bytes", "values"])
def test_model_description(mutate, sound, tmp_path):
    shutil.copytree(sound / "model", tmp_path / "model")
    data = (sound / "model" / "model.json").read_bytes()

    def call(path):
        load_bundle(path.parent)

    judge(fuzzed(tmp_path / "model", data, "model.json", mutate, call, 5))


TABLE = (
    b"participant_id\tcohort\tgroup\tside\tlocation\trepeat_of\tminutes_R\n"
    b"sub-A\tpatient\tA\tleft\tdistal\tn/a\t12.5\nsub-B\tvolunteer\tB\tright\tmedial\tsub-A\tn/a\n"
)


@pytest.mark.parametrize("mutate", [mutations.damaged, mutations.text], ids=["bytes", "words"])
def test_participants(mutate, sound, tmp_path):
    for subject in ("A", "B"):
        shutil.copy(sound / "image.nii", tmp_path / f"{subject}.nii")
        shutil.copy(sound / "mask.nii.gz", tmp_path / f"{subject}_R.nii.gz")
    layout = StudyLayout(name="s", root=tmp_path, images={"T2": "{id}.nii"}, raters={"R": "{id}_R.nii.gz"})
    judge(fuzzed(tmp_path, TABLE, "participants.tsv", mutate, lambda path: open_study(layout), 6))


RUN_CONFIG = (Path(__file__).parents[2] / "conf" / "train.yaml").read_bytes()


@pytest.mark.parametrize("mutate", [mutations.damaged, mutations.text], ids=["bytes", "words"])
def test_configuration_of_a_run_in_yaml(mutate, tmp_path):
    judge(fuzzed(tmp_path, RUN_CONFIG, "config.yaml", mutate, lambda path: read_run_config(FoldFolder(path.parent)), 8))


def test_model_checkpoints_of_a_run(tmp_path):
    data = sealed({"epoch": 3, "state_dict": {"weight": torch.ones(3)}})
    judge(fuzzed(tmp_path, data, "last.ckpt", mutations.damaged, lambda path: find_resumption(path.parent), 9))


def test_studies_in_yaml(tmp_path):
    data = (Path(__file__).parents[2] / "conf" / "study" / "bids.yaml").read_bytes()
    (tmp_path / "study").mkdir()

    def call(path):
        words = ["--config-dir", str(tmp_path), "study=mine", f"study.root={tmp_path}", f"output_root={tmp_path}"]
        compose_jobs("check", to_hydra_overrides("check", words))

    judge(fuzzed(tmp_path / "study", data, "mine.yaml", mutations.text, call, 7, CASES // 4))
