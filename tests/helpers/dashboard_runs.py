"""A run on a logger at its smallest: a label, a process that logs some steps, and one result of each kind."""

import numpy as np
import pandas as pd

from nerveseg.dashboards.loggers import RunLabel, open_logger
from nerveseg.dashboards.publish import Dashboards
from nerveseg.reporting.overlay import save_png

LABEL = RunLabel(
    group="paper", name="paper/fold-0", job_type="train", tags=("synthetic", "x" * 100),
    config={"fold": 0, "network": {"growth_rate": 12}, "data": "2b0f251ace0d4f25"},
)  # fmt: skip


def opened(folder, values, name="mine", plugins=(), label=LABEL):
    return Dashboards([open_logger(name, values, label, folder, folder.parent, plugins)])


def trained(folder, values, first, last, *, failed=False, known=()):
    """A process that resumes from the history of `known` steps, logs further steps and ends."""
    try:
        with opened(folder, values) as dashboards:
            (logger,) = dashboards.loggers
            logger.resume([{"step": step, "train/loss": step / 8} for step in known])
            for step in range(first, last):
                logger.log_metrics({"train/loss": step / 8}, step)
            logger.finalize("success")
            if failed:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert failed


def all_kinds(folder, values):
    """A run that logs everything there is."""
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "weights.safetensors").write_bytes(b"w" * 100)
    save_png(folder / "image.png", np.zeros((4, 4, 3), np.uint8))
    with opened(folder, values) as dashboards:
        print("printed to the console")
        (logger,) = dashboards.loggers
        logger.log_metrics({"train/loss": 0.5}, 0)
        logger.commit()
        dashboards.log_table("test/scores", pd.DataFrame({"subject": ["V01"], "dice": [0.75]}))
        dashboards.log_image("test/overlay/sub-V01", folder / "image.png", "blue: consensus")
        dashboards.log_page("report", "<p>report</p>")
        dashboards.log_model(folder / "bundle", {"weights_sha256": "5eed" * 16})
        dashboards.summarize({"Auto-GT/dice/patient": 0.5})
