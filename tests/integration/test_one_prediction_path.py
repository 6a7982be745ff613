"""The mask that a fold is scored by is the mask that `segment` makes with the fold's model, bit for bit."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from nerveseg import segment_scan
from nerveseg.data.preprocessing import Crop
from nerveseg.inference.bundle import load_bundle
from nerveseg.scans.request import SegmentOptions
from nerveseg.segment import main as segment
from nerveseg.workflows import train_fold
from tests.helpers.composed import training_jobs

CPU = SegmentOptions(accelerator="cpu")
FOLDS = ("fold=0,1", "folds=even", "folds.count=2", "optimization.epochs=1", "preprocessing.size=[40,40]")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:Total length of `list`.*"),
]


@pytest.fixture
def sharpened(monkeypatch):
    """One epoch teaches too little to mark any nerve: the last layer is made to mark about a tenth of a slice."""
    save = train_fold.save_bundle

    def sharpen(folder, network, description):
        with torch.no_grad():
            network.classifier.weight *= 4
            network.eval()
            size = description.context.shape((48, 48))
            bright = torch.randn(4, description.in_channels, *size, generator=torch.Generator().manual_seed(0))
            logits = network.cpu()(bright)
            network.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).quantile(0.9)
        save(folder, network, description)

    monkeypatch.setattr(train_fold, "save_bundle", sharpen)


@pytest.fixture
def trained(sharpened, tiny_study, tiny_overrides, tmp_path, monkeypatch):
    """Trains the two folds of a sweep, without its evaluation; returns their folders."""
    monkeypatch.chdir(tmp_path)

    def train(*overrides, root=tiny_study):
        own = [word for word in tiny_overrides if not word.startswith(("cohort@", "preprocessing."))]
        words = ["--multirun", *overrides, *own, *FOLDS, "study=bids", f"study.root={root}", "name=tiny"]
        jobs = training_jobs(*words)
        for job in jobs:
            train_fold.run_fold(job)
        return [job.folder for job in jobs]

    return train


@pytest.fixture
def mixed_study(tiny_study, tmp_path):
    """The tiny study with every second subject, images and masks, at five quarters of its in-plane spacing."""
    root = tmp_path / "mixed"
    shutil.copytree(tiny_study, root)
    subjects = sorted(path.name for path in root.glob("sub-*"))
    for subject in subjects[1::2]:
        for path in root.rglob(f"{subject}_*.nii.gz"):
            image = nib.load(path)
            affine = image.affine @ np.diag([1.25, 1.25, 1.0, 1.0])
            array = np.asarray(image.dataobj).copy()
            nib.save(nib.Nifti1Image(array, affine), path)
    return root


def image_of(root, subject):
    return root / f"sub-{subject}" / "anat" / f"sub-{subject}_T2w.nii.gz"


def fat_suppressed(root, subject):
    """The fat-suppressed channel of a subject, where it has one."""
    path = root / f"sub-{subject}/anat/sub-{subject}_acq-fatsat_T2w.nii.gz"
    return {"FS": path} if path.is_file() else {}


def assert_one_path(folds, root, images=lambda root, subject: {}):
    """Compare the masks of every test subject; most of them mark some nerve."""
    filled = outside = 0
    for fold in folds:
        for path in sorted(fold.predictions.glob("*.nii.gz")):
            subject = path.name.split("_")[0].removeprefix("sub-")
            tested = np.asarray(nib.load(path).dataobj) > 0
            found = segment_scan(image_of(root, subject), fold.path, images=images(root, subject), options=CPU)
            np.testing.assert_array_equal(found.mask, tested)
            np.testing.assert_array_equal(found.affine, nib.load(path).affine)
            assert found.prediction.settings == load_bundle(fold.model).description.prediction
            assert not any("the scores of this model" in note for note in found.notes)
            filled += bool(tested.any())
            crop = Crop((tested.shape[0], tested.shape[1]), (40, 40))
            outside += int(tested.sum() - crop.apply(tested).sum())
    assert filled > len(folds)
    assert (outside > 0) == (load_bundle(folds[0].model).description.prediction.field_of_view == "whole")


def subjects_of_tests(folds):
    return sorted(path.name.split("_")[0] for fold in folds for path in fold.predictions.glob("*.nii.gz"))


def test_with_the_settings_of_the_default_experiment(trained, tiny_study):
    folds = trained()
    assert subjects_of_tests(folds) == sorted(path.name for path in tiny_study.glob("sub-*"))
    settings = load_bundle(folds[0].model).description.prediction
    assert (settings.field_of_view, settings.accuracy, settings.in_plane_spacing) == ("whole", "auto", "model")
    assert_one_path(folds, tiny_study)


def test_with_the_settings_of_the_paper(trained, tiny_study):
    folds = trained("experiment=paper")
    settings = load_bundle(folds[0].model).description.prediction
    assert (settings.field_of_view, settings.accuracy, settings.in_plane_spacing) == ("crop", "exact", "scan")
    assert not settings.postprocessing.remove_specks
    assert_one_path(folds, tiny_study)


def test_with_the_slices_on_each_side(trained, tiny_study):
    folds = trained("context=neighbours")
    description = load_bundle(folds[0].model).description
    assert (description.context.neighbours, description.in_channels) == (2, 5)
    assert_one_path(folds, tiny_study)


@pytest.mark.slow
def test_with_a_registered_channel_that_some_subjects_lack(trained, tiny_study, tmp_path):
    root = shutil.copytree(tiny_study, tmp_path / "incomplete")
    for path in sorted(root.glob("sub-*/anat/*_acq-fatsat_T2w.nii.gz"))[::3]:
        path.unlink()
    template = "sub-{id}/anat/sub-{id}_acq-fatsat_T2w.nii.gz"
    folds = trained(f"+study.images.FS='{template}'", "study.channels=register", "study.optional={FS:0.5}", root=root)
    description = load_bundle(folds[0].model).description
    assert (description.channels, description.optional, description.in_channels) == (["T2", "FS"], ["FS"], 3)
    recorded = {subject: set(files) for fold in folds for subject, files in training_files(fold).items()}
    assert {subject: "FS" in files for subject, files in recorded.items()} == {
        subject: bool(fat_suppressed(root, subject)) for subject in recorded
    }
    assert len(recorded) == 8
    assert set(description.intensity) == {"T2", "FS"}
    assert_one_path(folds, root, fat_suppressed)


def training_files(fold):
    return load_bundle(fold.model).description.training.subjects


@pytest.mark.slow
@pytest.mark.parametrize("size", ["null", "[24,32]"])
def test_with_patches_of_several_slices(trained, tiny_study, size):
    pytest.importorskip("monai")
    network = ["network=tiramisu_3d_small", "network.kernel_size=[[3,3,1],3]", "network.pooling=[[2,2,1]]"]
    folds = trained("context=volume", "context.depth=4", f"context.size={size}", *network)
    description = load_bundle(folds[0].model).description
    assert (description.context.depth, description.in_channels) == (4, 1)
    assert (description.prediction.accuracy, description.computation.accuracy) == ("auto", "exact")
    assert_one_path(folds, tiny_study)
    scan = image_of(tiny_study, "P01")
    assert segment([str(scan), f"model={folds[0].path}", "output=refused", "accelerator=cpu", "accuracy=fast"]) == 2
    assert not Path("refused").exists()


def test_in_a_study_of_mixed_in_plane_spacings(trained, mixed_study):
    folds = trained(root=mixed_study)
    assert_one_path(folds, mixed_study)
    descriptions = [load_bundle(fold.model).description for fold in folds]
    spacings = sorted(
        {nib.load(path).header.get_zooms()[0] for path in mixed_study.glob("sub-*/anat/sub-???_T2w.nii.gz")}
    )
    assert len(spacings) == 2
    for description in descriptions:
        assert description.preprocessing.spacing_mm == pytest.approx((spacings[0],) * 2, abs=1e-5)
        assert description.spacing_mm[:2] == description.preprocessing.spacing_mm


def test_a_setting_other_than_the_models_is_told(trained, tiny_study):
    (fold, _) = trained("inference=paper")
    subject = next(fold.predictions.glob("*.nii.gz")).name.split("_")[0].removeprefix("sub-")
    options = SegmentOptions(accelerator="cpu", field_of_view="whole", postprocessing={"remove_specks": True})
    found = segment_scan(image_of(tiny_study, subject), fold.path, options=options)
    assert found.prediction.settings.field_of_view == "whole"
    assert found.prediction.settings.accuracy == "exact"
    told = [note.split(":")[0] for note in found.notes if "the scores of this model" in note]
    assert told == ["field_of_view=whole", "postprocessing.remove_specks=true"]
