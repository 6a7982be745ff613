"""The wheel is complete: installed elsewhere, it composes every configuration from another working directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(file.stem for file in (ROOT / "conf").glob("*.yaml"))
COMPOSE = """
import sys
from pathlib import Path

import nerveseg
from hydra import compose, initialize_config_dir

package = Path(nerveseg.__file__).parent
assert package.parent == Path(sys.argv[1]).resolve(), package
with initialize_config_dir(str(package / "conf"), version_base="1.3"):
    for name in sys.argv[2:]:
        assert compose(name), name
        print(name)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with nothing but what the wheel brings."""
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling")
    built, site = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True)
    return site


def test_every_configuration_composes_from_the_wheel(site, tmp_path):
    if not CONFIGS:
        pytest.skip("conf/ holds no top-level configuration")
    command = [sys.executable, "-c", COMPOSE, str(site), *CONFIGS]
    finished = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == CONFIGS


@pytest.mark.parametrize(
    ("folder", "inside", "pattern"),
    [
        ("conf", "nerveseg/conf", "*.yaml"),
        ("nerveseg", "nerveseg", "*.py"),
        ("nerveseg", "nerveseg", "*.csv"),
        ("nerveseg", "nerveseg", "py.typed"),
        ("nerveseg/models", "nerveseg/models", "*"),
        ("nerveseg/reporting/templates", "nerveseg/reporting/templates", "*.*"),
    ],
)
def test_the_wheel_brings_every_file(site, folder, inside, pattern):
    sources = {str(file.relative_to(ROOT / folder)) for file in (ROOT / folder).rglob(pattern)}
    packed = {str(file.relative_to(site / inside)) for file in (site / inside).rglob(pattern)}
    if not sources and folder == "nerveseg/models":
        pytest.skip("this checkout has no model of the package")
    assert sources
    assert sources == {name for name in packed if not (inside == "nerveseg" and name.startswith("conf/"))}


def test_the_wheel_brings_the_licence_and_no_tests(site):
    assert list(site.glob("nerveseg-*.dist-info/licenses/LICENSE"))
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nerveseg").rglob("*.py")}
    assert {path.relative_to(site).as_posix() for path in site.rglob("*.py")} == modules
