"""Divide an archive into shards, one for each job, and collect one table over all shards.

The shard of a scan is the SHA-256 of its path (of a subject without a scan: of its id) modulo the number of shards. It
does not depend on the other scans, so scans that are added later change no other scan's shard. Shards differ a little
in size.
"""

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
    """Part of an archive.

    Attributes:
        number: Number of the part, from 0.
        of: Number of parts.
    """

    number: int
    of: int

    def holds(self, path: str) -> bool:
        """Return true if a scan belongs to this shard."""
        return int(hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest(), 16) % self.of == self.number

    def table(self, root: Path) -> Path:
        """Return the file of its table, with a row for each scan; written last."""
        return root / FOLDER / f"shard-{self.number}-of-{self.of}.csv"

    def failure(self, root: Path) -> Path:
        """Return the file of the shard's error, which exists if the shard failed."""
        return root / FOLDER / f"shard-{self.number}-of-{self.of}.failure.json"


def chosen_shard(config: SegmentConfig) -> Shard | None:
    """Return the shard that a configuration names, or None if the whole archive is segmented.

    Raises:
        ConfigurationError: `shard` is not below `shards`.
    """
    number, of = config.shard, config.shards
    if number is None and of is None:
        return None
    if number is None or of is None or not 0 <= number < of:
        raise ConfigurationError(
            "shard is a number from 0 to shards - 1",
            found=f"shard={number}, shards={of}",
            remedy="-m shard=0..15 runs all of 16 shards; shard=3 shards=16 runs one of them",
        )
    return Shard(number, of)


@contextmanager
def shard_recorded(config: SegmentConfig) -> Iterator[None]:
    """Record the error with which a shard fails beside its table."""
    shard = chosen_shard(config)
    if shard is None:
        yield
        return
    with record_failure(shard.failure(config.results_root)):
        yield


def collect_if_complete(config: SegmentConfig) -> bool:
    """Concatenate the tables of the shards once all exist; the job that finishes last does it.

    Args:
        config: Configuration of any of the jobs.

    Returns:
        Flag: true if the table is written.
    """
    shard, root = chosen_shard(config), config.results_root
    if shard is None:
        return False
    with wait_for_lock(root / FOLDER / LOCK):
        shards = [Shard(number, shard.of) for number in range(shard.of)]
        missing = [str(each.number) for each in shards if not each.table(root).is_file()]
        if missing:
            say(f"the table of all shards is written once shard {', '.join(missing)} is done")
            return False
        parts = [pd.read_csv(each.table(root), dtype="string", keep_default_na=False) for each in shards]
        table = pd.concat(parts, ignore_index=True).sort_values(["scan", "side"], kind="stable")
        write_csv(root / TABLE, table)
    failed = table[table["status"] == "failed"]
    counts = table.drop_duplicates("scan")["status"].value_counts(sort=False)
    text = ", ".join(f"{number} {status}" for status, number in counts.items()) or "no scans"
    say(f"{shard.of} shards: {text}")
    for scan, why in zip(failed["scan"], failed["error"], strict=True):
        say(f"  {scan}: {why}")
    say(f"table: {root / TABLE}")
    return True


def raise_failures(shards: list[Shard], root: Path) -> None:
    """Print the errors of the shards that failed, and raise if any did.

    Args:
        shards: Shards of this command.
        root: Folder of all results.

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
            remedy="correct the errors in the lines above; the same command does only the missing shards",
        )
