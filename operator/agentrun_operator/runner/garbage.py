"""Collect the garbage that ended runs leave behind, before there is much of it.

What kopf keeps of a run (its object with views of it, patches, the daemon's flags) refers to itself in circles. Python
looks for such garbage among all objects only when those that came since the last time are a quarter of all, so it
comes in waves while runs come and go, and each wave leaves the memory of the process in smaller pieces (docs/adr/0020).
"""

import asyncio
import gc

_RUNS = 200  # a collection holds everything up for some tenths of a second while hundreds of runs live
_SOON_SECONDS = 1.0  # kopf still has the last run for a moment


class Garbage:
    """Counts the runs that were let go of."""

    def __init__(self) -> None:
        self._left = 0

    def leave(self) -> None:
        """A run is not followed any more."""
        self._left += 1
        if self._left >= _RUNS:
            self._left = 0
            asyncio.get_running_loop().call_later(_SOON_SECONDS, gc.collect)
