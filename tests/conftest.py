"""Fixtures that several test files share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("nerveseg", deadline=None, database=None, max_examples=50)
settings.load_profile("nerveseg")

SHARED_DATA = Path(os.environ.get("NERVESEG_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A folder of real data or oracle values beside the repository; the test skips where it is absent."""

    def folder(name: str) -> Path:
        if not (SHARED_DATA / name).exists():
            pytest.skip(f"no shared data: {name} is not there (NERVESEG_DATA names the folder)")
        return SHARED_DATA / name

    return folder
