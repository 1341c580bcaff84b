"""What ended runs leave behind is collected after some of them."""

import asyncio
import gc
import weakref

import pytest

from agentrun_operator.runner import garbage


class Circle:
    """Refers to itself, as kopf's objects do."""

    def __init__(self) -> None:
        self.itself = self


async def test_garbage_is_collected_after_so_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each run: it takes long, and everything else waits."""
    monkeypatch.setattr(garbage, "_RUNS", 3)
    monkeypatch.setattr(garbage, "_SOON_SECONDS", 0)
    counted = garbage.Garbage()
    left = weakref.ref(Circle())
    gc.disable()
    try:
        for _ in range(2):
            counted.leave()
            await asyncio.sleep(0.01)
            assert left() is not None
        counted.leave()
        await asyncio.sleep(0.01)
        assert left() is None
        left = weakref.ref(Circle())
        counted.leave()
        await asyncio.sleep(0.01)
        assert left() is not None
    finally:
        gc.enable()
