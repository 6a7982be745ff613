import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.training.checkpointed_loggers import MetricsCsv, parse_metrics, read_metrics


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fold-0" / "metrics.csv"


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def steps(path):
    return [int(row["step"]) for row in rows(path)]


def log(logger, first, last, value=0.5):
    for step in range(first, last):
        logger.log_metrics({"train/loss": value, "epoch": step // 3}, step)


def test_values_of_one_step_share_a_row_and_columns_come_as_they_appear(path):
    logger = MetricsCsv(path)
    logger.log_metrics({"train/loss": 0.5}, 0)
    logger.log_metrics({"rate": 0.1}, 0)
    logger.log_metrics({"train/loss": 0.25, "later": 3}, 1)
    logger.commit()
    assert path.read_text(encoding="utf-8") == "step,train/loss,rate,later\n0,0.5,0.1,\n1,0.25,,3\n"


def test_nothing_is_written_before_a_checkpoint(path):
    logger = MetricsCsv(path)
    log(logger, 0, 4)
    assert not path.exists()
    logger.commit()
    assert steps(path) == [0, 1, 2, 3]


def test_a_run_that_failed_leaves_what_its_last_checkpoint_had(path):
    logger = MetricsCsv(path)
    log(logger, 0, 4)
    logger.commit()
    log(logger, 4, 6)
    logger.finalize("failed")
    assert steps(path) == [0, 1, 2, 3]
    logger.finalize("success")
    assert steps(path) == [0, 1, 2, 3, 4, 5]


def test_a_resumed_run_neither_doubles_nor_loses_a_step(path):
    """Ten steps, the last checkpoint before step 6, its commit lost; the run that goes on starts at step 6."""
    first = MetricsCsv(path)
    log(first, 0, 3)
    first.commit()
    log(first, 3, 6)
    checkpoint = first.text()
    log(first, 6, 10)
    second = MetricsCsv(path)
    second.restore(checkpoint, 6)
    log(second, 6, 12, value=0.25)
    second.finalize("success")
    assert steps(path) == list(range(12))
    assert [row["train/loss"] for row in rows(path)] == ["0.5"] * 6 + ["0.25"] * 6


def test_a_file_that_is_ahead_of_the_checkpoint_is_cut_back(path):
    first = MetricsCsv(path)
    log(first, 0, 6)
    checkpoint = first.text()
    log(first, 6, 10)
    first.commit()
    MetricsCsv(path).restore(checkpoint, 6)
    assert steps(path) == list(range(6))


def test_a_checkpoint_of_an_earlier_version_has_no_history_of_its_own(path):
    first = MetricsCsv(path)
    log(first, 0, 10)
    first.commit()
    second = MetricsCsv(path)
    second.restore(None, 6)
    log(second, 6, 8, value=0.25)
    second.commit()
    assert steps(path) == list(range(8))


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.integers(0, 10))
def test_a_resumed_file_is_that_of_an_undisturbed_run_to_the_last_bit(values, cut):
    straight, first, second = (MetricsCsv(Path("metrics.csv")) for _ in range(3))
    for step, value in enumerate(values):
        straight.log_metrics({"train/loss": value, "epoch": step // 2}, step)
    for step, value in enumerate(values[:cut]):
        first.log_metrics({"train/loss": value, "epoch": step // 2}, step)
    second.rows = parse_metrics(first.text())
    for step, value in enumerate(values[cut:], start=cut):
        second.log_metrics({"train/loss": value, "epoch": step // 2}, step)
    assert second.text() == straight.text()


def test_a_resume_that_logs_nothing_leaves_the_file(path):
    first = MetricsCsv(path)
    log(first, 0, 3)
    first.finalize("success")
    before = path.read_bytes()
    idle = MetricsCsv(path)
    idle.restore(first.text(), 3)
    idle.finalize("success")
    assert path.read_bytes() == before


def test_what_is_written_is_read_back(path):
    logger = MetricsCsv(path)
    logger.log_metrics({"a": 0.1}, 0)
    logger.log_metrics({"b, c": 2.5}, 4)
    logger.commit()
    assert read_metrics(path) == [{"step": 0, "a": 0.1}, {"step": 4, "b, c": 2.5}]


def test_it_is_a_logger_of_one_version(path):
    logger = MetricsCsv(path)
    logger.log_hyperparams({"anything": object()})
    assert (logger.name, logger.version) == ("metrics", "")
