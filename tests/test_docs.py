"""The documentation names files that exist, links that lead somewhere, and every module of the package."""

import re
from pathlib import Path

import pytest

from nerveseg.biomarkers.profile import PROFILE_COLUMNS
from nerveseg.scans.batch_table import COLUMNS

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOP = r"(nerveseg|tests|conf|docs|benchmarks|notebooks)/[\w./-]+"
PATH = re.compile(rf"(?<![\w/.-]){TOP}(?![\w/<*{{-])")
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def name(path):
    return path.relative_to(ROOT).as_posix()


def paths_of(text):
    """Paths of the repository that a page names, without placeholders such as `conf/loss/<name>.yaml`."""
    return {match.group().rstrip(".").rstrip("/") for match in PATH.finditer(text)}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_every_path_exists(page):
    missing = [path for path in paths_of(page.read_text(encoding="utf-8")) if not (ROOT / path).exists()]
    assert sorted(missing) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file(page):
    targets = {link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))}
    broken = [target for target in targets if target and "://" not in target and not (page.parent / target).exists()]
    assert sorted(broken) == []


def anchors_of(text):
    """Anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_anchor_is_a_heading(page):
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if anchor and "://" not in target:
            text = (page.parent / target if target else page).read_text(encoding="utf-8")
            broken += [] if anchor in anchors_of(text) else [link]
    assert broken == []


@pytest.mark.parametrize(("file", "columns"), [("profile.csv", PROFILE_COLUMNS), ("segmentations.csv", COLUMNS)])
def test_every_column_of_a_segmented_scan_is_explained(file, columns):
    page = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8")
    section = page.partition(f"## {file}\n")[2].partition("\n## ")[0]
    assert set(columns) <= set(CODE.findall(section))


def packages_of(text):
    """Modules that the section of each package names."""
    sections = re.split(r"^### (nerveseg/[\w/]*)\n", text, flags=re.MULTILINE)[1:]
    return {
        folder.rstrip("/"): [word for line in lines(body) for word in CODE.findall(line) if word.endswith(".py")]
        for folder, body in zip(sections[::2], sections[1::2], strict=True)
    }


def lines(section):
    """The list items of a section, up to the next heading of a higher level."""
    return [line for line in re.split(r"^## ", section, flags=re.MULTILINE)[0].splitlines() if line.startswith("- ")]


def test_the_architecture_names_every_module_once():
    named = packages_of(ARCHITECTURE.read_text(encoding="utf-8"))
    modules = {}
    for file in sorted((ROOT / "nerveseg").rglob("*.py")):
        if file.name != "__init__.py":
            modules.setdefault(name(file.parent), []).append(file.name)
    assert {folder: sorted(files) for folder, files in named.items()} == modules


def short_paths(cell):
    """Paths in a cell of the table, which leaves `nerveseg/` out."""
    words = [word.partition(":")[0] for word in CODE.findall(cell)]
    return [word for word in words if "/" in word and re.fullmatch(r"[\w./-]+", word)]


def test_the_table_names_files_and_tests_that_exist():
    text = ARCHITECTURE.read_text(encoding="utf-8").partition("## To change X")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| **")]
    assert len(rows) >= 20
    missing = [
        path for row in rows for cell in row for path in short_paths(cell)
        if not (ROOT / path).exists() and not (ROOT / "nerveseg" / path).exists()
    ]  # fmt: skip
    assert missing == []
    assert [row[0] for row in rows if "test" not in row[2]] == [], "each row names its test"


def test_a_name_stands_in_the_file_that_a_recipe_gives_for_it():
    folders = (ROOT, ROOT / "nerveseg", ROOT / "tests")
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + ARCHITECTURE.read_text(encoding="utf-8")
    found = re.findall(r"((?:`\w+`(?:, | and )?)+) in\s+`([\w/]+\.py)`", text)
    assert len(found) > 20
    for names, path in found:
        (file,) = [folder / path for folder in folders if (folder / path).is_file()] or [None]
        assert file, f"no file {path}"
        assert [word for word in CODE.findall(names) if word not in file.read_text(encoding="utf-8")] == [], path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see nerveseg/files.py.", {"nerveseg/files.py"}),
        ("`conf/loss/<name>.yaml` or conf/loss/", {"conf/loss"}),
        ("http://example.org/docs/a.md, my-conf/study/a.yaml", set()),
        ("nerveseg.segment, tests/helpers/reference/", {"tests/helpers/reference"}),
    ],
)
def test_paths_are_recognised(text, found):
    assert paths_of(text) == found
