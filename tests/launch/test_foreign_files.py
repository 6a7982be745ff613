"""A study file of others: no code runs, no secret is read, and a fault of its YAML has its line."""

import time

import pytest

from nerveseg.errors import ConfigurationError
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs, config_folder
from nerveseg.launch.main import run_command

SOUND = (config_folder() / "study" / "bids.yaml").read_text(encoding="utf-8")

HOSTILE = {
    "hydra.callbacks.x": "callbacks: {x: {_target_: builtins.print, _partial_: true}}",
    "hydra.callbacks": "callbacks: 3",
    "hydra.job_logging": "job_logging: {handlers: {f: {class: logging.FileHandler, filename: MARK}}}",
    "hydra.hydra_logging": "hydra_logging: {handlers: {f: {(): tests.helpers.hostile, path: MARK}}}",
    "hydra.launcher._target_": "launcher: {_target_: os.system}",
    "hydra.sweeper._target_": "sweeper: {_target_: os.system}",
    "hydra.sweep.dir": "sweep: {dir: MARK}",
    "hydra.run.dir": "run: {dir: MARK}",
    "hydra.output_subdir": "output_subdir: MARK",
    "hydra.mode": "mode: MULTIRUN",
    "hydra.job.env_set.LD_PRELOAD": "job: {env_set: {LD_PRELOAD: x}}",
    "hydra.job.env_": "job: {env_copy: [PATH]}",
    "hydra.job.chdir": "job: {chdir: true}",
    "hydra.overrides.hydra": "overrides: {hydra: [hydra.run.dir=MARK]}",
    "hydra.help.template": "help: {template: '${oc.env:PATH}'}",
}


def study(folder, text, group="study"):
    (folder / group).mkdir(exist_ok=True, parents=True)
    (folder / group / "mine.yaml").write_text(text, encoding="utf-8")
    return ["--config-dir", str(folder), "study=mine", f"study.root={folder}", f"output_root={folder}/out"]


def refused(words, verb="check"):
    with pytest.raises(ConfigurationError) as caught:
        compose_jobs(verb, to_hydra_overrides(verb, words))
    assert "\n" not in str(caught.value)
    return caught.value


def of_hydra(line, mark=""):
    bids = "\n".join("  " + each for each in SOUND.splitlines())
    return f"# @package _global_\nstudy:\n{bids}\nhydra:\n  {line.replace('MARK', str(mark))}\n"


@pytest.mark.parametrize("key", HOSTILE)
def test_the_hydra_node_is_ours(key, tmp_path):
    assert key in str(refused(study(tmp_path, of_hydra(HOSTILE[key], tmp_path / "mark"))).found)
    assert not (tmp_path / "mark").exists()


def test_neither_is_it_changed_by_a_choice_of_its_groups(tmp_path):
    words = study(tmp_path, f"defaults:\n  - override /hydra/launcher: mine\n{SOUND}")
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "mine.yaml").write_text("_target_: os.system\n")
    assert "hydra.launcher" in refused(words, "train").found
    words = study(tmp_path, f"defaults:\n  - /hydra@_global_.hydra: mine\n{SOUND}")
    (tmp_path / "hydra" / "mine.yaml").write_text("callbacks: {x: {_target_: os.system}}\n")
    refused(words, "train")


@pytest.mark.parametrize("mode", [["--cfg", "job"], ["--cfg", "hydra"], ["--info", "config"], ["--help"], ["-m"], []])
def test_no_mode_of_hydra_starts_with_it(mode, tmp_path, capsys):
    words = study(tmp_path, of_hydra(HOSTILE["hydra.job_logging"], tmp_path / "mark"))
    assert run_command("check", lambda job: None, [*mode, *words]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not (tmp_path / "mark").exists()


def test_a_sweep_over_studies_is_checked_job_by_job(tmp_path):
    words = study(tmp_path, of_hydra(HOSTILE["hydra.mode"]))
    words[2] = "study=phantom_tiny,mine"
    assert refused(["-m", *words], "train").found == "hydra.mode"


def test_a_search_over_studies_is_checked_too(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = study(tmp_path, of_hydra(HOSTILE["hydra.mode"]))
    words[2] = "study=choice(phantom_tiny,mine)"
    words.remove(f"study.root={tmp_path}")
    assert refused(["-m", "hydra/sweeper=optuna", "fold=0", *words], "train").found == "hydra.mode"


@pytest.mark.parametrize("flag", ["--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun"])
def test_the_commands_own_file_is_not_replaced(flag, tmp_path):
    refused([flag, "mine"])


def test_what_the_user_types_is_the_users_own(tmp_path):
    words = study(tmp_path, SOUND)
    jobs = compose_jobs("check", to_hydra_overrides("check", [*words, f"hydra.run.dir={tmp_path}/a", "+hydra.a=1"]))
    assert len(jobs) == 1


@pytest.mark.parametrize("text", ["${oc.env:SECRET}", "${oc.env:SECRET,none}", "${oc.decode:'${oc.env:SECRET}'}"])
def test_an_unlisted_variable_is_not_read(text, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    words = study(tmp_path, SOUND.replace("name: bids", f"name: {text}"))
    error = refused(words)
    assert "SECRET" in error.found
    assert "hunter2" not in str(error)


def test_listed_and_typed_variables_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("NERVESEG_DATA", "/data")
    monkeypatch.setenv("MY_STUDY", "typed")
    words = study(tmp_path, SOUND.replace("participants.tsv  #", "${oc.env:NERVESEG_DATA}/p.tsv  #"))
    (job,) = compose_jobs("check", to_hydra_overrides("check", [*words, "study.name=${oc.env:MY_STUDY}"]))
    assert (job.config.study.name, job.config.study.participants) == ("typed", "/data/p.tsv")


ALIASES = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 11))
NAME = SOUND[: SOUND.index("name: bids")].count("\n") + 1  # number of the line of the name
BROKEN = {
    "a second colon": (SOUND.replace("name: bids", "name: bids: 3"), NAME),
    "a tab": (SOUND.replace('  T2: "', '\tT2: "'), NAME + 3),
    "a double key": (SOUND.replace("root: ???", "root: ???\nroot: x"), NAME + 2),
    "a python tag": (SOUND.replace("name: bids", "name: !!python/object/apply:os.system [id]"), NAME),
    "a tag of YAML": (SOUND.replace("name: bids", "name: !!binary aGk="), NAME),
    "deep nesting": (SOUND + "deep: " + "[" * 5000 + "]" * 5000 + "\n", None),
    "aliases": (SOUND + ALIASES, None),
    "an alias in itself": (SOUND + "a: &a [*a]\n", None),
    "an unknown alias": (SOUND.replace("name: bids", "name: *nobody"), NAME),
    "no UTF-8": (None, None),
    "a list": ("- 1\n- 2\n", None),
    "a number": ("3\n", None),
    "a complex key": (SOUND.replace("name: bids", "? [a, b]\n: c"), None),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_fault_of_yaml_is_one_line_with_its_place(kind, tmp_path):
    text, line = BROKEN[kind]
    words = study(tmp_path, text or "")
    if text is None:
        (tmp_path / "study" / "mine.yaml").write_bytes(b"name: \xff\xfe\n")
    start = time.monotonic()
    error = refused(words)
    assert time.monotonic() - start < 5
    assert error.path == tmp_path / "study" / "mine.yaml"
    assert line is None or f"line {line}:" in str(error.found)


def test_a_folder_of_configuration_that_is_none_is_named(tmp_path, recwarn):
    for place in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        assert refused(["--config-dir", str(place), "study=mine"]).path == place
    assert not recwarn
