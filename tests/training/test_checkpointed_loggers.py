from pytorch_lightning.loggers.logger import Logger

from nerveseg.training.checkpointed_loggers import CheckpointedLogger


class Backend(Logger):
    """Cannot be rewound; has what earlier processes sent."""

    name, version = "backend", 7

    def __init__(self, sent=()):
        super().__init__()
        self.sent = list(sent)
        self.status = self.params = None

    def log_metrics(self, metrics, step=None):
        self.sent.append((step, dict(metrics)))

    def log_hyperparams(self, params):
        self.params = params

    def finalize(self, status):
        self.status = status

    def steps(self):
        return [step for step, _ in self.sent]


def log(logger, first, last):
    for step in range(first, last):
        logger.log_metrics({"rate": 0.1}, step)
        logger.log_metrics({"loss": step / 8}, step)


def rows(last):
    return [{"step": step, "rate": 0.1, "loss": step / 8} for step in range(last)]


def test_nothing_arrives_before_a_checkpoint_and_a_step_arrives_in_one_piece():
    backend = Backend()
    logger = CheckpointedLogger(backend)
    log(logger, 0, 3)
    logger.save()
    assert backend.sent == []
    logger.commit()
    assert backend.sent == [(step, {"rate": 0.1, "loss": step / 8}) for step in range(3)]
    logger.commit()
    assert len(backend.sent) == 3


def test_what_lightning_logs_again_behind_the_checkpoint_is_not_doubled():
    backend = Backend()
    logger = CheckpointedLogger(backend)
    log(logger, 0, 3)
    logger.commit()
    logger.log_metrics({"loss": 0.25}, 2)
    log(logger, 3, 5)
    logger.commit()
    assert backend.steps() == [0, 1, 2, 3, 4]


def test_a_failed_training_sends_nothing_more_and_a_finished_one_the_rest_and_the_run_is_still_open():
    for status, steps in (("failed", []), ("success", [0, 1])):
        backend = Backend()
        logger = CheckpointedLogger(backend)
        log(logger, 0, 2)
        logger.finalize(status)
        assert (backend.steps(), backend.status) == (steps, None)


def test_a_resumed_run_sends_what_the_backend_lacks_of_the_checkpoints_history():
    """The backend lost what it was sent after step 3; the commit of steps 4 and 5 was never made."""
    backend = Backend([(step, {}) for step in range(4)])
    logger = CheckpointedLogger(backend, last_step=3)
    logger.resume(rows(6))
    assert backend.sent[4:] == [(step, {"rate": 0.1, "loss": step / 8}) for step in (4, 5)]
    log(logger, 6, 8)
    logger.commit()
    assert backend.steps() == list(range(8))


def test_a_backend_ahead_of_the_checkpoint_gets_its_steps_not_again():
    backend = Backend([(step, {}) for step in range(9)])
    logger = CheckpointedLogger(backend, last_step=8)
    logger.resume(rows(6))
    log(logger, 6, 12)
    logger.finalize("success")
    assert backend.steps() == list(range(12))


def test_names_are_the_loggers_own_and_hyperparameters_stay_here():
    backend = Backend()
    logger = CheckpointedLogger(backend)
    logger.log_hyperparams({"path": "/home/smith"})
    assert (logger.name, logger.version, logger.save_dir, logger.experiment) == ("backend", 7, None, None)
    assert backend.params is None


def test_rows_of_one_step_are_one_call():
    backend = Backend()
    logger = CheckpointedLogger(backend)
    logger.resume([*rows(2), {"step": 1, "slices_per_s": 9.0}])
    assert backend.sent == [(0, {"rate": 0.1, "loss": 0.0}), (1, {"rate": 0.1, "loss": 0.125, "slices_per_s": 9.0})]
