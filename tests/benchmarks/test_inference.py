import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_the_fixture_learns_from_crops_that_hold_its_nerve(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from fixture_network import _crop, synthetic_scan

    image, truth = synthetic_scan(3, (128, 128))
    assert image.shape == truth.shape == (128, 128, 3)
    rng = np.random.default_rng(1)
    crops = [_crop(image, truth, 48, rng, round_nerve=True) for _ in range(20)]
    assert all(label.any() and part.shape == label.shape == (48, 48) for part, label in crops)


@pytest.mark.slow
@pytest.mark.integration
def test_three_rows_come_out_and_the_exact_mask_is_the_plain_ones(tmp_path):
    options = ["--size", "tiny", "--minutes", "0.05", "--slices", "4", "--baseline-slices", "2", "--rounds", "1"]
    command = [sys.executable, str(BENCHMARKS / "inference.py"), *options, "--json", str(tmp_path / "inference.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "inference.json").read_text())["rows"]
    assert [row["target"] for row in rows] == [30.0, 3.0, 10.0]
    assert "; 0 voxels of 2 slices differ" in rows[1]["note"]
    assert (tmp_path / "network-tiny-0.05-minutes.safetensors").is_file()
