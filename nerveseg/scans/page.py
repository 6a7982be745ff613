"""Collect the data of a segmented scan's page for `reporting.subject_page`."""

from collections.abc import Mapping

from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.reporting.subject_view import LESION, SubjectView, facts_of
from nerveseg.scans.segmentation import Segmentation


def scan_view(segmentation: Segmentation, warning: str, registrations: Mapping[str, bytes]) -> SubjectView:
    """Return the data of a segmented scan's page.

    Args:
        segmentation: Segmentation of the scan.
        warning: Warning "SYNTHETIC TRAINING DATA", or empty.
        registrations: Pictures (PNG) of the registered channels, by name.
    """
    scan, lesion = segmentation.scan, segmentation.lesion
    masks = {AUTOMATIC: segmentation.ras_mask}
    if lesion is not None and lesion.any():
        masks[LESION] = lesion
    return SubjectView(
        name=segmentation.files.name,
        title=f"Nerve segmentation of {segmentation.files.name}",
        warning=warning,
        image=scan.image.array,
        spacing_mm=scan.grid.ras_spacing_mm,
        slice_numbers=scan.grid.slice_numbers,
        masks=masks,
        profiles={AUTOMATIC: segmentation.profile},
        facts=facts_of(segmentation.nerves),
        flags=segmentation.flags,
        notes=segmentation.notes,
        sides={course.side: course.leg.columns for course in segmentation.courses},
        registrations=registrations,
    )
