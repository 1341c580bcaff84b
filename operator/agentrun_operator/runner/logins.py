"""Credentials for kopf, which asks for new ones whenever the API server refused the last.

A refusal need not be the end: API servers answer 401 while they start, or while what checks their tokens is down. So
the same credentials are handed out again, after a pause that grows, until they work or there are others.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agentrun_operator import kube

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_FORGOTTEN_AFTER_SECONDS = 600.0  # credentials that were good for so long were not refused in vain


class Logins:
    """See the module. ``read`` gives the credentials of this moment."""

    def __init__(self, read: Callable[[], Awaitable[kube.Credentials]] = kube.read_credentials) -> None:
        self._read = read
        self._last: kube.Credentials | None = None
        self._last_at = 0.0  # the event loop's time
        self._pause = 0.0

    async def next(self) -> kube.Credentials:
        """The credentials to go on with. Raises SettingsError."""
        loop = asyncio.get_running_loop()
        found = await self._read()
        if found != self._last or loop.time() - self._last_at > _FORGOTTEN_AFTER_SECONDS:
            self._pause = 0.0
        else:
            self._pause = min(max(self._pause * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(self._pause)
            found = await self._read()
        self._last, self._last_at = found, loop.time()
        return found
