"""The tour runs from top to bottom, and its automatic masks are better than nothing."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TOUR = Path(__file__).parents[2] / "notebooks" / "tour.ipynb"


def test_the_tour_runs_and_is_stored_without_output(tmp_path):
    tour = nbformat.read(TOUR, as_version=4)
    assert all(cell.cell_type != "code" or not cell.outputs for cell in tour.cells)
    NotebookClient(tour, timeout=400, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for cell in tour.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "Auto-GT" in printed
    assert "held it out" in printed
    assert "changes of the automatic mask" in printed  # the corrected mask was measured
    assert "smallest_detectable_change" in printed  # two dates were compared
    pictures = [
        output
        for cell in tour.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
