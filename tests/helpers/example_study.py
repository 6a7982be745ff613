"""A study's evaluation made of invented scores, as large as the paper's, and pictures of the size of real ones."""

from functools import cache

import numpy as np
import pandas as pd

from nerveseg.biomarkers.quality import Flag
from nerveseg.evaluation.analysis import TIME_COLUMNS, Measurements, analyse
from nerveseg.evaluation.comparisons import QUANTITY_COLUMNS, SCORE_COLUMNS, comparison_names
from nerveseg.evaluation.margins import Margins
from nerveseg.reporting.study_view import FigureEntry, StudyView, SubjectCard
from nerveseg.reporting.thumbnail import thumbnail

RATERS = ("OS", "BW", "LG")
DISTANCES = ("hd95_mm", "hd95_paper_mm", "assd_mm")


def names(volunteers, patients):
    people = [(f"V{number:02d}", "volunteer") for number in range(1, volunteers + 1)]
    return people + [(f"P{number:02d}", "patient") for number in range(1, patients + 1)]


def scores_of(people, raters=RATERS, automatic=True, failed=(), seed=1, structure="nerve"):
    """Scores of every comparison; a failed subject has an empty automatic mask."""
    random = np.random.default_rng(seed)
    rows = []
    for number, (subject, cohort) in enumerate(people):
        location = ("proximal", "medial", "distal")[number % 3]
        for comparison in comparison_names(raters, automatic):
            empty = comparison.startswith("Auto") and subject in failed
            dice = 0.0 if empty else float(random.uniform(0.6, 0.95))
            values = {"dice": dice, "vs": min(1.0, dice + 0.05) if dice else 0.0, "cldice": dice}
            values |= {name: np.nan if empty else float(random.uniform(0.5, 30)) for name in DISTANCES}
            facts = (subject, subject, cohort, location, "left", structure, number % 4, comparison)
            rows += [(*facts, *item) for item in values.items()]
    kinds = {"value": float, "location": "string", "side": "string", "fold": "Int64"}
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype(kinds)


@cache
def analysis_of(volunteers=3, patients=5, raters=RATERS, automatic=True, failed=()):
    people = names(volunteers, patients)
    sources = [*raters, *(["Auto"] if automatic else [])]
    quantities = [
        (subject, subject, cohort, None, None, "nerve", source, "volume_mm3", volume)
        for subject, cohort in people
        for source in sources
        for volume in [0.0 if source == "Auto" and subject in failed else 9000.0]
    ]
    measurements = Measurements(
        scores=scores_of(people, raters, automatic, failed),
        quantities=pd.DataFrame(quantities, columns=list(QUANTITY_COLUMNS)),
        times=pd.DataFrame([], columns=list(TIME_COLUMNS)),
        raters=raters,
    )
    return analyse(measurements, Margins())


@cache
def picture(seed):
    """A noisy slice stack at the paper's resolution, which compresses as badly as a real one."""
    random = np.random.default_rng(seed)
    image = random.normal(100, 30, (120, 110, 3)).astype(np.float32)
    x, y, _ = np.indices(image.shape)
    reference = np.hypot(x - 60, y - 55) < 9
    automatic = np.hypot(x - 62, y - 55) < 8
    return thumbnail(image, {"GT": reference, "Auto": automatic}, [31, 32, 33], (0.52, 0.52, 4.4))


def view_of(analysis, *, flagged=("P02",), figures=(), pages=True, **options):
    """The page of an analysis; P02 has a flag."""
    subjects = list(dict.fromkeys(analysis.measurements.scores["subject"]))
    flag = Flag("area_jump", "the area of the nerve jumps between slices 12 and 13", "left", (12, 13))
    cards = {
        subject: SubjectCard(
            picture(number), f"subjects/{subject}.html" if pages else None, (flag,) if subject in flagged else ()
        )
        for number, subject in enumerate(subjects)
    }
    given = {"name": "demo", "title": "Study demo", "cards": cards, "figures": figures} | options
    return StudyView(analysis, **given)


FIGURE = FigureEntry("figures/comparison.png", "Dice of both cohorts.", "figures/comparison.pdf")
