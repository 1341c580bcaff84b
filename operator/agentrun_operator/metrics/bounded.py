"""A metric whose labels cannot grow without limit, whatever users, agents and servers write.

A time series costs memory here and in Prometheus for as long as the process lives. So each metric takes the first
``MOST`` combinations of its free labels, and counts all others as ``other``: sums stay right, only who is lost.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

MOST = 500
OTHER = "other"
_LONGEST = 64  # characters of a value; the rest says nothing that a label is good for

M = TypeVar("M", bound=MetricWrapperBase)


class Bounded(Generic[M]):
    """The last ``free`` labels of ``family`` are free. ``overflowed`` is told whenever a value became ``other``."""

    def __init__(self, family: M, *, free: int, overflowed: Callable[[], None], most: int = MOST) -> None:
        self._family: M = family
        self._free = free
        self._most = most
        self._overflowed = overflowed
        self._known: set[tuple[str, ...]] = set()

    def labels(self, *values: str) -> M:
        """The time series with these values, in the order of the labels."""
        if not self._free:
            return self._family.labels(*values) if values else self._family
        fixed, free = values[: -self._free], tuple(value[:_LONGEST] for value in values[-self._free :])
        if free not in self._known:
            if len(self._known) >= self._most:
                self._overflowed()
                free = (OTHER,) * self._free
            else:
                self._known.add(free)
        return self._family.labels(*fixed, *free)
