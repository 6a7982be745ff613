"""Learning-rate schedules, built from what a configuration gives: a callable that takes the optimizer.

Any schedule of `torch.optim.lr_scheduler` works. Three kinds need something that no configuration can hold, and get it
here: `OneCycleLR` its number of steps (`total_steps: null`), `SequentialLR` (a warm-up) schedules that share one
optimizer, and a training without a schedule a constant one, so that the rate is logged and saved all the same.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler

MakeSchedule: TypeAlias = Callable[[Optimizer], LRScheduler]
Interval: TypeAlias = Literal["epoch", "step"]


def build_schedule(make: MakeSchedule | None, optimizer: Optimizer, training_steps: Callable[[], int]) -> LRScheduler:
    """Return the schedule of an optimizer.

    Args:
        make: Callable that takes the optimizer; None for a constant rate.
        optimizer: Optimizer whose rate is scheduled.
        training_steps: Returns the number of optimizer steps of the whole training; called where `make` is a
            `functools.partial` with `total_steps=None`.
    """
    if make is None:
        return ConstantLR(optimizer, factor=1.0, total_iters=0)
    if not isinstance(make, partial):
        return make(optimizer)
    options = dict(make.keywords)
    if "total_steps" in options and options["total_steps"] is None:
        options["total_steps"] = training_steps()
    if "schedulers" in options:
        options["schedulers"] = [build_schedule(each, optimizer, training_steps) for each in options["schedulers"]]
    schedule: LRScheduler = make.func(optimizer, *make.args, **options)
    return schedule
