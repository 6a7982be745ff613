"""Content of a comparison's page: numbers as text, curves of both dates, and close-ups of both at every position."""

import numpy as np

from nerveseg.biomarkers.change import AREA
from nerveseg.biomarkers.profile import TOTAL
from nerveseg.data.legs import Side
from nerveseg.data.volumes.grids import Volume
from nerveseg.reporting.comparison_page import FIRST, SECOND, ComparedNerve, ComparisonView, Curve
from nerveseg.reporting.overlay import close_up_side_mm, overlay, square_around, window_of
from nerveseg.reporting.page_assets import data_uri
from nerveseg.scans.dated_result import DatedResult
from nerveseg.scans.follow_up import Comparison, NerveChange, QuantityChange, Stretch
from nerveseg.types import Mask

SCALE = 3  # number of screen pixels per voxel
MOST_PICTURES = 90  # largest number of positions with pictures, so that the page stays below 6 MB
WORDS = {
    "volume_mm3": ("volume", "mm³"), "length_mm": ("length", "mm"), "mean_csa_mm2": ("mean area", "mm²"),
    "max_csa_mm2": ("largest area", "mm²"), "mean_csa_perpendicular_mm2": ("mean area across the nerve", "mm²"),
    "csa_mm2": ("area in the slices", "mm²"), "csa_perpendicular_mm2": ("area across the nerve", "mm²"),
}  # fmt: skip


def name_of(branch: str, quantity: str) -> str:
    """Return the name of a quantity for readers."""
    name = WORDS.get(quantity, (quantity.removeprefix("signal_").removesuffix("_mean"), ""))[0]
    name = f"signal, {name}" if quantity not in WORDS else name
    return name if branch == TOTAL else f"{branch} nerve: {name}"


def _number(value: float, digits: int = 4, sign: str = "") -> str:
    """Return a number of some significant digits without an exponent.

    >>> _number(10796.3), _number(0.04749, 3, "+")
    ('10,800', '+0.0475')
    """
    return f"{float(f'{value:.{digits}g}'):{sign},.12g}"


def in_words(change: QuantityChange) -> str:
    """Return a change as text: both values, the difference, and how it compares with the smallest detectable."""
    unit = WORDS.get(change.quantity, ("", ""))[1].replace("²", "2").replace("³", "3")
    share = f", {change.difference / change.first:+.0%}" if change.first else ""
    text = (
        f"{name_of(change.branch, change.quantity)} {_number(change.first)} -> {_number(change.second)} {unit}".rstrip()
    )
    limit = change.smallest_detectable_change
    judged = "" if limit is None else f"; {'beyond' if change.beyond else 'within'} {limit:.3g}"
    return f"{text} ({_number(change.difference, 3, '+')}{share}{judged})"


def stretch_in_words(stretch: Stretch) -> str:
    """Return a stretch as text."""
    (low, high), (other_low, other_high) = stretch.first_slices, stretch.second_slices
    return (
        f"area beyond the smallest detectable change over {stretch.to_mm - stretch.from_mm:.0f} mm: slices {low} to "
        f"{high} of the first, {other_low} to {other_high} of the second ({stretch.difference_mm2:+.1f} mm2 on average)"
    )


def view_of(comparison: Comparison) -> ComparisonView:
    """Return the content of the page of a comparison."""
    notes = list(comparison.notes)
    missing = [each.summary.name for each in (comparison.first, comparison.second) if each.image is None]
    if missing:
        notes.append(f"no pictures of {', '.join(missing)}: the scan is not where its summary records it")
    return ComparisonView(
        names=(comparison.first.summary.name, comparison.second.summary.name),
        warning=comparison.warning,
        nerves=[_nerve(comparison, nerve) for nerve in comparison.nerves],
        notes=notes,
    )


def _nerve(comparison: Comparison, nerve: NerveChange) -> ComparedNerve:
    rows = comparison.table[(comparison.table["side"] == nerve.side) & comparison.table["z_mm"].notna()]
    curves = []
    for (branch, quantity), part in rows.groupby(["branch", "quantity"], sort=False):
        limit = float(part["smallest_detectable_change"].iloc[0])
        curves.append(
            Curve(
                branch=str(branch),
                name=name_of(str(branch), str(quantity)),
                unit=WORDS.get(str(quantity), ("", "signal"))[1],
                z_mm=part["z_mm"].tolist(),
                first=part["first"].tolist(),
                second=part["second"].tolist(),
                limit=None if np.isnan(limit) else limit,
            )
        )
    areas = rows[(rows["branch"] == TOTAL) & (rows["quantity"] == AREA)]
    areas = areas.iloc[:: -(-len(areas) // MOST_PICTURES) or 1]
    pairs = zip(areas["z_mm"], areas["first_slice"], areas["second_slice"], strict=True)
    positions = [(float(z_mm), int(first), int(second)) for z_mm, first, second in pairs]
    away_mm2 = (areas["second"] - areas["first"]).abs().tolist()
    pictures = {
        FIRST: _pictures(comparison.first, nerve.side, [first for _, first, _ in positions], 0),
        SECOND: _pictures(comparison.second, nerve.second_side, [second for _, _, second in positions], 1),
    }
    return ComparedNerve(
        side=nerve.side,
        verdict=nerve.verdict,
        how=f"second scan shifted by {nerve.shift_mm:+.1f} mm along the leg, {nerve.how}; common stretch of "
        f"{nerve.stretch_mm[1] - nerve.stretch_mm[0]:.0f} mm, {nerve.positions} positions",
        rows=[_cells(each) for each in nerve.quantities],
        stretches=[stretch_in_words(each) for each in nerve.stretches],
        curves=curves,
        positions=positions,
        first_shown=away_mm2.index(max(away_mm2)) if any(away_mm2) else len(positions) // 2,
        pictures=pictures,
    )


def _cells(change: QuantityChange) -> tuple[str, str, str, str, str, str, bool]:
    unit = WORDS.get(change.quantity, ("", ""))[1]
    limit = change.smallest_detectable_change
    return (
        f"{name_of(change.branch, change.quantity)}{f', {unit}' if unit else ''}",
        _number(change.first),
        _number(change.second),
        _number(change.difference, 3, "+"),
        f"{change.difference / change.first:+.0%}" if change.first else "–",
        "not known" if limit is None else f"{limit:.3g}",
        bool(change.beyond),
    )


def _pictures(result: DatedResult, side: Side, numbers: list[int], which: int) -> list[str]:
    """Draw a close-up of each slice with the outline of the nerve; none without the image of the scan."""
    if result.image is None:
        return []
    mask = result.nerve(side)
    indices = {number: index for index, number in enumerate(result.grid.slice_numbers)}
    return [_picture(result.image, mask, indices[number], (FIRST, SECOND)[which]) for number in numbers]


def _picture(image: Volume, mask: Mask, index: int, name: str) -> str:
    spacing_mm = image.grid.ras_spacing_mm
    nerve, plane = mask[:, :, index], image.array[:, :, index].astype(np.float64)
    crop = square_around(nerve, spacing_mm[:2], close_up_side_mm(0.0), 0.0)
    drawn = overlay(plane[crop], {name: nerve[crop]}, window=window_of(plane), scale=SCALE)
    return data_uri(drawn, "webp", 75)
