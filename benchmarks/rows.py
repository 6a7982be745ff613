"""One form for what every benchmark measured: a row with ours, the baseline, their ratio, its spread and the target.

Ours and the baseline are measured in turn in one run, so that what disturbs one disturbs the other, and a ratio is the
median over the rounds. `python benchmarks/table.py` reads the files that `write_rows` leaves below outputs/bench/.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parents[1] / "outputs" / "bench"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        row: What is measured.
        ours: Our figure in words, with its unit.
        baseline: The baseline's figure in words, or what the baseline is.
        ratio: Median over the rounds; None where there is none to make.
        low: Smallest ratio of the rounds.
        high: Largest ratio of the rounds.
        target: The smallest ratio that is good enough, or the target in words ("under 2 s").
        unit: What `ratio` counts: "times", "s", "share".
        note: Anything a reader has to know.
        reached: Whether the target is met; worked out from the ratio where the target is a number.
    """

    row: str
    ours: str
    baseline: str
    ratio: float | None
    low: float
    high: float
    target: float | str
    unit: str = "times"
    note: str = ""
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        """reached, missed, or nothing where it cannot be told."""
        reached = self.reached
        if reached is None and self.ratio is not None and not isinstance(self.target, str):
            reached = self.ratio >= self.target
        return "" if reached is None else "reached" if reached else "MISSED"

    def __str__(self) -> str:
        """The line that a script prints."""
        ratio = "" if self.ratio is None else f", {self.ratio:.3g} {self.unit} ({self.low:.3g} to {self.high:.3g})"
        target = self.target if isinstance(self.target, str) else f"{self.target:g}"
        note = f" [{self.note}]" if self.note else ""
        return f"{self.row}: ours {self.ours}, baseline {self.baseline}{ratio}; target {target} {self.verdict}{note}"


def compared(
    row: str, ours_s: Sequence[float], baseline_s: Sequence[float], target: float | str, note: str = ""
) -> Row:
    """A row from the seconds of both sides, round by round; the ratio says how many times faster ours is."""
    ratios = [slow / fast for slow, fast in zip(baseline_s, ours_s, strict=True)]
    ours, baseline = f"{median(ours_s):.3g} s", f"{median(baseline_s):.3g} s"
    return Row(row, ours, baseline, median(ratios), min(ratios), max(ratios), target, note=note)


def write_rows(rows: Sequence[Row], path: Path, machine: str | None = None) -> None:
    """Leave the rows of one script, and the machine they were measured on, as JSON.

    Args:
        rows: In the table's order.
        path: Usually `RESULTS / "name.json"`.
        machine: The device in words; default `this_machine()`.
    """
    content = {"rows": [asdict(row) for row in rows], "machine": machine or this_machine()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> tuple[list[Row], str]:
    """The rows of a file, and the machine they were measured on."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Row(**row) for row in content["rows"]], content["machine"]


def this_machine() -> str:
    """Processor, cores that this process may use, and the load at this moment."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return f"{_processor()}, {os.cpu_count()} cores, {platform.machine()}, load {load:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.system()
