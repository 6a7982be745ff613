"""nerveseg: train, evaluate and apply the segmentation of peripheral nerves in MR neurography.

The public names below are loaded when they are first used, since torch takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerveseg.data.datamodule import SliceDataModule
    from nerveseg.data.study import open_study
    from nerveseg.data.study_layout import StudyLayout
    from nerveseg.networks.fc_densenet import FCDenseNet
    from nerveseg.scans.follow_up import compare_results
    from nerveseg.scans.segmentation import Segmentation, segment_scan
    from nerveseg.training.segmenter import Segmenter

__version__ = "0.1.0"

__all__ = [
    "FCDenseNet", "Segmentation", "Segmenter", "SliceDataModule", "StudyLayout", "compare_results", "open_study",
    "segment_scan",
]  # fmt: skip

_MODULES = {
    "FCDenseNet": "nerveseg.networks.fc_densenet",
    "Segmentation": "nerveseg.scans.segmentation",
    "Segmenter": "nerveseg.training.segmenter",
    "SliceDataModule": "nerveseg.data.datamodule",
    "StudyLayout": "nerveseg.data.study_layout",
    "compare_results": "nerveseg.scans.follow_up",
    "open_study": "nerveseg.data.study",
    "segment_scan": "nerveseg.scans.segmentation",
}
"""Module of each public name."""


def __getattr__(name: str) -> Any:
    """Import the module of a public name and return its object."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, loaded or not, without those that this file imports for itself."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
