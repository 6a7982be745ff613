"""Run the benchmarks and print what they measured as one table.

`python benchmarks/table.py cpu` runs those that a CPU can run (`make bench`, at most ten minutes on two quiet cores),
`python benchmarks/table.py gpu [--device cpu --size tiny]` those for a GPU (`make bench-gpu`), and `python
benchmarks/table.py` prints the table of what lies below outputs/bench/. A benchmark that fails or takes too long is
named, and the others run all the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rows import RESULTS, Row, read_rows

HERE = Path(__file__).parent
SECONDS = 600
"""For all of them together it is the target; for each it is where it is given up."""

CPU = {
    "training_step": ["--size", "demo"],
    "inference": [],
    "augmentation": [],
    "preparation": [],
    "startup": [],
}
"""Scripts that a CPU can run, and their options here."""


def main() -> None:
    """Run what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["cpu", "gpu"])
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"], help="of the rows for a GPU")
    parser.add_argument("--size", default="paper", choices=["paper", "tiny"], help="likewise")
    parser.add_argument("--results", type=Path, help="folder of the JSON files; tiny ones lie apart from the others")
    options = parser.parse_args()
    options.results = options.results or (RESULTS if options.size == "paper" else RESULTS / options.size)
    failed = []
    if options.what == "cpu":
        failed = [name for name, extra in CPU.items() if not ran(name, extra, options.results)]
    elif options.what == "gpu":
        check_gpu(options.device)
        failed = [
            f"{name}, GPU" for name, extra in gpu(options.device, options.size) if not ran(name, extra, options.results)
        ]
    rows, machines = collected(options.results)
    Console(width=None if sys.stdout.isatty() else 200).print(table(rows, machines))
    if failed:
        raise SystemExit(f"not measured in this run: {', '.join(failed)}")


def check_gpu(device: str) -> None:
    """Say what is missing before anything is run."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "bench-gpu: the rows for a GPU need one that PyTorch can use; found: none.\n"
            "Remedy: run it where there is one, or try the scripts with make bench-gpu DEVICE=cpu SIZE=tiny"
        )


def gpu(device: str, size: str) -> list[tuple[str, list[str]]]:
    """Scripts with rows for a GPU, and their options."""
    tiny = size == "tiny"
    on = ["--device", device]
    return [
        ("training_step", [*on, "--size", size, "--rounds", "2" if tiny else "20"]),
        ("one_fold", [*on, "--size", size, *(["--steps", "4", "--workers", "0"] if tiny else [])]),
        ("augmentation", [*on, *(["--size", "32", "--rounds", "2"] if tiny else [])]),
    ]


def ran(name: str, extra: Sequence[str], results: Path) -> bool:
    """Run a script, which prints its rows and writes them; whether it came to its end."""
    script = HERE / f"{name}.py"
    if not script.is_file():
        return False
    print(f"{name} {' '.join(extra)}".rstrip(), flush=True)
    suffix = "_gpu" if "--device" in extra else ""
    command = [sys.executable, str(script), *extra, "--json", str(results / f"{name}{suffix}.json")]
    try:
        return subprocess.run(command, timeout=SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def collected(results: Path) -> tuple[list[Row], list[str]]:
    """All rows below a folder, and the machine of each."""
    rows, machines = [], []
    for path in sorted(results.glob("*.json")):
        of_file, machine = read_rows(path)
        rows += of_file
        machines += [machine] * len(of_file)
    return rows, machines


def table(rows: Sequence[Row], machines: Sequence[str]) -> Table:
    """Row, ours, baseline, ratio with its spread, target; the machines below it."""
    drawn = Table(caption="\n".join(dict.fromkeys(machines)) or "nothing was measured yet", caption_justify="left")
    for heading in ("row", "ours", "baseline", "ratio (low to high)", "target", "", "note"):
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} {row.unit} ({row.low:.3g} to {row.high:.3g})"
        target = row.target if isinstance(row.target, str) else f"{row.target:g}"
        drawn.add_row(row.row, row.ours, row.baseline, ratio, target, row.verdict, row.note)
    return drawn


if __name__ == "__main__":
    main()
