"""Recompute the tables of an evaluation from the masks alone, with numpy, scipy and nibabel.

Written from docs/columns.md and Balsiger et al. 2018, without a line of nerveseg, so that a mistake of either shows as
a cell that differs. Every function returns rows by key; only the words of the column `note` are not computed.
"""

import itertools
from fractions import Fraction
from math import isnan, nan, sqrt

import nibabel as nib
import numpy as np
from scipy import ndimage, stats
from scipy.optimize import brentq
from scipy.spatial.distance import cdist

SHOWN = ("dice", "hd95_paper_mm", "hd95_mm", "vs")
NAN_IF_EMPTY = ("dice", "hd95_paper_mm", "hd95_mm", "hd_mm", "vs", "assd_mm")
MARGINS = {"dice": 0.05, "vs": 0.05, "far_share": 0.1, "far_mm": 10.0}


# --- masks


def read(path):
    """Read a mask in RAS order and its nominal spacing in mm."""
    image = nib.as_closest_canonical(nib.load(path))
    steps = np.linalg.norm(image.affine[:3, :3], axis=0)
    fractions = [float(Fraction(step).limit_denominator(1000)) for step in steps]
    spacing = [f if abs(f - step) <= 1e-6 * step else round(step, 6) for f, step in zip(fractions, steps, strict=True)]
    return np.asarray(image.dataobj) > 0.5, np.array(spacing)


def boundary(mask):
    """Return the voxels with background, or the end of the volume, among their six neighbours."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 1), border_value=0)


def sections(mask):
    """Return the 8-connected parts of every slice as lists of voxels."""
    found = []
    for z in range(mask.shape[2]):
        labels, number = ndimage.label(mask[..., z], np.ones((3, 3)))
        found += [(z, [(x, y, z) for x, y in np.argwhere(labels == part)]) for part in range(1, number + 1)]
    return found


def course_inside(mask, other, spacing):
    """Return the mean share of each section's voxel nearest to its centroid that lies in another mask."""
    shares = []
    for _, voxels in sections(mask):
        points = np.array(voxels)[:, :2]
        offsets = (points * len(points) - points.sum(axis=0)) * spacing[:2]
        distance = (offsets**2).sum(axis=1)
        nearest = distance <= distance.min() * (1 + 1e-12)
        shares.append(np.mean([other[voxel] for voxel, near in zip(voxels, nearest, strict=True) if near]))
    return np.mean(shares)


def ratio(part, whole):
    return part / whole if whole else nan


def pair_scores(prediction, reference, spacing):
    """Score two masks by every metric of scores.csv."""
    a, b, both = int(prediction.sum()), int(reference.sum()), int((prediction & reference).sum())
    in_a, in_b = prediction.any(axis=(0, 1)), reference.any(axis=(0, 1))
    if a + b == 0:
        return dict.fromkeys(METRICS, nan)
    scores = {"dice": 2 * both / (a + b), "vs": 1 - abs(a - b) / (a + b)}
    scores |= {"voxel_sensitivity": ratio(both, b), "voxel_precision": ratio(both, a)}
    if a and b:
        every = [np.argwhere(mask) * spacing for mask in (prediction, reference)]
        pool = np.sort(np.concatenate([cdist(*every).min(axis=1), cdist(*every[::-1]).min(axis=1)]))
        edges = [np.argwhere(boundary(mask)) * spacing for mask in (prediction, reference)]
        there, back = cdist(*edges).min(axis=1), cdist(*edges[::-1]).min(axis=1)
        edge = np.concatenate([there, back])
        scores["hd95_paper_mm"] = pool[int(0.95 * (len(pool) - 1))]
        scores["hd95_mm"] = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
        scores |= {"hd_mm": pool[-1], "assd_mm": edge.mean()}
        scores |= {"surface_dice_052": (edge < 0.5210001).mean(), "surface_dice_104": (edge < 1.0420001).mean()}
        ours, theirs = course_inside(prediction, reference, spacing), course_inside(reference, prediction, spacing)
        scores["cldice"] = 2 * ours * theirs / (ours + theirs) if ours + theirs else 0.0
    else:
        scores |= dict.fromkeys(("hd95_paper_mm", "hd95_mm", "hd_mm", "assd_mm"), nan)
        scores |= {"surface_dice_052": 0.0, "surface_dice_104": 0.0, "cldice": 0.0}
    labels, number = ndimage.label(prediction, np.ones((3, 3, 3)))
    false = [int((labels == part).sum()) for part in range(1, number + 1) if not (reference & (labels == part)).any()]
    scores |= {"fp_components": len(false), "fp_components_mm3": sum(false) * np.prod(spacing)}
    scores |= {"slices_both": (in_a & in_b).sum(), "slices_missed": (in_b & ~in_a).sum()}
    scores |= {"slices_false_positive": (in_a & ~in_b).sum(), "slices_neither": (~in_a & ~in_b).sum()}
    scores["slice_sensitivity"] = ratio((in_a & in_b).sum(), in_b.sum())
    parts = sections(reference)
    found = [(any(prediction[v] for v in voxels), sum(z == other for other, _ in parts) == 1) for z, voxels in parts]
    for name, chosen in {
        "": found,
        "_undivided": [each for each in found if each[1]],
        "_divided": [each for each in found if not each[1]],
    }.items():
        scores["branch_sensitivity" + name] = ratio(sum(hit for hit, _ in chosen), len(chosen))
    return {name: round(float(v), 6) if "_mm" in name else float(v) for name, v in scores.items()}


