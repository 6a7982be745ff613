"""The rewritten arguments go through Hydra and OmegaConf themselves, which are the judges here."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nerveseg.errors import ConfigurationError
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import split_fixed_and_swept
from nerveseg.launch.hydra_flags import is_multirun, overrides_only

HARD_PATHS = [
    "a b/c, d.nii",
    "te=82 #3 [left] {x} (y)",
    'it\'s "quoted"',
    "'",
    "\\",
    "\\'",
    "\\\\''\\",
    "'it's'",
    "${oc.env:HOME}",
    "\\${x",
    "\\\\${x}\\",
    "$${",
    "${'",
    "'${\\'",
    "100 %/Nerven-Übersicht/神経",
    "1..3",
    "choice(a,b)",
    "glob(*)",
    "true",
    "-1e3",
    " leading and trailing ",
    "tab\tand\nnewline",
    "a:b@c|d?*!&;<>`",
    "caf\u0065\u0301",
    "broken \udcff name",
]
PIECES = st.sampled_from(["\\", "'", '"', "${", "}", "$", "{", ",", " ", "=", "~", "#", "..", "/", "a", "ü", "null"])
PATHS = st.lists(PIECES, min_size=1, max_size=12).map("".join) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=20
)


def through_hydra(override):
    """The value a job sees: Hydra's parse, then OmegaConf's interpolation."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    assert not parsed.is_sweep_override()
    config = OmegaConf.create({"value": None})
    OmegaConf.update(config, "value", parsed.value())
    return config.value


def through_a_sweep(override):
    """The same for one job of a sweep, whose overrides Hydra writes out and parses a second time."""
    parsed = OverridesParser.create().parse_overrides([override, "fold=0,1"])
    ((first, second),) = BasicSweeper.split_arguments(parsed, None)
    assert first[0] == second[0]
    return through_hydra(first[0])


def is_literal(path):
    """Paths of which the module says that they mean something else: quoted by the user, null, missing, home."""
    return path[0] not in "~'\"" and path not in ("null", "???")


@pytest.mark.parametrize("path", HARD_PATHS)
@pytest.mark.parametrize("key", ["input", "output", "model", "run", "study.root", "output_root", "+run"])
def test_a_path_arrives_as_typed(key, path):
    (override,) = to_hydra_overrides("evaluate", [f"{key}={path}"])
    assert override.startswith(f"{key}=")
    assert through_hydra(override) == path
    assert through_a_sweep(override) == path


@settings(max_examples=400, deadline=None)
@given(PATHS.filter(is_literal))
@example("a\\'")
@example("a\\\\${\\\\${\\")
def test_any_path_arrives_as_typed(path):
    (override,) = to_hydra_overrides("train", [f"output={path}"])
    assert through_hydra(override) == path
    assert through_a_sweep(override) == path


@settings(max_examples=100, deadline=None)
@given(PATHS.filter(is_literal))
def test_rewriting_twice_changes_nothing(path):
    once = to_hydra_overrides("train", [f"output={path}", "fold=0..2"])
    assert to_hydra_overrides("train", once) == once


@pytest.mark.parametrize("path", HARD_PATHS[:-1])  # YAML and files are UTF-8; a broken name stops at their door
def test_a_path_arrives_in_a_composed_config(tmp_path, path):
    (tmp_path / "segment.yaml").write_text("input: ???\nfolder: ${input}/x\n", encoding="utf-8")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config = compose("segment", to_hydra_overrides("segment", [f"input={path}"]), return_hydra_config=True)
    assert config.input == path
    assert config.folder == f"{path}/x"
    assert OmegaConf.create(OmegaConf.to_yaml(config)).input == path
    assert len(config.hydra.overrides.task) == 1


def test_the_leading_tilde_is_the_home_folder(monkeypatch, tmp_path):
    home = tmp_path / "ho me"
    monkeypatch.setenv("HOME", str(home))
    assert through_hydra(to_hydra_overrides("train", ["output=~/a b"])[0]) == f"{home}/a b"
    assert through_hydra(to_hydra_overrides("segment", ["~/a b.nii"])[0]) == f"{home}/a b.nii"
    assert through_hydra(to_hydra_overrides("train", ["output=./~"])[0]) == "./~"
    assert through_hydra(to_hydra_overrides("train", ["output=a/~"])[0]) == "a/~"


def test_the_sign_of_a_missing_value_stays_the_same_file():
    assert through_hydra(to_hydra_overrides("segment", ["input=???"])[0]) == "./???"


