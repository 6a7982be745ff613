"""Every command that the documentation shows is composed and parsed, so that no page names an option that is gone."""

import re
import shlex
from pathlib import Path

import pytest

from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.launch.hydra_flags import is_info_request

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python -m nerveseg\.(\w+) ([^\n`]+)")


def commands():
    """Verb and words of each command, without what explains it behind two spaces or a number sign."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for verb, rest in COMMAND.findall(text):
            typed = re.split(r" {2,}(?=[^\s=]+(?: |$))| #", rest)[0].replace("$SLURM_ARRAY_TASK_ID", "0")
            if "..." not in typed and "--config-dir" not in typed:
                found.setdefault((verb, *shlex.split(typed)), page.name)
    return [pytest.param(verb, typed, id=f"{page}: {verb} {' '.join(typed)}") for (verb, *typed), page in found.items()]


def test_the_pages_show_commands():
    verbs = {parameter.values[0] for parameter in commands()}
    assert verbs == {"simulate", "check", "train", "evaluate", "segment", "measure", "compare"}


@pytest.mark.parametrize(("verb", "typed"), commands())
def test_a_command_is_parsed(verb, typed):
    arguments = to_hydra_overrides(verb, typed)
    if not is_info_request(arguments):
        assert compose_jobs(verb, arguments)