METRICS = (
    "dice", "hd95_paper_mm", "hd95_mm", "hd_mm", "vs", "voxel_sensitivity", "voxel_precision", "surface_dice_052",
    "surface_dice_104", "assd_mm", "cldice", "fp_components", "fp_components_mm3", "slices_both", "slices_missed",
    "slices_false_positive", "slices_neither", "slice_sensitivity", "branch_sensitivity",
    "branch_sensitivity_undivided", "branch_sensitivity_divided",
)  # fmt: skip


def majority(masks):
    return 2 * np.sum(masks, axis=0) > len(masks)


class Study:
    """Scores of every subject, from the paths of their masks.

    Subjects in whom every mask is empty are left out.
    `subjects` are dicts with id, group, cohort, location, repeat_of, raters {name: path} and automatic (path).
    """

    def __init__(self, subjects, raters):
        self.subjects, self.raters = [], raters
        self.scores, self.quantities = {}, {}
        for subject in subjects:
            drawn = {name: read(path) for name, path in subject["raters"].items()}
            spacing = next(iter(drawn.values()))[1]
            masks = {name: mask for name, (mask, _) in drawn.items()}
            own = list(masks)
            masks["GT"], masks["Auto"] = majority([masks[name] for name in own]), read(subject["automatic"])[0]
            if not any(mask.any() for mask in masks.values()):
                continue
            self.subjects.append(subject)
            compared = list(itertools.combinations([*own, "GT"], 2)) if len(own) > 1 else []
            compared += [("Auto", name) for name in [*own, "GT"]]
            for name in own if len(own) > 3 else ():
                masks[f"GT w/o {name}"] = majority([masks[other] for other in own if other != name])
                compared += [(name, f"GT w/o {name}"), ("Auto", f"GT w/o {name}")]
            for first, second in compared:
                scores = pair_scores(masks[first], masks[second], spacing)
                self.scores[subject["id"], f"{first}-{second}"] = scores
            for source in [*own, "Auto"]:
                area = masks[source].sum(axis=(0, 1))
                volume = round(float(masks[source].sum() * np.prod(spacing)), 6)
                mean = round(float(area[area > 0].mean() * spacing[0] * spacing[1]), 6) if area.any() else 0.0
                self.quantities[subject["id"], source] = {
                    "volume_mm3": volume,
                    "mean_cross_sectional_area_mm2": mean,
                }

    def cohorts(self):
        return list(dict.fromkeys(subject["cohort"] for subject in self.subjects))

    def of(self, cohort, location=None):
        return [s for s in self.subjects if s["cohort"] == cohort and location in (None, s["location"])]

    def pairs(self, who):
        """Return the comparisons that are averaged for R-R, for a rater or for Auto."""
        pairs = [f"{a}-{b}" for a, b in itertools.combinations(self.raters, 2)]
        if who == "R-R":
            return pairs
        if who == "Auto":
            return [f"Auto-{rater}" for rater in self.raters]
        return [pair for pair in pairs if who in pair.split("-")]

    def mean(self, subject, comparisons, metric, failed=None):
        """Average the comparisons of a subject; `failed` stands for a distance from or to an empty mask."""
        values = []
        for name in comparisons:
            scores = self.scores.get((subject["id"], name))
            if scores is not None:
                lost = isnan(scores[metric]) and scores["dice"] == 0 and failed is not None
                values.append(failed if lost else scores[metric])
        values = [value for value in values if not isnan(value)]
        return float(np.mean(values)) if values else nan


