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


RECORDED_SECTIONS = ("Args:", "Attributes:", "Returns:", "Yields:")
NO_NOUN = re.compile(r"(Of|Where|Which|Whether|What|How|That|Why|When|Whose)\b")
NO_VERB = re.compile(r"(The|A|An|What|Whether|How|Of|Where|As|Which|That|Why|When|Every|One|Only)\b")


def vague_docstrings(tree):
    """Yield first lines of functions' docstrings that do not begin with a verb, and entries that begin with no noun."""
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        if not text:
            continue
        lines = text.splitlines()
        if isinstance(node, ast.FunctionDef) and NO_VERB.match(lines[0]):
            yield lines[0]
        section = ""
        for line in lines:
            if line and not line.startswith(" "):
                section = line
            entry = re.match(r"    (?:\*{0,2}\w+: )?(\S.*)", line)
            if section in RECORDED_SECTIONS and entry and NO_NOUN.match(entry[1]):
                yield line.strip()


def test_docstrings_begin_with_a_verb_and_their_entries_with_a_noun():
    found = {str(file): [*vague_docstrings(ast.parse(file.read_text(encoding="utf-8")))] for file in FILES}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_vague_docstring_is_recognised():
    source = '''
def load(path, size):
    """Where the mask is.

    Args:
        path: Of the mask.
        size: Size in pixels.

    Returns:
        Whether it is there.

    Raises:
        OSError: What the system says.
    """
'''
    found = list(vague_docstrings(ast.parse(source)))
    assert found == ["Where the mask is.", "path: Of the mask.", "Whether it is there."]
