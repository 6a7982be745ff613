"""Every context with one class or several, with one channel or several: trained, resumed, saved, tested, segmented."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from nerveseg import segment_scan
from nerveseg.evaluation.comparisons import read_scores
from nerveseg.inference.bundle import load_bundle
from nerveseg.scans.request import SegmentOptions
from nerveseg.workflows.train_fold import run_fold
from tests.helpers.composed import training_jobs
from tests.helpers.main_job import weights

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:Total length of `list`.*"),
]

STRUCTURES = "derivatives/truth/sub-{id}/anat/sub-{id}_desc-structures_dseg.nii.gz"
BRANCHES = "derivatives/rater-RATER/sub-{id}/anat/sub-{id}_desc-nerves_dseg.nii.gz"
FAT_SUPPRESSED = "sub-{id}/anat/sub-{id}_acq-fatsat_T2w.nii.gz"
CONTEXTS = {
    "slice": ["context=slice"],
    "neighbours": ["context=neighbours"],
    "volume": [
        "context=volume",
        "network=tiramisu_3d_small",
        "context.depth=4",
        "network.kernel_size=3",
        "network.pooling=2",
    ],
}
PARTS = ["context.size=[32,24]", "context.centred=0.5"]
CONTEXTS |= {f"{name}-parts": [*CONTEXTS[name], *PARTS] for name in ("neighbours", "volume")}
CLASSES = {
    "nerve": [],
    "structures": [
        f"+study.raters.truth='{STRUCTURES}'",
        *(f"~study.raters.{rater}" for rater in ("OS", "BW", "LG")),
        "study.classes={nerve:[1],bone:[4],muscle:[5],flesh:[1,5]}",
    ],
    "branches": [
        *(f"study.raters.{rater}='{BRANCHES.replace('RATER', rater)}'" for rater in ("OS", "BW", "LG")),
        "study.classes={tibial:[1],peroneal:[2],sciatic:[3],nerve:[1,2,3]}",
    ],
}
CHANNELS = {
    "T2": [],
    "T2-and-FS": [
        f"+study.images.FS='{FAT_SUPPRESSED}'", "study.channels=resample", "study.optional={FS:0.3}",
    ],
}  # fmt: skip
WHOLE = ("slice", "neighbours", "volume")
SOFT = [("slice", "nerve", "T2", "raters"), ("neighbours-parts", "branches", "T2-and-FS", "raters")]
SOFT += [("volume-parts", "branches", "T2", "raters")]  # structures have one rater
EVERY = [*itertools.product(WHOLE, ("nerve", "structures"), CHANNELS, ("consensus",)), *SOFT]
QUICK = [("neighbours", "structures", "T2-and-FS", "consensus"), SOFT[-1]]  # the others are slow ones


class StopAfterTheFirstEpoch(pl.Callback):
    """The process ends while the second epoch is under way."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "combination",
    [pytest.param(one, id="-".join(one), marks=() if one in QUICK else pytest.mark.slow) for one in EVERY],
)
def test_it_trains_resumes_to_the_bit_and_segments_as_it_was_tested(
    combination, tiny_study, tiny_overrides, tmp_path, monkeypatch
):
    context, classes, channels, target = combination
    monkeypatch.chdir(tmp_path)
    words = [*CONTEXTS[context], *CLASSES[classes], *CHANNELS[channels], "folds=even", "folds.count=2", "fold=0"]
    words += [*tiny_overrides, "study=bids", f"study.root={tiny_study}", "loss=dice_cross_entropy", f"target={target}"]
    words = [word for word in words if not word.startswith("cohort@")]
    (job,) = training_jobs(*words, "name=straight")
    run_fold(job)
    broken = interrupted(words, monkeypatch)
    run_fold(broken)
    expected, resumed = weights(job.folder.path), weights(broken.folder.path)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    assert job.folder.scores.read_bytes() == broken.folder.scores.read_bytes()
    description = load_bundle(job.folder.model).description
    assert description.training.target == target
    assert set(read_scores(job.folder.scores)["class"]) == set(description.class_table.names)
    assert description.architecture.arguments["classes"] == description.class_table.count + 1
    assert_segmented_as_tested(job.folder, tiny_study, "FS" in channels)


def interrupted(words, monkeypatch):
    (job,) = training_jobs(*words, "name=broken")
    trainer = pl.Trainer.__init__

    def with_interruption(self, *args, callbacks=(), **options):
        trainer(self, *args, callbacks=[*callbacks, StopAfterTheFirstEpoch()], **options)

    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "__init__", with_interruption)
        with pytest.raises(KeyboardInterrupt):
            run_fold(job)
    assert (job.folder.checkpoints / "last.ckpt").is_file()
    return job


def assert_segmented_as_tested(fold, root, further):
    """Compare the label map of a test subject, and with it the mask of the nerve, with those of the fold's test."""
    path = sorted(fold.predictions.glob("*.nii.gz"))[0]
    subject = path.name.split("_")[0].removeprefix("sub-")
    images = {"FS": root / FAT_SUPPRESSED.replace("{id}", subject)} if further else {}
    image = root / f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz"
    found = segment_scan(image, fold.path, images=images, options=SegmentOptions(accelerator="cpu"))
    prediction, classes = found.prediction, found.prediction.classes
    tested = np.asarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(found.scan.grid.from_ras(classes.decode(prediction.labels)), tested)
    for name, values in classes.written.items():
        np.testing.assert_array_equal(
            classes.mask(prediction.labels, name), found.scan.grid.to_ras(np.isin(tested, values))
        )
    assert prediction.probabilities.shape == (classes.count, *found.scan.grid.ras_shape)
