"""An archive in shards: which scans fall to a job, what it leaves behind, and one table over all.

The shard of a scan is the SHA-256 of its path, modulo their number (of a subject without a scan, that of its id). So it
does not depend on the other scans: those that are added while jobs run, or before the next run, move none. Shards
differ a little in size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nerveseg.console import say
from nerveseg.errors import ConfigurationError, RunError
from nerveseg.files import wait_for_lock, write_csv
from nerveseg.scans.batch import TABLE
from nerveseg.workflows.failures import read_failure, record_failure
from nerveseg.workflows.segment_config import SegmentConfig

FOLDER = "shards"
LOCK = ".collecting"


@dataclass(frozen=True)
class Shard:
    """One part of an archive.

    Attributes:
        number: From 0 up.
        of: How many there are.
    """

    number: int
    of: int

    def holds(self, path: str) -> bool:
        """Whether a scan falls to this shard."""
        return int(hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest(), 16) % self.of == self.number

    def table(self, root: Path) -> Path:
        """A row for each of its scans; written last."""
        return root / FOLDER / f"shard-{self.number}-of-{self.of}.csv"

    def failure(self, root: Path) -> Path:
        """Why it failed, if it did."""
        return root / FOLDER / f"shard-{self.number}-of-{self.of}.failure.json"


def chosen_shard(config: SegmentConfig) -> Shard | None:
    """The shard that a configuration names; None where the whole is to be segmented.

    Raises:
        ConfigurationError: It is no number below that of the shards.
    """
    number, of = config.shard, config.shards
    if number is None and of is None:
        return None
    if number is None or of is None or not 0 <= number < of:
        raise ConfigurationError(
            "shard is a number from 0 to shards - 1",
            found=f"shard={number}, shards={of}",
            remedy="-m shard=0..15 runs all of sixteen; shard=3 shards=16 one of them",
        )
    return Shard(number, of)


@contextmanager
def shard_recorded(config: SegmentConfig) -> Iterator[None]:
    """Keep why a shard fails beside its table."""
    shard = chosen_shard(config)
    if shard is None:
        yield
        return
    with record_failure(shard.failure(config.results_root)):
        yield


def collect_if_complete(config: SegmentConfig) -> bool:
    """Write the table over all shards when all of theirs are there; whoever ends last does.

    Args:
        config: Of any of the jobs.

    Returns:
        Whether it is written.
    """
    shard, root = chosen_shard(config), config.results_root
    if shard is None:
        return False
    with wait_for_lock(root / FOLDER / LOCK):
        shards = [Shard(number, shard.of) for number in range(shard.of)]
        missing = [str(each.number) for each in shards if not each.table(root).is_file()]
        if missing:
            say(f"the table follows when shard {', '.join(missing)} is done too")
            return False
        parts = [pd.read_csv(each.table(root), dtype="string", keep_default_na=False) for each in shards]
        table = pd.concat(parts, ignore_index=True).sort_values(["scan", "side"], kind="stable")
        write_csv(root / TABLE, table)
    failed = table[table["status"] == "failed"]
    counts = table.drop_duplicates("scan")["status"].value_counts(sort=False)
    said = ", ".join(f"{number} {status}" for status, number in counts.items()) or "no scans"
    say(f"{shard.of} shards: {said}")
    for scan, why in zip(failed["scan"], failed["error"], strict=True):
        say(f"  {scan}: {why}")
    say(f"table: {root / TABLE}")
    return True


def raise_failures(shards: list[Shard], root: Path) -> None:
    """Say which shards and scans failed, and why.

    Args:
        shards: Which were to be segmented now.
        root: Of all results.

    Raises:
        RunError: Not all shards are complete, or scans failed.
    """
    failed = [shard for shard in shards if not shard.table(root).is_file() or shard.failure(root).is_file()]
    for shard in failed:
        why = read_failure(shard.failure(root))
        say(f"failed: shard {shard.number}: {why}")
    if failed:
        raise RunError(
            "every shard of an archive ends well",
            found=f"{len(failed)} of {len(shards)} failed: {', '.join(str(shard.number) for shard in failed)}",
            path=root,
            remedy="mend what the lines above say; the same command does only what is missing",
        )
