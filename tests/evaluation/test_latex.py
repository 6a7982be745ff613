import re
import shutil
import subprocess

import pandas as pd
import pytest

from nerveseg.evaluation.tables.table1 import escape, table1, table1_latex, table1_markdown
from tests.helpers.score_tables import tidy

HARD = "A&B_100%#1 {~^\\} $x$ ± |<>"


def table(raters=("OS", "BW"), cohorts=("volunteer", "patient")):
    names = [f"{raters[0]}-{raters[1]}", *(f"{rater}-GT" for rater in raters), "Auto-GT"]
    values = {name: [0.8 + 0.01 * n, 0.7] for n, name in enumerate(names)}
    frames = [
        tidy(values, metric, cohort) for cohort in cohorts for metric in ("dice", "hd95_paper_mm", "hd95_mm", "vs")
    ]
    return table1(pd.concat(frames), raters)


def rows(latex):
    body = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    return [line for line in body.splitlines() if line.endswith(r"\\")]


def unescaped(text):
    """What TeX prints: an independent inverse, command by command."""
    for command, character in ((r"\textbackslash{}", "\0"), (r"\textasciitilde{}", "~"), (r"\textasciicircum{}", "^"),
                               (r"$\pm$", "±"), (r"\textbar{}", "|"), (r"\textless{}", "<"),
                               (r"\textgreater{}", ">")):  # fmt: skip
        text = text.replace(command, character)
    return re.sub(r"\\([&%$#_{}])", r"\1", text).replace("\0", "\\")


def test_the_environments_are_closed_in_order():
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", table1_latex(table(), "Table 1")):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []


@pytest.mark.parametrize("raters", [("OS", "BW"), ("A&B", "c_1"), (HARD, "x")])
def test_every_row_has_a_cell_per_column(raters):
    latex = table1_latex(table(raters), f"Table 1, {HARD}")
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)
    assert columns == "llrrrrr"
    assert len(rows(latex)) == 1 + len(table(raters))
    for line in rows(latex):
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
        plain = re.sub(r"\\[{}]", "", line)
        assert plain.count("{") == plain.count("}")


def test_the_rules_are_those_of_booktabs():
    latex = table1_latex(table(), "t")
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert r"\hline" not in latex


def test_special_characters_come_out_as_they_went_in():
    assert unescaped(escape(HARD)) == HARD
    assert not re.search(r"(?<!\\)[&%#_]", escape(HARD))


def test_the_cells_are_those_of_the_markdown():
    markdown = [line for line in table1_markdown(table()).splitlines() if line.startswith("|")][2:]
    expected = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in markdown]
    found = [[re.sub(r"\\textbf\{(.*)\}", r"\1", cell.strip()) for cell in line[:-2].split(" & ")] for line in
             rows(table1_latex(table(), "t"))[1:]]  # fmt: skip
    assert [[unescaped(cell) for cell in row[1:]] for row in found] == [row[1:] for row in expected]


def test_the_caption_holds_the_notes_and_remarks():
    latex = table1_latex(table(), "Table 1, study x_y", ["Empty masks: sub-P1 (patient) Auto."])
    (caption,) = re.findall(r"\\caption\{(.*)\}\n", latex)
    assert caption.startswith(r"Table 1, study x\_y. Mean $\pm$ sample standard deviation.")
    assert caption.endswith("Empty masks: sub-P1 (patient) Auto.")


def test_the_table_is_never_wider_than_the_text_and_has_a_label():
    latex = table1_latex(table((HARD, "x" * 60)), "Agreement, study t")
    scaled, _, rest = latex.partition(r"\begin{tabular}")
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in scaled.splitlines()
    assert rest.count(r"\end{tabular}}") == 1
    assert re.findall(r"\\label\{(.*)\}", latex) == ["tab:agreement"]
    assert latex.index(r"\caption") < latex.index(r"\label")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(tmp_path):
    document = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "t.tex").write_text(f"{document}\n{table1_latex(table(), HARD)}\\end{{document}}", encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)
    assert "Overfull" not in (tmp_path / "t.log").read_text(errors="replace")