def test_a_quoted_path_is_hydras_unless_a_file_has_that_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert through_hydra(to_hydra_overrides("evaluate", ["run='a b'"])[0]) == "a b"
    assert through_hydra(to_hydra_overrides("evaluate", ['run="it\'s"'])[0]) == "it's"
    (tmp_path / "'a b'").touch()
    assert through_hydra(to_hydra_overrides("evaluate", ["run='a b'"])[0]) == "'a b'"
    assert through_hydra(to_hydra_overrides("evaluate", ["run='it's'"])[0]) == "'it's'"
    assert through_hydra(to_hydra_overrides("evaluate", ["run='a\\'"])[0]) == "'a\\'"


def test_null_is_no_path_unless_a_file_has_that_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert through_hydra(to_hydra_overrides("evaluate", ["run=null"])[0]) is None
    (tmp_path / "null").touch()
    assert through_hydra(to_hydra_overrides("evaluate", ["run=null"])[0]) == "null"


def test_several_paths_are_a_sweep_only_in_quotes():
    words = to_hydra_overrides("evaluate", ["-m", "run='a, b','c'"])
    (parsed,) = OverridesParser.create().parse_overrides(words[1:])
    assert [value.text for value in parsed.sweep_iterator()] == ["a, b", "c"]
    assert through_hydra(to_hydra_overrides("evaluate", ["run=a,c"])[0]) == "a,c"


@given(st.integers(-500, 500), st.integers(0, 60), st.sampled_from(["fold", "folds.seed", "+x", "++a.b", "a@b.c"]))
def test_a_range_is_every_integer_of_it(first, steps, key):
    flag, override = to_hydra_overrides("train", [f"{key}={first}..{first + steps}"])
    assert flag == "--multirun"
    (parsed,) = OverridesParser.create().parse_overrides([override])
    values = list(parsed.sweep_iterator()) if parsed.is_sweep_override() else [parsed.value()]
    assert values == list(range(first, first + steps + 1))
    assert parsed.get_key_element() == key


@pytest.mark.parametrize(
    ("typed", "rewritten"),
    [
        (["fold=0..3"], ["--multirun", "fold=0,1,2,3"]),
        (["fold=0..1", "-m"], ["-m", "fold=0,1"]),
        (["--multirun", "fold=0..1"], ["--multirun", "fold=0,1"]),
        (["--multi", "fold=0..1"], ["--multi", "fold=0,1"]),
        (["seed=1..3,7"], ["--multirun", "seed=1,2,3,7"]),
        (["seed=9, -1..1"], ["--multirun", "seed=9,-1,0,1"]),
        (["fold=2..2"], ["--multirun", "fold=2"]),
        (["fold=0..1", "seed=5..6"], ["--multirun", "fold=0,1", "seed=5,6"]),
    ],
)
def test_the_short_form(typed, rewritten):
    assert to_hydra_overrides("train", typed) == rewritten


LOOK_ALIKES = """
    lr=0.1..0.3 tag='0..3' tags=[0..3] tags={a:0..3} x=choice(1..3) x=range(0,4) x=1..3,'a'
    x=1...3 x=1..3..5 x=..3 x=1.. x=a..b x=01..03 x=\u0661..\u0663 x=
    fold=1,2 ~fold ~fold=0..3 +new.key=1 hydra/launcher=joblib
"""


@pytest.mark.parametrize("override", [*LOOK_ALIKES.split(), "hydra.sweep.dir=a b"])
def test_what_only_looks_alike_is_left_alone(override):
    assert to_hydra_overrides("train", [override]) == [override]


FLAGS = """
    -m | --help | --cfg job | -c job --resolve | --cfg=job | --config-dir elsewhere | --config-dir=a=b |
    -cd dir | --package trainer | --info all | -i defaults-tree
"""


@pytest.mark.parametrize("flags", [flags.split() for flags in FLAGS.split("|")])
def test_flags_and_their_values_pass_and_hydra_accepts_them_anywhere(flags):
    for typed in (["a=1", *flags, "b=2"], [*flags, "a=1", "b=2"], ["a=1", "b=2", *flags]):
        rewritten = to_hydra_overrides("train", typed)
        assert rewritten == [*flags, "a=1", "b=2"]
        assert get_args_parser().parse_args(rewritten).overrides == overrides_only(rewritten) == ["a=1", "b=2"]


