"""Page of one subject: slices with outlines, shape, curves, quality flags, and a form for the review.

It is the report of a segmented scan as well. One HTML file that opens from disk without a network, small enough for
mail; it holds no path and no name except the given one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nerveseg.evaluation.metric_catalog import BY_KEY, number_in_words
from nerveseg.files import write_text
from nerveseg.notices import NOTICE
from nerveseg.reporting.overlay import colours
from nerveseg.reporting.page_assets import json_for_script, render
from nerveseg.reporting.reformats import MOST_REFORMAT_BYTES, reformat_data, reformat_pictures
from nerveseg.reporting.slice_pictures import channel_pictures
from nerveseg.reporting.subject_charts import (
    area_curves,
    close_looks,
    lesion_curves,
    norm_bands,
    outlines,
    picture_uri,
    signal_curves,
    surfaces,
)
from nerveseg.reporting.subject_view import LESION, VERDICTS, SubjectView
from nerveseg.reporting.uncertainty_map import COLOUR, entropy_pictures, uncertain_slices

LESION_COLOUR = (255, 82, 82)

Assets = Literal["inline", "folder"]


def write_subject_page(
    path: Path, view: SubjectView, *, assets: Assets = "inline", back: str | None = None, above: str = ".."
) -> None:
    """Write the page as an HTML file; `back` is the address of the study's page, relative to this one.

    The chart library is in the page ("inline"), or `write_plotly` has written it into a folder ("folder"),
    which is `above` this page's.
    """
    write_text(path, subject_html(view, assets=assets, back=back, above=above))


def subject_html(view: SubjectView, *, assets: Assets = "inline", back: str | None = None, above: str = "..") -> str:
    """Render the page."""
    page = _data(view)
    return render(
        "subject.html.j2",
        view=view,
        notice=NOTICE,
        verdicts=VERDICTS,
        inline=assets == "inline",
        back=back,
        above=above,
        page=page,
        feet_first=view.order[0] <= view.order[-1],  # RAS slices go from inferior to superior
        scores=_scores(view.scores or {}),
        uncertain=uncertain_slices(view),
        registrations={channel: picture_uri(png) for channel, png in view.registrations.items()},
        data=json_for_script(page),
    )


def _data(view: SubjectView) -> dict[str, Any]:
    """Return the content that the page's scripts read too."""
    width, height, _ = view.image.shape
    return {
        "name": view.name,
        "noun": view.noun,
        "scan": f"{view.study}:{view.name}" if view.study else view.scan_sha256 or view.digest,
        "mask": view.digest,
        "model": view.model_sha256,
        "size": [width, height],
        "pixel_mm": view.spacing_mm[:2],
        "numbers": view.numbers,
        "levels_mm": [round(index * view.spacing_mm[2], 2) for index in view.order],
        "first": _first(view),
        "place": _place(view),
        "channels": _channels(view),
        "uncertainty": {"colour": COLOUR, "pictures": entropy_pictures(view)},
        "masks": _masks(view),
        "looks": close_looks(view),
        "reformats": reformat_data(view),
        "areas": area_curves(view),
        "signals": signal_curves(view),
        "lesions": lesion_curves(view),
        "norms": norm_bands(view),
        "surfaces": surfaces(view),
    }


def _channels(view: SubjectView) -> list[dict[str, Any]]:
    """Return data and pictures of each channel, those of the views along the nerve too."""
    most_bytes = MOST_REFORMAT_BYTES // (1 + len(view.channels))
    return [
        channel | {"reformats": reformat_pictures(view, image, scale, most_bytes)}
        for image, scale, channel in channel_pictures(view)
    ]


def _place(view: SubjectView) -> dict[str, Any] | None:
    """Return mm (RAS+) of each slice's pixel in the upper left corner, and steps to the next column and row."""
    if view.affine is None:
        return None
    width, height, _ = view.image.shape
    corners = np.array([[width - 1, height - 1, index, 1] for index in view.order]) @ view.affine[:3].T
    return {
        "corners": np.round(corners, 3).tolist(),
        "across": (-view.affine[:3, 0]).tolist(),
        "down": (-view.affine[:3, 1]).tolist(),
    }


def _masks(view: SubjectView) -> list[dict[str, Any]]:
    """Return name, line and outlines of each mask; lines differ in their dashes too, for colour-blind readers."""
    dashes = iter(([], [5, 3], [1.5, 2.5], [8, 3, 2, 3], [3, 2]))
    palette = colours(list(view.outlines))
    masks = []
    for number, (name, mask) in enumerate(view.masks.items()):
        look: dict[str, Any] = (
            {"colour": LESION_COLOUR, "dash": [2, 2], "shown": True, "inside": True}
            if name == LESION
            else {"colour": palette[name], "dash": next(dashes, [3, 2]), "shown": number < 2, "inside": False}
        )
        masks.append({"name": name, **look, "outlines": outlines(mask, view.order)})
    return masks


def _first(view: SubjectView) -> int:
    """Return the position of the slice that is shown first: with most of the first mask, else the middle slice."""
    sizes = [int(view.masks[name][:, :, index].sum()) for name in list(view.outlines)[:1] for index in view.order]
    return sizes.index(max(sizes)) if any(sizes) else len(view.order) // 2


def _scores(scores: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Return heading, value and meaning of each score that the catalog explains."""
    return [
        (words.label, f"{number_in_words(key, scores[key])} {words.unit}".strip(), words.meaning)
        for key, words in BY_KEY.items()
        if key in scores
    ]
