"""What holds for every unit test: the threads it started end with it.

One that goes on would meddle with the tests after it: hypothesis takes a draw for flaky during which another thread
asked ``random``. And no example that hypothesis makes up is held to a time: a busy machine is no fault of the code.
"""

import threading
from collections.abc import Iterator

import hypothesis
import pytest

from tests import deps

hypothesis.settings.register_profile(
    "untimed", hypothesis.settings.default, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


_THREAD_SECONDS = 20.0


@pytest.fixture(autouse=True)
def nothing_stays_behind() -> Iterator[None]:
    """Close what ``deps.make`` made, and see every thread end."""
    before = set(threading.enumerate())
    yield
    deps.close_all()
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(_THREAD_SECONDS)
    assert not [thread for thread in started if thread.is_alive()]
