from types import SimpleNamespace

import pytest

from nerveseg.errors import ConfigurationError, RunError, StudyError
from nerveseg.files import write_text
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.compose import compose_jobs
from nerveseg.launch.hydra_flags import is_multirun
from nerveseg.workflows import sweep
from nerveseg.workflows.analyse_scores import options_text
from nerveseg.workflows.sweep import train_and_compare
from nerveseg.workflows.training_job import training_job
from tests.helpers.composed import training_jobs as jobs


def places(*typed):
    return [job.folder.path.as_posix() for job in jobs(*typed)]


def test_one_job():
    assert places("fold=0") == ["outputs/demo/fold-0"]


def test_a_range_of_folds():
    assert places("fold=0..3") == [f"outputs/demo/fold-{fold}" for fold in range(4)]
    assert [job.config.fold for job in jobs("fold=0..3")] == [0, 1, 2, 3]


def test_a_grid_is_every_combination_each_with_its_own_configuration():
    grid = jobs("-m", "fold=0,1", "network.growth_rate=8,12", "output_root=here", "seed=5")
    assert [job.folder.path.as_posix() for job in grid] == [
        f"here/demo/network.growth_rate={rate},seed=5/fold-{fold}" for fold in (0, 1) for rate in (8, 12)
    ]
    assert [job.config.network["growth_rate"] for job in grid] == [8, 12, 8, 12]


def test_a_sweep_over_choices_and_experiments():
    found = places("-m", "experiment=demo,paper", "fold=1")
    assert found == ["outputs/demo/fold-1", "outputs/paper/fold-1"]
    assert places("-m", "network=tiramisu,fc_densenet56", "fold=0") == [
        "outputs/demo/network=tiramisu/fold-0",
        "outputs/demo/network=fc_densenet56/fold-0",
    ]


def test_glob_names_the_files_of_a_group():
    assert places("-m", "network=glob(tiramisu*,exclude=*3d*)", "fold=0") == places(
        "-m", "network=tiramisu,tiramisu_small", "fold=0"
    )


def test_hydras_own_ways_to_name_several_values():
    assert places("-m", "fold=range(0,4)") == places("fold=0..3")
    assert places("-m", "fold=choice(0,2)") == ["outputs/demo/fold-0", "outputs/demo/fold-2"]


def test_glob_finds_the_choices_of_the_users_own_folder(tmp_path):
    write_text(tmp_path / "network" / "mine.yaml", "defaults: [tiramisu_small]\ngrowth_rate: 4\n")
    grid = jobs("-m", "fold=0", "network=glob([m*,*u_small])", "--config-dir", str(tmp_path))
    assert sorted(job.config.network["growth_rate"] for job in grid) == [4, 8]


@pytest.mark.parametrize("swept", ["optimization.optimizer.lr=interval(0.1,0.2)", "network=glob(x*)", "seed=glob(*)"])
def test_a_sweep_without_values_is_named(swept):
    with pytest.raises(ConfigurationError) as caught:
        jobs("-m", "fold=0", swept)
    assert caught.value.found.endswith(swept)
    assert "\n" not in str(caught.value)


def test_a_path_of_any_characters_reaches_every_job():
    hard = "a, b=[ü] ${x} 'y'"
    assert {job.folder.path.parts[0] for job in jobs("fold=0,1", "-m", f"output_root={hard}")} == {hard}


@pytest.mark.parametrize("typed", [["fold=7"], ["fold=0..4"], ["fold=abc"], ["network=nosuch"]])
def test_a_mistake_in_any_job_is_found_before_the_first(typed):
    with pytest.raises(ConfigurationError):
        jobs(*typed)


class Recorder:
    """Stands in for Hydra, the study and the comparison: writes scores.csv for the jobs that it completes."""

    def __init__(self, monkeypatch, failing=(), crash=None):
        self.events, self.failing, self.crash = [], failing, crash
        monkeypatch.setattr(sweep, "load_fold", self.load)
        monkeypatch.setattr(
            sweep,
            "compare_cross_validation",
            lambda folder, options, logging: self.events.append(f"compare {folder.name}"),
        )

    def load(self, job):
        self.events.append("study")
        return SimpleNamespace(store=SimpleNamespace(key="the data"))

    def run(self, *typed):
        arguments = to_hydra_overrides("train", typed)
        planned = compose_jobs("train", arguments)

        def run_jobs():
            self.events.append("jobs")
            for job in map(training_job, planned):
                if job.config.fold not in self.failing:
                    job.folder.path.mkdir(parents=True, exist_ok=True)
                    job.folder.scores.touch()
            if self.crash:
                raise self.crash

        train_and_compare(planned, run_jobs, is_multirun(arguments))


@pytest.fixture
def typed(tmp_path):
    small = ["network.first_filters=2", "network.layers_per_block=1", "network.transitions=0"]
    return [f"output_root={tmp_path}", "trainer=cpu", "name=t", *small]


