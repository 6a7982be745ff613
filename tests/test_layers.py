"""Imports go downward only, as DESIGN.md has it; this reads every import, also those inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nerveseg"

BASE = ["types", "errors", "notices", "files", "runs", "targets", "console", "yaml_files", "names"]
MIDDLE = ["inference", "evaluation", "biomarkers", "networks", "data", *BASE]
MAY_IMPORT = {
    "__init__": [
        *("data.datamodule", "data.study", "data.study_layout", "networks.fc_densenet"),
        *("scans.follow_up", "scans.segmentation", "training.segmenter"),
    ],
    "entry point": ["launch", "workflows", "dashboards", "reporting", "training", "phantom", *MIDDLE],
    "launch": ["workflows", "scans", "dashboards", "reporting", "training", "phantom", *MIDDLE],
    "synthesis": ["phantom", "data", *BASE],
    "workflows": ["scans", "synthesis", "dashboards", "reporting", "training", "phantom", *MIDDLE],
    "dashboards": ["training", *MIDDLE],
    "scans": ["reporting", "training", *MIDDLE],
    "reporting": ["training", *MIDDLE],
    "training": ["inference", "evaluation.metrics", "networks", "data", *BASE],
    "inference": ["networks", "data", *BASE],
    "evaluation": ["data", *BASE],
    "biomarkers": ["data", *BASE],
    "phantom": ["types", "errors", "files", "data.volumes"],
    "networks": BASE,
    "data": BASE,
    "runs": ["types", "errors", "files"],
    "files": ["errors", "names"],
    "targets": ["errors"],
    "console": ["errors", "names"],
    "yaml_files": ["errors"],
    "types": [],
    "errors": ["names"],
    "names": [],
    "notices": [],
}
"""Each part of nerveseg, and the other parts (or single modules) it may import."""

LEARNING = ["torch", "pytorch_lightning", "lightning", "torchio", "torchmetrics"]
NEVER_IMPORTS = {"evaluation": LEARNING, "biomarkers": LEARNING, "phantom": LEARNING}
"""These take arrays and spacing."""

ONLY_IMPORTS = {"networks": ["torch", "jaxtyping"]}
"""Third-party packages of the parts that may have no others."""

ONLY_IMPORTED_BY = {"hydra": ["launch"]}


def violations(package: Path) -> list[str]:
    """Every import in a tree that breaks the rule, as "file:line: part imports module"."""
    return [
        f"{file.relative_to(package)}:{line}: {part(file, package)} imports {module}"
        for file in sorted(package.rglob("*.py"))
        for line, module in imports(file, package)
        if not allowed(part(file, package), module)
    ]


def part(file: Path, package: Path) -> str:
    name = file.relative_to(package).with_suffix("").parts[0]
    return name if file.parent != package or name in MAY_IMPORT else "entry point"


def allowed(importer: str, module: str) -> bool:
    top, _, inside = module.partition(".")
    if top == "nerveseg":
        name = inside.split(".")[0]
        return (
            name in ("", "__version__", importer)
            or (importer, name) == ("entry point", "entry point")
            or any(f"{inside}.".startswith(f"{other}.") for other in MAY_IMPORT[importer])
        )
    return (
        top not in NEVER_IMPORTS.get(importer, [])
        and importer in ONLY_IMPORTED_BY.get(top, [importer])
        and (top in sys.stdlib_module_names or top in ONLY_IMPORTS.get(importer, [top]))
    )


def imports(file: Path, package: Path) -> list[tuple[int, str]]:
    """Line and full name of what a file imports; `from a import b` is `a.b`, which may be a name within module a."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, f"{_origin(node, file, package)}.{alias.name}") for alias in node.names]
    return found


def _origin(node: ast.ImportFrom, file: Path, package: Path) -> str:
    if not node.level:
        return str(node.module)
    folder = ["nerveseg", *file.relative_to(package).parts[:-1]]
    above = folder[: len(folder) - node.level + 1]
    return ".".join(above + ([node.module] if node.module else []))


def test_nerveseg_keeps_the_rule():
    assert violations(PACKAGE) == []


def test_every_part_stands_in_the_table():
    folders = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("file", "code", "module"),
    [
        ("data/a.py", "from nerveseg.training import segmenter", "nerveseg.training.segmenter"),
        ("data/a.py", "def f():\n    import nerveseg.networks.fc_densenet", "nerveseg.networks.fc_densenet"),
        ("data/a.py", "from ..launch import cli", "nerveseg.launch.cli"),
        ("data/deep/a.py", "from ...networks.b import c", "nerveseg.networks.b.c"),
        ("errors.py", "from . import types", "nerveseg.types"),
        ("evaluation/a.py", "if TYPE_CHECKING:\n    from torch import Tensor", "torch.Tensor"),
        ("evaluation/a.py", "from nerveseg import inference", "nerveseg.inference"),
        ("inference/a.py", "import nerveseg.training", "nerveseg.training"),
        ("phantom/a.py", "from nerveseg.data import study", "nerveseg.data.study"),
        ("networks/a.py", "import numpy as np", "numpy"),
        ("networks/a.py", "import pytorch_lightning as pl", "pytorch_lightning"),
        ("training/a.py", "from hydra.utils import instantiate", "hydra.utils.instantiate"),
        ("train.py", "import hydra", "hydra"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, file, code, module):
    offender = tmp_path / file
    offender.parent.mkdir(parents=True, exist_ok=True)
    offender.write_text(code)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{file}:{code.count(chr(10)) + 1}: ")
    assert found.endswith(f" imports {module}")


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("train.py", "from nerveseg.launch.main import main"),
        ("training/a.py", "from nerveseg.inference import bundle"),
        ("launch/a.py", "import hydra"),
        ("phantom/a.py", "from nerveseg.data.volumes.volume import read_image\nfrom nerveseg.phantom.b import c"),
        ("phantom/a.py", "from nerveseg.data import volumes"),
        ("networks/a.py", "import math\nfrom torch import nn"),
        ("runs.py", "from nerveseg import __version__\nfrom nerveseg.errors import RunError"),
    ],
)
def test_an_allowed_import_is_not_reported(tmp_path, file, code):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(code)
    assert violations(tmp_path) == []


def modules_of(part_name: str) -> list[str]:
    return [f"nerveseg.{part_name}.{file.stem}" for file in (PACKAGE / part_name).glob("[a-z]*.py")]


@pytest.mark.parametrize("part_name", ["", "evaluation", "biomarkers", "phantom"])
def test_importing_needs_no_torch_even_indirectly(part_name):
    modules = modules_of(part_name) if part_name else ["nerveseg"]
    code = (
        "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "False"
