"""The house rules that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "nerveseg").rglob("*.py"))
VAGUE_NAMES = re.compile(r"(utils?|helpers?|common|managers?|misc)(\.|_|$)|_(utils?|helpers?|manager)(\.|$)")


def names(files):
    return [str(file.relative_to(ROOT)) for file in files]


def test_there_are_files_to_check():
    assert len(FILES) > 10


def test_a_file_holds_one_idea_in_at_most_300_lines():
    long = [file for file in FILES if file.read_text(encoding="utf-8").count("\n") > 300]
    assert names(long) == []


def test_a_module_says_which_rule_it_implements():
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
    silent = [file for file, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert names(silent) == []


def test_a_module_is_named_for_its_content():
    parts = {file: file.relative_to(ROOT).parts for file in FILES}
    assert names(file for file in FILES if any(map(VAGUE_NAMES.search, parts[file]))) == []


def test_no_two_modules_or_packages_have_one_name():
    names_of = Counter(file.parent.name if file.stem == "__init__" else file.stem for file in FILES)
    assert [name for name, count in names_of.items() if count > 1] == []


@pytest.mark.parametrize("name", ["utils.py", "io_utils.py", "helpers.py", "common", "manager.py", "run_manager.py"])
def test_a_vague_name_is_recognised(name):
    assert VAGUE_NAMES.search(name)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"weights_only\s*=\s*False", "runs code that came with a file"),
        (r"^\s*except\s*:", "hides Ctrl-C and every mistake"),
        (r"^\s*#\s*[-=#*]{3,}", "is a banner"),
    ],
)
def test_what_the_source_never_holds(pattern, reason):
    found = [file for file in FILES if re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)]
    assert names(found) == [], reason
