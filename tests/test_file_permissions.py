"""Every file and folder that is written has the permissions that the user's umask leaves."""

import os
import stat

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.volumes.volume import write_volume
from nerveseg.files import atomic_write, write_text
from nerveseg.training.checkpoint_files import VerifiedCheckpoints


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def check_permissions(root, umask):
    for path in root.rglob("*"):
        usual = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == usual & ~umask, path


def write_weights(path):
    with atomic_write(path) as temporary:
        save_file({"weight": torch.zeros(3)}, temporary)


def write_closed_file(path):
    """As a writer that makes its file with `tempfile`, readable by its owner alone."""
    with atomic_write(path) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL, 0o600))


def write_store(root):
    random = np.random.default_rng(7)
    for name, values in {"image": random.random((8, 8, 3)), "mask": random.random((8, 8, 3)) < 0.5}.items():
        write_volume(root / f"{name}.nii.gz", values.astype(np.float32), np.diag([0.5, 0.5, 4.4, 1.0]))
    layout = StudyLayout(name="tiny", root=root, images={"T2": "image.nii.gz"}, raters={"OS": "mask.nii.gz"})
    prepare_slices(open_study(layout), Preprocessing(size=(8, 8)), root / "slices")


@pytest.mark.parametrize(
    "write",
    [
        lambda root: write_text(root / "deep" / "table.csv", "a,b\n"),
        lambda root: write_weights(root / "model" / "weights.safetensors"),
        lambda root: write_closed_file(root / "x"),
        lambda root: write_volume(root / "x.nii.gz", np.ones((2, 2, 2), np.uint8), np.eye(4)),
        lambda root: write_volume(root / "x.mha", np.ones((2, 2, 2), np.uint8), np.eye(4)),
        lambda root: VerifiedCheckpoints().save_checkpoint({"epoch": 1}, root / "last.ckpt"),
        write_store,
    ],
    ids=["text", "safetensors", "closed", "nifti", "itk", "checkpoint", "store"],
)
def test_permissions_follow_the_umask(tmp_path, umask, write):
    root = tmp_path / "output"
    root.mkdir()
    write(root)
    assert any(path.is_file() for path in root.rglob("*"))
    check_permissions(root, umask)


def test_a_replaced_file_gets_the_permissions_of_a_new_one(tmp_path, umask):
    path = tmp_path / "table.csv"
    path.touch()
    path.chmod(0o600)
    write_text(path, "a\n")
    check_permissions(tmp_path, umask)
