"""The form of the benchmarks' results, the table made of them, and each script once at a tiny size."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def row():
    from rows import Row

    return Row("a row", "1 s", "3 s", 3.0, 2.5, 3.5, 2.5, note="quiet")


def run(script, *arguments):
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=BENCHMARKS.parent)


def main(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    importlib.import_module(script).main()


def test_rows_come_back_as_they_were_written(tmp_path, row):
    from rows import read_rows, write_rows

    write_rows([row], tmp_path / "deep" / "rows.json", "a machine")
    assert read_rows(tmp_path / "deep" / "rows.json") == ([row], "a machine")
    assert json.loads((tmp_path / "deep" / "rows.json").read_text())["rows"][0]["ratio"] == 3.0


def test_a_ratio_is_the_median_of_the_rounds():
    from rows import compared

    row = compared("a", [1.0, 2.0, 4.0], [4.0, 6.0, 4.0], 2.5)
    assert (row.ratio, row.low, row.high, row.ours, row.baseline) == (3.0, 1.0, 4.0, "2 s", "4 s")
    assert row.verdict == "reached"


@pytest.mark.parametrize(
    ("ratio", "target", "reached", "verdict"),
    [(3.0, 3.0, None, "reached"), (2.9, 3.0, None, "MISSED"), (None, 3.0, None, ""), (3.0, "under 2 s", None, ""),
     (0.2, "under 2 s", True, "reached"), (9.0, 3.0, False, "MISSED")],
)  # fmt: skip
def test_the_verdict_is_the_targets(ratio, target, reached, verdict):
    from rows import Row

    assert Row("a", "", "", ratio, 0.0, 9.0, target, reached=reached).verdict == verdict


def test_the_table_shows_every_file(tmp_path, row):
    from rows import write_rows

    write_rows([row], tmp_path / "one.json", "machine A")
    write_rows([row], tmp_path / "two.json", "machine B")
    shown = run("table", "--results", tmp_path)
    assert shown.returncode == 0
    assert shown.stdout.count("3 times (2.5 to 3.5)") == 2
    assert shown.stdout.count("reached") == 2
    assert "machine A" in shown.stdout
    assert "machine B" in shown.stdout


def test_nothing_measured_is_no_error(tmp_path):
    assert "nothing was measured yet" in run("table", "--results", tmp_path).stdout


@pytest.mark.parametrize(("script", "arguments"), [
    ("table", ["gpu"]), ("training_step", ["--device", "cuda"]), ("one_fold", []),
])  # fmt: skip
def test_rows_for_a_gpu_need_one_and_say_so(monkeypatch, script, arguments):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="found: none"):
        main(monkeypatch, script, *arguments)


def test_the_least_bytes_are_those_of_the_convolutions():
    """One block of one layer, written down: 1 to 3 maps, 3 to 2 maps, 2 to 2 maps, each of 25 pixels."""
    from training_step import least_bytes

    from nerveseg.networks.fc_densenet import FCDenseNet

    network = FCDenseNet(first_filters=3, growth_rate=2, layers_per_block=1, transitions=0)
    inputs, outputs = 1 + 3 + 2, 3 + 2 + 2
    assert least_bytes(network, (5, 5), slices=4, bytes_each=2) == (3 * inputs + 2 * outputs) * 25 * 4 * 2


def test_one_fold_of_the_paper_has_293_steps_an_epoch():
    from one_fold import FOLDS

    assert FOLDS["paper"].steps == 100 * 293


def test_a_script_that_fails_is_named_and_the_others_run(monkeypatch, tmp_path, capfd):
    table = importlib.import_module("table")
    for name, body in (("good", "print('measured', *sys.argv[1:])"), ("bad", "sys.exit(3)")):
        (tmp_path / f"{name}.py").write_text(f"import sys; {body}")
    monkeypatch.setattr(table, "HERE", tmp_path)
    monkeypatch.setattr(table, "CPU", {"bad": [], "missing": [], "good": ["--rounds", "3"]})
    with pytest.raises(SystemExit, match="not measured in this run: bad, missing"):
        main(monkeypatch, "table", "cpu", "--results", tmp_path / "results")
    assert f"measured --rounds 3 --json {tmp_path / 'results' / 'good.json'}" in capfd.readouterr().out


def test_every_script_of_the_table_exists_and_takes_its_options(monkeypatch, capsys):
    table = importlib.import_module("table")
    for name, options in [*table.CPU.items(), *table.gpu("cpu", "tiny"), *table.gpu("cuda", "paper")]:
        with pytest.raises(SystemExit, match="0"):
            main(monkeypatch, name, "--help")
        text = capsys.readouterr().out
        assert [option for option in [*options, "--json"] if option.startswith("--") and option not in text] == []


@pytest.mark.filterwarnings("ignore")
def test_the_training_step_is_measured_compiled_and_eager(monkeypatch, tmp_path, capsys):
    training_step = importlib.import_module("training_step")
    compiled = []
    monkeypatch.setattr(training_step, "compile_or_explain", lambda network, *_: compiled.append(network) or network)
    main(monkeypatch, "training_step", "--size", "tiny", "--rounds", 1, "--json", tmp_path / "rows.json")
    from rows import read_rows

    (row,), _ = read_rows(tmp_path / "rows.json")
    assert len(compiled) == 1
    assert row.ratio > 0
    assert row.verdict == "", "the row has no target to miss"
    assert str(row) in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_one_fold_is_projected_from_some_steps(monkeypatch, tmp_path):
    main(monkeypatch, "one_fold", "--device", "cpu", "--size", "tiny", "--steps", 4, "--workers", 0,
         "--json", tmp_path / "rows.json")  # fmt: skip
    from rows import read_rows

    (row,), _ = read_rows(tmp_path / "rows.json")
    assert "projected from 4 steps; waited for data" in row.note
    assert (row.ratio, row.verdict) == (None, "")
    torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore")
def test_a_whole_fold_is_trained_in_parts(monkeypatch, tmp_path, capsys):
    arguments = ["--device", "cpu", "--size", "tiny", "--full", "--workers", 0, "--minutes", 0,
                 "--folder", tmp_path / "fold", "--json", tmp_path / "rows.json"]  # fmt: skip
    for part in (1, 2):
        main(monkeypatch, "one_fold", *arguments)
        assert f"trained {part} of 2 epochs" in capsys.readouterr().out
    torch.use_deterministic_algorithms(False)


def test_the_phantoms_benchmark_writes_whole_subjects():
    import phantom

    from nerveseg.phantom.cohort import CohortSpec

    spec = yaml.safe_load((BENCHMARKS.parent / "conf" / "cohort" / "tiny.yaml").read_text(encoding="utf-8"))
    seconds, megabytes = phantom.whole_subject(CohortSpec(**spec))
    assert seconds > 0
    assert megabytes > 0