def test_the_study_comes_before_and_the_comparison_after_the_jobs(monkeypatch, typed):
    recorder = Recorder(monkeypatch)
    recorder.run("fold=0..3", *typed)
    assert recorder.events[:2] == ["study", "jobs"], "one study for all folds"
    assert len(recorder.events) == 3
    assert recorder.events[2].startswith("compare network")


def test_a_failing_job_costs_the_others_nothing_and_is_named(monkeypatch, typed):
    recorder = Recorder(monkeypatch, failing=(2,))
    with pytest.raises(RunError) as caught:
        recorder.run("fold=0..3", *typed)
    assert "1 of 4" in caught.value.found
    assert "fold-2" in caught.value.found
    assert "fold-1" not in caught.value.found
    assert recorder.events[-1].startswith("compare")


def test_a_crash_costs_the_others_nothing_and_stays_a_crash(monkeypatch, typed):
    recorder = Recorder(monkeypatch, failing=(1,), crash=RuntimeError("a fault of ours"))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        recorder.run("fold=0..3", *typed)
    assert recorder.events[-1].startswith("compare")


def test_an_interruption_ends_everything_at_once(monkeypatch, typed):
    recorder = Recorder(monkeypatch, crash=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        recorder.run("fold=0..3", *typed)
    assert recorder.events[-1] == "jobs"


def test_one_fold_waits_for_the_others(monkeypatch, typed, capsys):
    recorder = Recorder(monkeypatch)
    recorder.run("fold=1", *typed)
    assert recorder.events == ["study", "jobs"]
    assert "fold 0, 2, 3" in capsys.readouterr().out
    for fold in (0, 2):
        recorder.run(f"fold={fold}", *typed)
    recorder.events.clear()
    recorder.run("fold=3", *typed)
    assert recorder.events[-1].startswith("compare"), "the last one compares, whoever trained it"


def test_what_is_complete_needs_no_study(monkeypatch, typed):
    recorder = Recorder(monkeypatch)
    recorder.run("fold=0..3", *typed)
    recorder.events.clear()
    recorder.run("fold=0..3", *typed)
    assert recorder.events[0] == "jobs"


def test_a_finished_sweep_is_judged_anew_with_other_margins_and_shown_again_with_the_same(monkeypatch, typed, capsys):
    recorder = Recorder(monkeypatch)
    judged = []

    def compare(folder, options, logging):
        judged.append(options.margins.dice)
        write_text(folder / "evaluation" / "presentation.json", options_text(options))
        write_text(folder / "evaluation" / "summary.txt", f"no worse by {options.margins.dice}")

    monkeypatch.setattr(sweep, "compare_cross_validation", compare)
    recorder.run("fold=0..1", *typed, "folds.count=2")
    recorder.failing = range(2)  # the jobs of a finished sweep write nothing
    seen = []
    capsys.readouterr()
    for margins in ([], ["margins.dice=0.1"], ["margins.dice=0.1"], []):
        recorder.run("fold=0..1", *typed, "folds.count=2", *margins)
        seen.append((len(judged), capsys.readouterr().out.strip()))
    assert judged == [0.05, 0.1, 0.05]
    assert seen == [(1, "no worse by 0.05"), (2, ""), (2, "no worse by 0.1"), (3, "")]


def test_a_study_with_faults_stops_before_the_jobs(monkeypatch, typed):
    recorder = Recorder(monkeypatch)

    fault = StudyError("the study's folder exists")

    def broken(job):
        raise fault

    monkeypatch.setattr(sweep, "load_fold", broken)
    with pytest.raises(StudyError) as caught:
        recorder.run("fold=0..3", *typed)
    assert caught.value is fault
    assert recorder.events == []


def test_two_settings_are_compared_apart(monkeypatch, typed):
    recorder = Recorder(monkeypatch)
    recorder.run("fold=0..3", "-m", "seed=1,2", *typed)
    assert recorder.events.count("study") == 1
    compared = [event for event in recorder.events if event.startswith("compare")]
    assert len(compared) == 2
    assert ["seed=1" in compared[0], "seed=2" in compared[1]] == [True, True]


def test_precision_changes_the_result_and_so_the_folder_but_a_device_does_not():
    assert places("fold=0", "trainer=cpu", "trainer.workers=0", "trainer.accelerator=cpu") == places("fold=0")
    assert places("fold=0", "trainer.precision=bf16-mixed") == ["outputs/demo/trainer.precision=bf16-mixed/fold-0"]


def test_an_option_that_the_network_does_not_take_is_found_before_the_first_job(monkeypatch, typed):
    recorder = Recorder(monkeypatch)
    with pytest.raises(ConfigurationError) as caught:
        recorder.run("fold=0..3", "network.growth_rat=1", *typed)
    assert (caught.value.found, caught.value.remedy) == ("network.growth_rat", "did you mean network.growth_rate")
    assert recorder.events == []
