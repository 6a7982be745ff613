import logging

import pytest

from nerveseg.errors import StudyError
from nerveseg.launch import main
from nerveseg.launch.main import run_command

MISTAKE = StudyError("a mask\nhas labels", found=0.5, subject="P01", path="m.nii", remedy="threshold it.")


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Hydra's `--info` writes its log to the screen of the process, which here is gone after a test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def failing(error):
    def job(config):
        raise error

    return job


def test_a_job_gets_the_resolved_configuration_and_the_end_is_zero():
    seen = []
    assert run_command("simulate", lambda job: seen.append(job.config), ["cohort=tiny", "output=a b, c"]) == 0
    assert (seen[0].cohort.name, str(seen[0].output)) == ("tiny", "a b, c")


def test_a_users_mistake_is_one_line_and_two(capsys):
    assert run_command("simulate", failing(MISTAKE), []) == 2
    captured = capsys.readouterr()
    expected = "error: expected: a mask has labels; found: 0.5; subject: P01; path: m.nii; remedy: threshold it\n"
    assert captured.err == expected
    assert "Traceback" not in captured.out


def test_a_fault_of_ours_is_not_swallowed():
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run_command("simulate", failing(RuntimeError("a fault of ours")), [])


def test_an_interruption_says_how_to_go_on(capsys):
    assert run_command("simulate", failing(KeyboardInterrupt()), []) == 130
    assert "the same command continues" in capsys.readouterr().out


def test_a_mistake_in_one_job_of_a_sweep_lets_the_others_run(tmp_path, capsys):
    seen = []

    def run_job(job):
        seen.append((job.config.workers, job.jobs_after))
        if job.config.workers == 2:
            raise MISTAKE

    assert run_command("simulate", run_job, ["-m", "workers=1,2,3", f"hydra.sweep.dir={tmp_path}"]) == 2
    assert seen == [(1, 2), (2, 1), (3, 0)]
    assert capsys.readouterr().err.count("error: ") == 1


def test_what_comes_around_the_jobs_runs_them_and_may_refuse():
    events = []

    def around(jobs, run_jobs, is_sweep):
        events.append([job.overrides for job in jobs])
        assert not is_sweep
        run_jobs()
        events.append("after")

    assert run_command("simulate", lambda config: events.append("job"), ["workers=3"], around) == 0
    assert events == [[("workers=3",)], "job", "after"]

    def refuse(jobs, run_jobs, is_sweep):
        raise MISTAKE

    assert run_command("simulate", lambda config: events.append("job"), [], refuse) == 2
    assert events.count("job") == 1


@pytest.mark.parametrize("question", ["--help", "--cfg=job", "--info=config", "--version"])
def test_a_question_is_answered_without_running_anything(question, capsys):
    def never(*_):
        raise AssertionError("nothing is to run")

    try:
        code = run_command("train", never, [question], wrap_jobs=never)
    except SystemExit as end:  # argparse ends the process after --version
        code = end.code or 0
    assert code == 0
    assert capsys.readouterr().out


def test_options_are_shown_with_their_values(capsys):
    assert run_command("train", failing(MISTAKE), ["--cfg", "job", "network=tiramisu"]) == 0
    assert "growth_rate: 12" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["foo=1"], ["cohort=nosuch"], ["cohort.slices=[1"], ["scan.nii"]])
def test_an_unknown_option_is_one_line(argv, capsys):
    assert run_command("simulate", lambda config: None, argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_the_arguments_of_the_process_come_back(monkeypatch):
    monkeypatch.setattr("sys.argv", ["nerveseg", "workers=2"])
    seen = []
    assert run_command("simulate", lambda job: seen.append(job.config.workers)) == 0
    assert seen == [2]
    import sys

    assert sys.argv == ["nerveseg", "workers=2"]


def test_the_command_of_all_verbs_hands_on_and_hands_back(tmp_path, capsys):
    assert main.run_verb(["simulate", "cohort=tiny", "+cohort.foo=1", f"output={tmp_path / 'x'}"]) == 2
    assert "cohort.foo" in capsys.readouterr().err


def test_help_names_every_verb(capsys):
    for argv in (["--help"], []):
        assert main.run_verb(argv) == 0
        shown = capsys.readouterr().out
        assert [verb for verb in ("simulate", "check", "train", "evaluate") if verb not in shown] == []


def test_an_unknown_verb_is_refused(capsys):
    assert main.run_verb(["fly"]) == 2
    captured = capsys.readouterr()
    assert "found: fly" in captured.err
    assert captured.out == ""
