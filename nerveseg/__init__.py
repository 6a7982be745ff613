"""nerveseg: train, judge and apply the segmentation of peripheral nerves in MR neurography."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerveseg.data.study import open_study as open_study
    from nerveseg.scans.segmentation import Segmentation as Segmentation
    from nerveseg.scans.segmentation import segment_scan as segment_scan

__version__ = "0.1.0"

_LOADED_WHEN_USED = {
    "open_study": "nerveseg.data.study",
    "segment_scan": "nerveseg.scans.segmentation",
    "Segmentation": "nerveseg.scans.segmentation",
}


def __getattr__(name: str) -> Any:
    """What takes seconds to import is imported when it is used."""
    if name in _LOADED_WHEN_USED:
        return getattr(import_module(_LOADED_WHEN_USED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
