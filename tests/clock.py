"""Virtual time for tests of what waits: where an event loop would wait, its clock jumps to the next event.

``virtual`` makes such a test of a coroutine function. Times are those since the test began (``now``); the loop's own
clock says anything then, as a machine's does.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

_BEGINNING = 12345.0  # longer than any period, as on any machine that has not just been started


class _Jump(selectors.DefaultSelector):
    """Where a loop would wait, its time jumps."""

    now = _BEGINNING

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; nothing is waited for."""
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def _make_loop() -> asyncio.AbstractEventLoop:
    jump = _Jump()
    loop = asyncio.SelectorEventLoop(jump)
    loop.time = lambda: jump.now  # type: ignore[method-assign]
    return loop


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that runs on a loop of that kind; whatever it leaves running is cancelled."""

    @functools.wraps(test)
    def run(*args: P.args, **given: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=_make_loop) as runner:
            runner.run(test(*args, **given))

    return run


def now() -> float:
    """The time since the beginning."""
    return asyncio.get_running_loop().time() - _BEGINNING
