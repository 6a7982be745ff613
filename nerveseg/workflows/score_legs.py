"""Scores of each leg of a scan of both legs (`side: both` in participants.tsv), beside those of the whole scan.

The legs are found in the image (`data.legs`). A leg's masks are those of the scan within its half of the image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from nerveseg.data.legs import Leg, find_legs
from nerveseg.data.participants import BOTH
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.volume import read_image
from nerveseg.evaluation.comparisons import SubjectMasks, score_subject
from nerveseg.types import Mask


def both_legs(study: Study, subject: Subject) -> tuple[Leg, ...]:
    """Return the two legs of a scan of side "both"; none for another scan, or if the image does not tell them apart."""
    if subject.side != BOTH:
        return ()
    image = read_image(subject.image, subject.id, study.description.geometry)
    legs = find_legs(image.array, image.grid.ras_spacing_mm)
    return legs if len(legs) > 1 else ()


def leg_scores(masks: SubjectMasks, legs: Sequence[Leg], raters: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the scores of each leg in which a mask shows nerve, as `score_subject` returns those of the whole scan."""
    for part in (masks_of_leg(masks, leg) for leg in legs):
        if any(mask.any() for mask in part.named().values()):
            yield score_subject(part, raters)


def masks_of_leg(masks: SubjectMasks, leg: Leg) -> SubjectMasks:
    """Return the masks of one leg of a scan, on the grid of the scan."""

    def own(mask: Mask) -> Mask:
        part = np.zeros_like(mask)
        part[leg.columns] = mask[leg.columns]
        return part

    return replace(
        masks,
        side=leg.side,
        raters={rater: own(mask) for rater, mask in masks.raters.items()},
        consensus=own(masks.consensus),
        automatic=None if masks.automatic is None else own(masks.automatic),
        consensus_without={rater: own(mask) for rater, mask in masks.consensus_without.items()},
    )