@pytest.mark.parametrize("flag", ["-i", "--info"])
def test_info_without_a_choice_swallows_no_override(flag):
    for typed in (["a=1", flag], [flag, "a=1"], [flag, "--resolve", "a=1"]):
        parsed = get_args_parser().parse_args(to_hydra_overrides("train", typed))
        assert (parsed.info, parsed.overrides) == ("all", ["a=1"])


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-c", "job"], ["--info"], ["--help"], ["-h"], ["--run"]])
def test_a_range_adds_no_second_command_for_hydra(flags):
    """Hydra refuses --multirun together with these, with a traceback."""
    assert not is_multirun(to_hydra_overrides("train", [*flags, "fold=0..1"]))


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        (["scan.nii.gz"], "scan.nii.gz"),
        (["a, b.nii"], "a, b.nii"),
        (["/data/te=82/scan.nii"], "/data/te=82/scan.nii"),
        (["./te=82.nii"], "./te=82.nii"),
        (["--", "-odd.nii"], "-odd.nii"),
        (["--config-dir", "x", "scan.nii"], "scan.nii"),
        (["--info", "scan.nii"], "scan.nii"),
    ],
)
def test_a_bare_path_is_the_input(typed, path):
    overrides = get_args_parser().parse_args(to_hydra_overrides("segment", [*typed, "model=m"])).overrides
    assert [through_hydra(override) for override in overrides] == [path, "m"]


@pytest.mark.parametrize(
    ("verb", "typed", "words"),
    [
        ("train", ["fold=3..1"], ["fold=3..1", "fold=1..3"]),
        ("train", ["seed=7,3..-1"], ["seed=3..-1", "seed=-1..3"]),
        ("train", ["seed=1..9999999999999"], ["1000"]),
        ("train", ["0..3"], ["'0..3'", "nerveseg.train fold=0..3"]),
        ("evaluate", ["outputs/demo"], ["outputs/demo", "run="]),
        ("segment", ["my", "scan.nii"], ["'my' and 'scan.nii'", "quotes"]),
        ("segment", ["a.nii", "input=b.nii"], ["'a.nii' and 'input=b.nii'"]),
        ("segment", [""], ["an empty argument"]),
        ("unheard-of", ["x"], ["nerveseg.unheard-of key=value"]),
    ],
)
def test_mistakes_are_named_with_their_remedy(verb, typed, words):
    with pytest.raises(ConfigurationError) as caught:
        to_hydra_overrides(verb, typed)
    for word in words:
        assert word in str(caught.value)


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=8) | PATHS, max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_command_line_is_rewritten_or_refused_politely(argv):
    try:
        rewritten = to_hydra_overrides("segment", argv)
    except ConfigurationError:
        return
    assert len(rewritten) <= len(argv) + 1


@given(st.lists(st.text(max_size=8) | PATHS, max_size=4))
@settings(max_examples=100, deadline=None)
def test_what_hydra_cannot_parse_is_a_configuration_error(words):
    try:
        shared, swept = split_fixed_and_swept(words)
    except ConfigurationError:
        return
    assert {*shared, *swept} <= set(words)


def test_a_sweep_is_split_into_what_jobs_share_and_what_tells_them_apart():
    argv = to_hydra_overrides(
        "train", ["fold=0..3", "seed=1", "lr=0.1,0.2", "output=a,b", "n='1,2'", "x=[1,2]", "+k=range(3)"]
    )
    shared, swept = split_fixed_and_swept(argv)
    assert shared == ["seed=1", "output='a,b'", "n='1,2'", "x=[1,2]"]
    assert swept == ["fold=0,1,2,3", "lr=0.1,0.2", "+k=range(3)"]


def test_the_last_of_two_overrides_counts_as_in_hydra():
    argv = ["-m", "fold=0,1", "seed=2,3", "fold=5"]
    jobs = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(argv[1:]), None)[0]
    shared, swept = split_fixed_and_swept(argv)
    assert swept == ["seed=2,3"]
    assert all(set(shared) <= set(job) for job in jobs)


def test_hydra_really_refuses_what_is_rewritten():
    """The reason for this module: without it these fail, or mean something else."""
    parser = OverridesParser.create()
    assert parser.parse_override("fold=0..3").value() == "0..3"
    for word in ("input=a b=c", "input=[a] b", "input=a#b", "input=ü"):
        with pytest.raises(HydraException):
            parser.parse_override(word)


def test_importing_the_module_does_not_import_hydra():
    code = "import sys, nerveseg.launch.arguments; sys.exit(any(n in sys.modules for n in ('hydra', 'omegaconf')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