# --- table1.csv, locations.csv, like_for_like.csv


def spread(values, groups):
    """Return mean, sd, median, quartiles and Student's interval over groups of the values that are defined."""
    known = [(value, group) for value, group in zip(values, groups, strict=True) if not isnan(value)]
    x = np.array([value for value, _ in known])
    if not len(x):
        return dict.fromkeys(("mean", "sd", "median", "q1", "q3", "ci_low", "ci_high"), nan)
    q1, median, q3 = np.percentile(x, [25, 50, 75])
    row = {"mean": x.mean(), "sd": x.std(ddof=1) if len(x) > 1 else nan, "median": median, "q1": q1, "q3": q3}
    units = list(dict.fromkeys(group for _, group in known))
    if len(units) < 2:
        return row | {"ci_low": nan, "ci_high": nan}
    sums = [sum(value - x.mean() for value, group in known if group == unit) for unit in units]
    error = sqrt(len(units) / (len(units) - 1) * sum(each**2 for each in sums)) / len(x)
    half = stats.t.isf(0.025, len(units) - 1) * error
    return row | {"ci_low": x.mean() - half, "ci_high": x.mean() + half}


def table1_row(study, subjects, names):
    cases = [(study.scores[s["id"], name], s["group"]) for s in subjects for name in names
             if (s["id"], name) in study.scores]  # fmt: skip
    if not cases:
        return None
    failed = sum(any(isnan(scores[metric]) for metric in NAN_IF_EMPTY) for scores, _ in cases)
    row = {"n": len(cases), "n_failed": failed}
    for metric in METRICS:
        found = spread([scores[metric] for scores, _ in cases], [group for _, group in cases])
        row |= {f"{metric}_{name}": value for name, value in found.items()}
    return row


def table1(study):
    names = {f"{a}-{b}": [f"{a}-{b}"] for a, b in itertools.combinations([*study.raters, "GT"], 2)}
    names |= {"R-R": study.pairs("R-R")} | {f"Auto-{other}": [f"Auto-{other}"] for other in [*study.raters, "GT"]}
    rows = {(cohort, name): table1_row(study, study.of(cohort), pool)
            for cohort in study.cohorts() for name, pool in names.items()}  # fmt: skip
    return {key: row for key, row in rows.items() if row}


def locations(study):
    rows = {}
    for cohort in study.cohorts():
        places = {subject["location"] for subject in study.of(cohort)} - {None}
        for place in places if len(places) > 1 else ():
            for name, pool in {"R-R": study.pairs("R-R"), "Auto-GT": ["Auto-GT"]}.items():
                rows[cohort, place, name] = table1_row(study, study.of(cohort, place), pool)
    return rows


def like_for_like(study):
    rows = {}
    for cohort in study.cohorts():
        for who in [*study.raters, "Auto"]:
            subjects, names = study.of(cohort), study.pairs(who)
            dice = [study.mean(subject, names, "dice") for subject in subjects]
            cases = [study.scores[s["id"], name] for s in subjects for name in names if (s["id"], name) in study.scores]
            row = {"n": sum(not isnan(value) for value in dice)}
            row["n_failed"] = sum(isnan(scores["hd95_mm"]) for scores in cases)
            for metric in SHOWN:
                found = spread([study.mean(s, names, metric) for s in subjects], [s["id"] for s in subjects])
                row |= {f"{metric}_mean": found["mean"], f"{metric}_sd": found["sd"]}
            rows[cohort, who] = row
    return rows


# --- tests.csv


def sums_of_ranks(ranks):
    """Return the number of sign changes of every doubled sum of ranks, as {sum: count}."""
    counts = {0: 1}
    for rank in ranks:
        step = round(2 * rank)
        shifted = {total + step: count for total, count in counts.items()}
        counts = {key: counts.get(key, 0) + shifted.get(key, 0) for key in {*counts, *shifted}}
    return counts


def signed_rank(values):
    """Return the two-sided and the upper p-value of Wilcoxon's test, and the rank-biserial correlation."""
    rounded = np.round(values, 6)
    nonzero = rounded[rounded != 0]
    if not len(nonzero):
        return nan, 1.0, nan
    ranks = stats.rankdata(abs(nonzero))
    up, total = ranks[nonzero > 0].sum(), ranks.sum()
    counts = sums_of_ranks(ranks)

    def beyond(least):
        return sum(count for key, count in counts.items() if key >= round(2 * least)) / 2 ** len(ranks)

    return min(1.0, 2 * beyond(max(up, total - up))), beyond(up), 2 * up / total - 1


