"""How many jobs of a sweep come after the one that runs, asked of Hydra."""

from __future__ import annotations

import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from nerveseg.launch.configuration import overrides_of_jobs


def jobs_after_this() -> int:
    """Jobs that this process does later; 0 where there is one, or another process does them side by side."""
    if not HydraConfig.initialized():
        return 0
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or not str(hydra.launcher._target_).endswith("BasicLauncher"):
        return 0
    return max(len(overrides_of_jobs(sys.argv[1:])) - 1 - int(hydra.job.num), 0)
