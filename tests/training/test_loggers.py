import csv

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from nerveseg.errors import ConfigurationError
from nerveseg.training.loggers import MetricsFile, read_metrics, wandb_logger


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
    logger = MetricsFile(path)
    logger.log_metrics({"train/loss": 0.5}, 0)
    logger.log_metrics({"rate": 0.1}, 0)
    logger.log_metrics({"train/loss": 0.25, "later": 3}, 1)
    logger.commit()
    assert path.read_text(encoding="utf-8") == "step,train/loss,rate,later\n0,0.5,0.1,\n1,0.25,,3\n"


def test_nothing_is_written_before_a_checkpoint(path):
    logger = MetricsFile(path)
    log(logger, 0, 4)
    assert not path.exists()
    logger.after_save_checkpoint(ModelCheckpoint())
    assert steps(path) == [0, 1, 2, 3]


def test_a_run_that_failed_leaves_what_its_last_checkpoint_had(path):
    logger = MetricsFile(path)
    log(logger, 0, 4)
    logger.after_save_checkpoint(ModelCheckpoint())
    log(logger, 4, 6)
    logger.finalize("failed")
    assert steps(path) == [0, 1, 2, 3]
    logger.finalize("success")
    assert steps(path) == [0, 1, 2, 3, 4, 5]


def test_a_resumed_run_neither_doubles_nor_loses_a_step(path):
    """Ten steps, the last checkpoint before step 6; the run that goes on starts at step 6."""
    first = MetricsFile(path)
    log(first, 0, 6)
    first.after_save_checkpoint(ModelCheckpoint())
    log(first, 6, 10)
    second = MetricsFile(path)
    log(second, 6, 12, value=0.25)
    second.finalize("success")
    assert steps(path) == list(range(12))
    assert [row["train/loss"] for row in rows(path)] == ["0.5"] * 6 + ["0.25"] * 6


def test_a_file_that_is_ahead_of_the_checkpoint_is_cut_back(path):
    first = MetricsFile(path)
    log(first, 0, 10)
    first.commit()
    second = MetricsFile(path)
    log(second, 6, 8, value=0.25)
    second.commit()
    assert steps(path) == list(range(8))


def test_a_resumed_file_is_that_of_an_undisturbed_run(path, tmp_path):
    straight = MetricsFile(tmp_path / "straight.csv")
    log(straight, 0, 9, value=1 / 3)
    straight.finalize("success")
    first = MetricsFile(path)
    log(first, 0, 6, value=1 / 3)
    first.after_save_checkpoint(ModelCheckpoint())
    second = MetricsFile(path)
    log(second, 6, 9, value=1 / 3)
    second.finalize("success")
    assert path.read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_a_second_resume_that_logs_nothing_leaves_the_file(path):
    first = MetricsFile(path)
    log(first, 0, 3)
    first.finalize("success")
    before = path.read_bytes()
    idle = MetricsFile(path)
    idle.finalize("success")
    assert path.read_bytes() == before


def test_saving_a_resumed_run_before_its_first_value_keeps_what_was_there(path):
    first = MetricsFile(path)
    log(first, 0, 3)
    first.finalize("success")
    MetricsFile(path).after_save_checkpoint(ModelCheckpoint())
    assert steps(path) == [0, 1, 2]


def test_what_is_written_is_read_back(path):
    logger = MetricsFile(path)
    logger.log_metrics({"a": 0.1}, 0)
    logger.log_metrics({"b, c": 2.5}, 4)
    logger.commit()
    assert read_metrics(path) == [{"step": 0, "a": "0.1"}, {"step": 4, "b, c": "2.5"}]


def test_it_is_a_logger_of_one_version(path):
    logger = MetricsFile(path)
    logger.log_hyperparams({"anything": object()})
    assert (logger.name, logger.version) == ("metrics", "")


def test_disabled_logging_is_none_and_touches_nothing(tmp_path):
    assert wandb_logger("disabled", "nerveseg", "t", "t/fold-0", tmp_path / "fold-0", {}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["dryrun", "", "Offline"])
def test_an_unknown_mode_is_refused(mode, tmp_path):
    with pytest.raises(ConfigurationError, match=r"logger\.wandb\.mode"):
        wandb_logger(mode, "nerveseg", "t", "t/fold-0", tmp_path, {})


def test_offline_runs_need_no_account_no_network_and_no_answer(tmp_path, monkeypatch):
    """Two folds in one process are two runs; the machine's own settings and keys are out of reach."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks"))
    ids = []
    for fold in (0, 1):
        config = {"fold": fold, "network": {"growth_rate": 12}}
        logger = wandb_logger("offline", "nerveseg", "t", f"t/fold-{fold}", tmp_path / f"fold-{fold}", config)
        assert logger is not None
        run = logger.experiment
        assert (run.group, run.job_type, run.name) == ("t", "train", f"t/fold-{fold}")
        assert run.config["fold"] == fold
        assert run.offline
        logger.log_metrics({"train/loss": 0.5}, 1)
        ids.append(run.id)
        run.finish()
        (file,) = (tmp_path / f"fold-{fold}").glob("wandb/offline-run-*/*.wandb")
        assert file.stat().st_size > 0
    assert ids[0] != ids[1]