def pseudomedian(values):
    """Return the Hodges-Lehmann estimate and its signed-rank interval, which exists from six values on."""
    means = np.sort([(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)])
    counts = sums_of_ranks(range(1, len(values) + 1))
    rank, below = 0, 0.0
    while below + counts.get(2 * rank, 0) / 2 ** len(values) < 0.025:
        below += counts.get(2 * rank, 0) / 2 ** len(values)
        rank += 1
    return np.median(means), *((means[rank - 1], means[-rank]) if rank else (nan, nan))


def tango_statistic(difference, b, c, n):
    """Return Tango's score statistic of b and c discordant subjects of n (Statistics in Medicine 1998;17:891)."""
    linear = -b - c + (2 * n - b + c) * difference
    root = sqrt(max(0.0, linear**2 + 8 * n * c * difference * (1 - difference)))
    share = (root - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    return (b - c - n * difference) / sqrt(variance) if variance > 0 else nan


def tango(b, c, n):
    z, middle = stats.norm.isf(0.025), (b - c) / n

    def bound(end, sign):
        start = middle + (end - middle) * 1e-7

        def beyond(difference):
            return sign * tango_statistic(difference, b, c, n) - z

        last = end - np.sign(end) * 1e-12
        return end if abs(start) >= 1 or beyond(last) <= 0 else brentq(beyond, start, last, xtol=1e-13)

    return bound(-1.0, 1), bound(1.0, -1)


def decide(low, high, margin, n, needed):
    """Return the verdict on an advantage with an interval."""
    if not isnan(low) and round(low, 6) > 0:
        return "better", True
    if not isnan(low) and round(low + margin, 6) > 0:
        return "no worse", True
    excluded = None if isnan(low) else False
    if not isnan(high) and round(high, 6) < 0:
        return "worse", excluded
    return ("not decidable" if n < needed else "inconclusive"), excluded


def per_group(study, cohort, metric, theirs, ours):
    """Return the method's and the raters' mean agreement of every group, in the order of the groups' names."""
    groups = {}
    for subject in study.of(cohort):
        pair = study.mean(subject, ours, metric, np.inf), study.mean(subject, theirs, metric, np.inf)
        if not any(map(isnan, pair)):
            groups.setdefault(subject["group"], []).append(pair)
    return np.array([np.mean(groups[name], axis=0) for name in sorted(groups)]).reshape(-1, 2).T


def contrast_row(ours, theirs, margin):
    n = len(ours)
    row = {"n": n, "margin": margin, "n_needed": 6, "method": ""}
    if n < 2:
        verdict, excluded = "not decidable", None
        return row | {"verdict": verdict, "non_inferior": excluded}
    estimate, low, high = pseudomedian(ours - theirs)
    p, _, effect = signed_rank(ours - theirs)
    verdict, excluded = decide(low, high, margin, n, 6)
    _, loss, _ = signed_rank(ours - theirs + margin)
    row |= {"estimate": estimate, "ci_low": low, "ci_high": high, "p_value": p, "effect_size": effect}
    row |= {"p_non_inferiority": loss, "verdict": verdict, "non_inferior": excluded}
    return row | {"method": "Hodges-Lehmann pseudomedian, signed-rank interval"}


def williams_row(ours, theirs):
    """Return the quotient of the means with its BCa interval (from six groups on), as docs/columns.md states it."""
    n = len(ours)
    row = {"n": n, "method": "ratio of means, BCa"}
    index = ours.mean() / theirs.mean() if n and theirs.mean() > 0 else nan
    if n < 6 or isnan(index) or np.ptp(ours - index * theirs) <= 1e-6:
        return row | {"estimate": index}
    level = 1 - 2 * stats.norm.sf(sqrt(n / (n - 1)) * stats.t.isf(0.025, n - 1))
    found = stats.bootstrap(
        (ours, theirs),
        lambda a, b, axis=-1: np.mean(a, axis=axis) / np.mean(b, axis=axis),
        n_resamples=9999, paired=True, vectorized=True, confidence_level=level, method="BCa",
        random_state=np.random.default_rng(20180101),
    ).confidence_interval  # fmt: skip
    return row | {"estimate": index, "ci_low": found.low, "ci_high": found.high}


def share_row(ours, theirs):
    n, limit, margin = len(ours), MARGINS["far_mm"], MARGINS["far_share"]
    needed = next(n for n in itertools.count(1) if tango(0, 0, n)[1] < margin)
    row = {"n": n, "margin": margin, "n_needed": needed}
    row["method"] = "above 10 mm; Tango's score interval, McNemar's test"
    if n < 2:
        return row | {"verdict": "not decidable", "non_inferior": None}
    far, too = np.round(ours, 6) > limit, np.round(theirs, 6) > limit
    b, c = int((far & ~too).sum()), int((~far & too).sum())
    low, high = tango(b, c, n)
    verdict, excluded = decide(-high, -low, margin, n, needed)
    p = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    row |= {"estimate": (b - c) / n, "ci_low": low, "ci_high": high, "p_value": p, "verdict": verdict}
    return row | {"p_non_inferiority": stats.norm.cdf(tango_statistic(margin, b, c, n)), "non_inferior": excluded}


def paper_row(study, cohort, metric):
    """Return Mann-Whitney's test of Auto-GT against all rater pairs, one value per group and comparison."""
    samples = []
    for names in (["Auto-GT"], study.pairs("R-R")):
        groups = {}
        for subject, name in itertools.product(study.of(cohort), names):
            value = study.mean(subject, [name], metric, np.inf)
            if not isnan(value):
                groups.setdefault((subject["group"], name), []).append(value)
        samples.append(np.round([np.mean(values) for values in groups.values()], 6))
    x, y = samples
    row = {"n": len(x), "n_pairs": len(y), "method": ""}
    if min(len(x), len(y)) < 2:
        return row
    larger = np.mean([(a > b) + 0.5 * (a == b) for a in x for b in y])
    distinct = len({*x, *y})
    row |= {"estimate": 2 * larger - 1, "effect_size": 2 * larger - 1}
    if distinct == 1:
        return row
    exact = distinct == len(x) + len(y) and max(len(x), len(y)) < 50
    p = stats.mannwhitneyu(x, y, method="exact" if exact else "asymptotic").pvalue
    return row | {"p_value": p, "method": "exact" if exact else "normal approximation"}


def tests(study):
    rows = {}
    for cohort in study.cohorts():
        for metric in SHOWN:
            rows[cohort, metric, "paper"] = paper_row(study, cohort, metric)
        for metric in ("dice", "vs"):
            ours, theirs = per_group(study, cohort, metric, study.pairs("R-R"), study.pairs("Auto"))
            rows[cohort, metric, "contrast"] = contrast_row(ours, theirs, MARGINS[metric])
            rows[cohort, metric, "williams"] = williams_row(ours, theirs)
            without = [f"GT w/o {rater}" for rater in study.raters]
            names = [f"{rater}-{other}" for rater, other in zip(study.raters, without, strict=True)]
            ours, theirs = per_group(study, cohort, metric, names, [f"Auto-{other}" for other in without])
            if len(ours):
                rows[cohort, metric, "contrast, leave-one-out"] = contrast_row(ours, theirs, MARGINS[metric])
        far = per_group(study, cohort, "hd95_mm", study.pairs("R-R"), study.pairs("Auto"))
        rows[cohort, "hd95_mm", "share above"] = share_row(*far)
    for raw, adjusted in (("p_value", "p_holm"), ("p_non_inferiority", "p_non_inferiority_holm")):
        for kind in {key[2] for key in rows}:
            asked = sorted(
                (row[raw], key) for key, row in rows.items() if key[2] == kind and not isnan(row.get(raw, nan))
            )
            largest = 0.0
            for place, (p, key) in enumerate(asked):
                largest = max(largest, min(1.0, p * (len(asked) - place)))
                rows[key][adjusted] = largest
    return rows


# --- agreement.csv


def bland_altman(reference, other):
    known = [(a, b) for a, b in zip(reference, other, strict=True) if not (isnan(a) or isnan(b)) and (a or b)]
    n = len(known)
    if n < 2:
        return {"n": n}
    d = np.array([100 * (b - a) / ((a + b) / 2) for a, b in known])
    bias, sd = d.mean(), d.std(ddof=1)
    if np.ptp(d) <= 1e-6:
        return {"n": n, "estimate": bias, "lower_limit": bias, "upper_limit": bias}
    z, root = stats.norm.isf(0.025), sqrt(n)
    half = stats.t.isf(0.025, n - 1) * sd / root
    inner, outer = (stats.nct.ppf(tail, n - 1, z * root) * sd / root for tail in (0.025, 0.975))
    return {
        "n": n, "estimate": bias, "ci_low": bias - half, "ci_high": bias + half, "lower_limit": bias - z * sd,
        "lower_limit_ci_low": bias - outer, "lower_limit_ci_high": bias - inner, "upper_limit": bias + z * sd,
        "upper_limit_ci_low": bias + inner, "upper_limit_ci_high": bias + outer,
    }  # fmt: skip


def icc(table):
    """Return ICC(2,1) after Shrout and Fleiss, with McGraw and Wong's interval."""
    table = np.array([row for row in table if row.any() and not np.isnan(row).any()])
    n = len(table)
    if n < 2 or np.ptp(table) == 0:
        return {"n": n}
    k = table.shape[1]
    subjects = k * table.mean(axis=1).var(ddof=1)
    raters = n * table.mean(axis=0).var(ddof=1)
    total = ((table - table.mean()) ** 2).sum()
    error = (total - (n - 1) * subjects - (k - 1) * raters) / ((n - 1) * (k - 1))
    value = (subjects - error) / (subjects + (k - 1) * error + k * (raters - error) / n)
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    freedom = (a * raters + b * error) ** 2 / ((a * raters) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
    f_low, f_high = stats.f.isf(0.025, n - 1, freedom), stats.f.isf(0.025, freedom, n - 1)
    rest = k * raters + (k * n - k - n) * error
    low = n * (subjects - f_low * error) / (f_low * rest + n * subjects)
    high = n * (f_high * subjects - error) / (rest + n * f_high * subjects)
    return {"n": n, "estimate": value} | ({"ci_low": low, "ci_high": high} if low <= value <= high else {})


def agreement(study):
    rows = {}
    for quantity in ("volume_mm3", "mean_cross_sectional_area_mm2"):

        def value(subject, source, quantity=quantity):
            return study.quantities.get((subject["id"], source), {}).get(quantity, nan)

        repeated = {}
        for subject in study.subjects:
            if subject["repeat_of"]:
                first = next(other for other in study.subjects if other["id"] == subject["repeat_of"])
                repeated.setdefault(first["cohort"], {}).setdefault(subject["group"], (first, subject))
        few = len(repeated) > 1 and min(map(len, repeated.values())) < 3
        pooled = {group: pair for pairs in repeated.values() for group, pair in pairs.items()}
        repeated = {name: p for name, p in repeated.items() if not few or len(p) > 2} | ({"all": pooled} if few else {})
        for cohort in study.cohorts():
            ordered = sorted(study.of(cohort), key=lambda subject: subject["repeat_of"] is not None)
            firsts = {subject["group"]: subject for subject in reversed(ordered)}.values()
            table = np.array([[value(subject, rater) for rater in study.raters] for subject in firsts])
            for (i, first), (j, second) in itertools.combinations(enumerate(study.raters), 2):
                key = (cohort, quantity, "bland_altman", f"{second} - {first}")
                rows[key] = bland_altman(table[:, i], table[:, j])
            rows[cohort, quantity, "icc", ", ".join(study.raters)] = icc(table)
            automatic = [value(subject, "Auto") for subject in firsts]
            key = (cohort, quantity, "bland_altman", "Auto - raters' mean")
            rows[key] = bland_altman(np.nanmean(table, axis=1), automatic)
        for cohort, pairs in repeated.items():
            for source in [*study.raters, "Auto"]:
                both = [(value(a, source), value(b, source)) for a, b in pairs.values()]
                both = [pair for pair in both if not any(map(isnan, pair))]
                error = sqrt(np.mean([(b - a) ** 2 / 2 for a, b in both])) if len(both) > 1 else nan
                change = stats.norm.isf(0.025) * sqrt(2) * error
                row = {"n": len(both), "estimate": error, "smallest_detectable_change": change}
                rows[cohort, quantity, "repeatability", source] = row
    return rows


TABLES = {
    "table1": (table1, ("cohort", "comparison")),
    "locations": (locations, ("cohort", "location", "comparison")),
    "like_for_like": (like_for_like, ("cohort", "source")),
    "tests": (tests, ("cohort", "metric", "test")),
    "agreement": (agreement, ("cohort", "quantity", "analysis", "comparison")),
}
