"""What holds for every unit test: the threads it started end with it (tests/unit/test_tail.py counts them).

And no example that hypothesis makes up is held to a time: a busy machine is no fault of the code.
"""

from collections.abc import Iterator

import hypothesis
import pytest

from tests import deps

hypothesis.settings.register_profile(
    "untimed", hypothesis.settings.default, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """Close what ``deps.make`` made."""
    yield
    deps.close_all()
