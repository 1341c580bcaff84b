"""What holds for every unit test: the threads it started end with it (tests/unit/test_tail.py counts them)."""

from collections.abc import Iterator

import pytest

from tests import deps


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """Close what ``deps.make`` made."""
    yield
    deps.close_all()
