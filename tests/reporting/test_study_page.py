import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from nerveseg.errors import GeometryError, RunError
from nerveseg.evaluation.hypotheses import verdict_in_words
from nerveseg.evaluation.tables.table1 import reference_table
from nerveseg.reporting.conclusions import questions
from nerveseg.reporting.study_page import boxplots, introduction, study_html, write_study_page
from nerveseg.reporting.study_view import SubjectCard
from nerveseg.reporting.thumbnail import most_informative_slice, thumbnail
from tests.helpers.example_study import FIGURE, RATERS, analysis_of, names, picture, scores_of, view_of


class Cells(HTMLParser):
    """The tables of a page as lists of rows of cell texts, each by the class of its table."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.cell = {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attributes)["class"].split()[0], [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def test_table_1_has_ours_and_the_papers_side_by_side():
    analysis = analysis_of()
    cells = Cells(study_html(view_of(analysis, reference=reference_table("paper"))))
    row = next(row for row in cells.tables["numbers"] if row[0] == "R-R")
    ours = analysis.measurements.scores.query("cohort == 'volunteer' and metric == 'dice'")
    dice = ours[ours["comparison"].isin(["OS-BW", "OS-LG", "BW-LG"])]["value"]
    assert row[1:6] == ["9", "30", "0", f"{dice.mean():.3f} ± {dice.std():.3f}", "0.869 ± 0.031"]
    assert {len(row) for row in cells.tables["numbers"][2:] if len(row) > 1} == {11}
    widths = re.search(r'<tr class="cohort"><th scope="rowgroup" colspan="(\d+)"', study_html(view_of(analysis)))
    assert widths[1] == "7", "comparison, n, failed and four metrics"


def test_without_the_paper_there_is_no_column_for_it():
    html = study_html(view_of(analysis_of()))
    assert 'class="paper"' not in html
    strange = reference_table("paper").replace({"cohort": {"volunteer": "x", "patient": "y"}})
    assert 'class="paper"' not in study_html(view_of(analysis_of(), reference=strange)), "no row is the same"


def test_failures_come_first_and_then_the_lowest_dice():
    view = view_of(analysis_of(failed=("V02",)))
    dice = [row.scores["dice"] for row in view.subjects]
    assert view.subjects[0].id == "V02"
    assert view.subjects[0].failed
    assert dice[1:] == sorted(dice[1:])
    html = study_html(view)
    rows = Cells(html).tables["rows"]
    assert rows[1][1] == "sub-V02 failed"
    assert [row[1] for row in rows[2:]] == [f"sub-{row.id}" for row in view.subjects[1:]]
    assert rows[1][6:8] == ["0.000", "–"]
    assert "failed (1)" in html
    assert "with flags (1)" in html
    assert "Empty masks: sub-V02 (volunteer) Auto." in html


def test_a_row_shows_the_subjects_own_scores():
    analysis = analysis_of()
    scores = analysis.measurements.scores.set_index(["subject", "comparison", "metric"])["value"]
    row = next(row for row in view_of(analysis).subjects if row.id == "P03")
    assert row.scores["hd95_mm"] == scores["P03", "Auto-GT", "hd95_mm"]
    pairs = [scores["P03", pair, "dice"] for pair in ("OS-BW", "OS-LG", "BW-LG")]
    assert row.raters_dice == pytest.approx(np.mean(pairs))
    assert (row.cohort, row.location, row.side, row.fold) == ("patient", "distal", "left", 1)


@pytest.mark.parametrize(
    ("raters", "automatic", "groups", "compared"),
    [
        (RATERS, True, ["R-R", "Auto-R", "Auto-GT"], "Auto-GT"),
        (RATERS, False, ["R-R"], "R-R"),
        (("OS",), True, ["Auto-GT"], "Auto-GT"),
    ],
)
def test_a_study_without_a_method_or_a_second_rater(raters, automatic, groups, compared):
    view = view_of(analysis_of(raters=raters, automatic=automatic), reference=reference_table("paper"))
    html = study_html(view)
    assert data_of(html)["groups"] == groups
    assert view.compared == compared
    assert len(introduction(view)) == 3
    assert ('class="verdict ' in html.split("<table")[0] + html.split("Is the automatic")[-1]) == (len(groups) == 3)


def test_one_cohort_needs_no_filter_by_cohort():
    html = study_html(view_of(analysis_of(volunteers=0)))
    assert "filter-cohort" not in html.split("<script>")[0]
    assert "5 patients" in html


def test_without_pages_none_is_promised():
    html = study_html(view_of(analysis_of(), pages=False)).split("<script")[0]
    assert "opens a page" not in html
    assert "click" not in html
    assert '<a href="subjects' not in html


def test_every_value_is_a_point_of_its_box():
    people = names(2, 3)
    scores = scores_of(people, failed=("P01",))
    data = boxplots(scores, RATERS, {"P01": "subjects/P01.html"})
    expected = {(row.subject, row.comparison): row.value for row in scores[scores["metric"] == "hd95_mm"].itertuples()}
    place = 4 + [metric["key"] for metric in data["metrics"]].index("hd95_mm")
    found = {(data["subjects"][case[2]][0], case[3]): case[place] for case in data["cases"]}
    drawn = {key for key in expected if key[1] not in ("OS-GT", "BW-GT", "LG-GT")}
    assert set(found) == drawn
    for key, value in found.items():
        assert (value is None) == (key[0] == "P01" and key[1].startswith("Auto"))
        assert value is None or value == pytest.approx(expected[key], rel=1e-4)
    cohorts = {subject: cohort for subject, cohort in people}
    assert all(data["cohorts"][case[0]] == cohorts[data["subjects"][case[2]][0]] for case in data["cases"])
    assert dict(data["subjects"])["P01"] == "subjects/P01.html"


def test_words_from_a_study_cannot_become_markup():
    view = view_of(analysis_of(), title="<i>A&B</i>", name="</script><script>alert(1)</script>", warning="")
    html = study_html(view)
    assert "<i>A&B</i>" not in html
    assert "&lt;i&gt;A&amp;B&lt;/i&gt;" in html
    assert "alert(1)</script>" not in html
    assert data_of(html)["study"] == "</script><script>alert(1)</script>"


def test_a_warning_is_seen_and_nothing_points_outside(tmp_path):
    write_study_page(tmp_path / "report.html", view_of(analysis_of(), warning="SYNTHETIC STUDY", figures=[FIGURE]))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<div class="banner" role="note">SYNTHETIC STUDY</div>' in html
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["plotly.min.js", "report.html"]
    links = set(re.findall(r'(?:src|href|data-library)="([^"]+)"', html))
    assert not [link for link in links if re.match(r"[a-z]+:", link) and not link.startswith("data:image/jpeg")]
    assert {"figures/comparison.png", "figures/comparison.pdf", "assets/plotly.min.js"} <= links
    assert str(tmp_path) not in html


def test_addresses_are_quoted():
    analysis = analysis_of()
    html = study_html(view_of(analysis, cards={"P01": SubjectCard(page="subjects/P #1 ü.html")}))
    assert 'href="subjects/P%20%231%20%C3%BC.html"' in html


@pytest.mark.parametrize("path", ["/home/somebody/P01.html", "../P01.html", "C:/P01.html", "https://x.org/a.html"])
def test_a_page_names_nothing_outside_its_folder(path):
    with pytest.raises(RunError) as error:
        SubjectCard(page=path)
    assert error.value.found == path


def test_a_study_as_large_as_the_papers_is_a_small_file(tmp_path):
    view = view_of(analysis_of(10, 42), reference=reference_table("paper"))
    write_study_page(tmp_path / "report.html", view)
    assert len(view.subjects) == 52
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_each_answer_holds_the_numbers_of_its_test():
    tests = analysis_of(10, 42).tests
    asked = questions(tests)
    assert len(asked) == 3
    row = tests.query("cohort == 'patient' and metric == 'dice' and test == 'contrast'").iloc[0]
    finding = next(f for f in asked[0].findings if (f.cohort, f.topic) == ("patient", "Dice"))
    direction = "higher" if row["estimate"] > 0 else "lower"
    assert f"{abs(row['estimate']):.3f} {direction}" in finding.text
    assert f"{row['ci_low']:.3f} to {row['ci_high']:.3f}; 42 subjects".replace("-", "−") in finding.text
    assert "Williams index" in finding.text
    assert finding.verdict == row["verdict"]
    assert finding.words == verdict_in_words(row.to_dict())
    paper = tests.query("cohort == 'volunteer' and metric == 'vs' and test == 'paper'").iloc[0]
    finding = next(f for f in asked[2].findings if (f.cohort, f.topic) == ("volunteer", "VS"))
    assert f"p = {paper['p_value']:.3f}" in finding.text
    assert "10 values against 30" in finding.text


@pytest.mark.parametrize("verdict", ["better", "no worse", "inconclusive", "worse", "not decidable"])
def test_a_verdict_is_that_of_the_table_in_the_same_words_on_page_and_summary(verdict):
    analysis = analysis_of(10, 42)
    chosen = (analysis.tests["cohort"] == "patient") & (analysis.tests["metric"] == "dice")
    analysis.tests.loc[chosen & (analysis.tests["test"] == "contrast"), "verdict"] = verdict
    finding = next(f for f in questions(analysis.tests)[0].findings if (f.cohort, f.topic) == ("patient", "Dice"))
    assert finding.verdict == verdict
    html = " ".join(study_html(view_of(analysis)).split())
    assert html.count(finding.words) >= 2, "as a label, and in the printed table"


def test_too_few_subjects_are_said_to_be_too_few():
    asked = questions(analysis_of(1, 2).tests)
    texts = [finding.text for question in asked for finding in question.findings]
    assert not [text for text in texts if re.search(r"\bnan\b|None|<NA>", text)]
    assert any("no 95 % interval" in text for text in texts)


def test_the_thumbnail_is_of_the_slice_that_differs_most():
    reference, automatic = np.zeros((2, 60, 50, 6), dtype=bool)
    reference[20:40, 20:40, 1] = automatic[20:40, 20:40, 1] = True
    reference[20:30, 20:30, 4] = automatic[22:30, 20:30, 4] = True
    assert most_informative_slice([reference, automatic]) == 4
    assert most_informative_slice([reference, reference]) == 1
    assert most_informative_slice([reference]) == 1
    assert most_informative_slice([reference & False]) == 3
    shown = thumbnail(
        np.zeros((60, 50, 6), np.float32), {"GT": reference, "Auto": automatic}, range(9, 15), (1.0, 1.0, 4.0)
    )
    assert shown.slice_number == 13


def test_the_thumbnail_is_a_square_around_the_nerve_with_both_colours():
    uri = picture(0).data_uri
    assert len(uri) < 20_000
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)
    assert shown.shape[0] == shown.shape[1]
    assert 100 <= shown.shape[0] <= 140
    blue = (shown[..., 2] - shown[..., 0] > 80).sum()
    green = (shown[..., 1] - shown[..., 2] > 80).sum()
    assert min(blue, green) > 40


def test_a_nerve_at_the_border_or_no_nerve_is_pictured_too():
    image = np.zeros((40, 30, 2), dtype=np.float32)
    corner = np.zeros(image.shape, dtype=bool)
    corner[:3, -3:, 0] = True
    for mask in (corner, corner & False):
        assert thumbnail(image, {"GT": mask}, [0, 1], (1.0, 1.0, 4.0)).data_uri.startswith("data:image/jpeg")
    with pytest.raises(GeometryError) as caught:
        thumbnail(image, {"GT": corner}, [0, 1, 2], (1.0, 1.0, 4.0))
    assert caught.value.found.endswith(" 3 slice numbers")


def test_the_page_has_medians_quartiles_and_intervals():
    analysis = analysis_of()
    row = next(
        row for row in Cells(study_html(view_of(analysis))).tables["spread"] if row[:2] == ["patient", "Auto-GT"]
    )
    scores = analysis.measurements.scores.query("cohort == 'patient' and metric == 'dice' and comparison == 'Auto-GT'")
    low, median, high = np.percentile(scores["value"], [25, 50, 75])
    half = scores["value"].sem() * 2.776445
    mean = scores["value"].mean()
    assert row[2] == f"{median:.3f} [{low:.3f}, {high:.3f}]; mean {mean - half:.3f} to {mean + half:.3f}"


def test_a_page_names_its_class_only_where_there_are_several():
    single = study_html(view_of(analysis_of()))
    assert 'id="table1-heading">Table 1<' in single
    assert 'id="class"' not in single
    analysis = replace(analysis_of(), structure="tibial", classes=("tibial", "peroneal"))
    view = view_of(analysis, classes={"tibial": "report.html", "peroneal": "report-peroneal.html"})
    html = study_html(view)
    options = re.findall(r'<option value="(.*?)"( selected)?>(.*?)</option>', html)
    assert options[:2] == [("report.html", " selected", "tibial"), ("report-peroneal.html", "", "peroneal")]
    assert "the class tibial" in " ".join(introduction(view))
    assert {finding.cohort for question in questions(analysis.tests, "tibial") for finding in question.findings} == {
        "tibial, volunteer", "tibial, patient",
    }  # fmt: skip


def test_a_page_of_a_class_leads_nowhere_outside_its_folder():
    with pytest.raises(RunError):
        view_of(analysis_of(), classes={"tibial": "../report.html"})
