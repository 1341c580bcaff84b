"""When the count of finished runs has to be compared with a list, because the watch may have missed a deletion.

A watch that was down for too long begins anew: kopf lists the AgentRuns and shows each as an event of type None, but
says nothing of those that are missing by now. So such an event is taken as the mark of a gap, and a list is due as soon
as no more of them come. What the watch shows when the operator starts is no gap. A gap of a watch that has nothing to
show leaves no mark, and hides nothing that is counted.
"""

import asyncio
import random

_START_SECONDS = 30.0  # until then, only an object that is shown a second time marks a gap
_QUIET_SECONDS = 1.0  # without a further mark, before the list; and up to as much again, by chance
_LONGEST_SECONDS = 10.0  # from the first mark, however many follow
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0


class Resync:
    """See the module. One task waits for ``due``, lists, and says how that went: so there is never more than one."""

    def __init__(self) -> None:
        self._began: float | None = None  # all times are the event loop's
        self._shown: set[str] = set()  # by uid, during the start
        self._first_mark: float | None = None
        self._last_mark = 0.0
        self._quiet = 0.0
        self._listed_at = 0.0
        self._retry_at: float | None = None
        self._backoff = 0.0
        self._changed = asyncio.Event()

    def saw(self, kind: str | None, uid: str) -> None:
        """A watch has shown an object; ``kind`` is the type of kopf's event, None for an object that was listed."""
        now = self._now()
        if not self._is_mark(kind, uid, now):
            return
        if self._first_mark is None:
            self._first_mark = now
            self._quiet = _QUIET_SECONDS * random.uniform(1, 2)  # noqa: S311 - spreads requests, guards nothing
        self._last_mark = now
        self._changed.set()

    async def due(self, period: float) -> None:
        """Wait until a list is due: soon after a gap, else ``period`` seconds after the last one."""
        while True:
            self._changed.clear()
            now = self._now()
            wait = self._next_at(period) - now
            if wait <= 0:
                self._first_mark = None  # what is marked from now on, the list may not show
                return
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def done(self) -> None:
        """The list was made."""
        self._listed_at, self._retry_at, self._backoff = self._now(), None, 0.0

    def failed(self, period: float) -> None:
        """There was no list: it is due again later, and later still if that fails, but within ``period`` seconds."""
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS, period)
        self._retry_at = self._now() + self._backoff * random.uniform(0.5, 1)  # noqa: S311 - as above

    def _is_mark(self, kind: str | None, uid: str, now: float) -> bool:
        if self._began is not None and now - self._began >= _START_SECONDS:
            self._shown.clear()
            return kind is None
        again = uid in self._shown
        self._shown.add(uid)
        return kind is None and again

    def _next_at(self, period: float) -> float:
        if self._retry_at is not None:
            return self._retry_at
        regular = self._listed_at + period
        if self._first_mark is None:
            return regular
        return min(regular, self._first_mark + _LONGEST_SECONDS, self._last_mark + self._quiet)

    def _now(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = self._listed_at = now
        return now
