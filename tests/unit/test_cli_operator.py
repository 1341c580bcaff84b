"""How the operator's process ends: also when kopf does not."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from agentrun_operator import metrics, settings
from agentrun_operator.cli import operator
from tests import fakes


class Kopf:
    """kopf that begins to end as soon as it was started, and comes to it or not."""

    def __init__(self, *, hangs: bool) -> None:
        self.codes: list[int] = []  # of processes that were ended by force
        self.port = 0  # to be looked at while kopf works
        self.scraped = ""
        self.meters: metrics.Metrics | None = None
        self._hangs = hangs
        self._over: Callable[[], object] = lambda: None

    async def run(self, registry: Any, memo: Any, **_: Any) -> None:  # noqa: ANN401 - kopf's own
        """In place of kopf.operator."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._over = lambda: loop.call_soon_threadsafe(over.set)
        for handler in registry._activities.get_all_handlers():  # noqa: SLF001 - kopf has no public way
            if handler.activity.value == "cleanup":
                await handler.fn(memo=memo)
        self.meters = memo.meters
        if self.port:
            self.scraped = await _scrape(self.port)
        if self._hangs:
            await over.wait()

    def end(self, code: int) -> None:
        """In place of os._exit."""
        self.codes.append(code)
        self._over()


def test_as_many_files_may_be_open_as_can_be_allowed() -> None:
    """A process that is started with few may take more."""
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 512)); "
        "from agentrun_operator.cli import operator; operator.allow_open_files(); print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "(512, 512)\n"


async def _scrape(port: int) -> str:
    async with asyncio.timeout(5), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    return await answer.text()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)


def set_up(monkeypatch: pytest.MonkeyPatch, kopf: Kopf) -> fakes.FakeKube:
    """Put both in the place of the real ones; the API in memory."""
    api = fakes.FakeKube()

    async def connect(**_: Any) -> fakes.FakeKube:
        await asyncio.sleep(0)
        return api

    where = "agentrun_operator.cli.operator"
    monkeypatch.setattr(f"{where}.logs.configure", lambda _config: None)  # it is the whole process's, for good
    monkeypatch.setattr(f"{where}.kube.connect", connect)
    monkeypatch.setattr(f"{where}.kopf.operator", kopf.run)
    monkeypatch.setattr(f"{where}.os._exit", kopf.end)
    monkeypatch.setattr(f"{where}._END_SECONDS", 0.05)
    return api


@pytest.mark.parametrize("kopf", [Kopf(hangs=False), Kopf(hangs=True)], ids=["ends", "hangs"])
async def test_the_process_ends_even_if_kopf_does_not(monkeypatch: pytest.MonkeyPatch, kopf: Kopf) -> None:
    """Alive and deaf is worse than started anew. In good order nothing is forced, and all is let go of."""
    api = set_up(monkeypatch, kopf)

    await operator.operate(settings.Settings(data_path=""))

    assert kopf.codes == ([operator.EXIT_HUNG] if kopf._hangs else [])  # noqa: SLF001 - the row of the table
    assert api.closed


async def test_metrics_are_shown_while_the_operator_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the setting says of labels, and with what is asked of its parts; then the port is free again."""
    kopf = Kopf(hangs=False)
    set_up(monkeypatch, kopf)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        kopf.port = probe.getsockname()[1]

    await operator.operate(settings.Settings(data_path="", metrics_port=kopf.port, metrics_labels="agent"))

    for line in ('agentrun_leader{lease=""} 1.0', "agentrun_tail_lag_seconds 0.0", "agentrun_kopf_backlog_runs 0.0"):
        assert line in kopf.scraped.splitlines()
    assert 'agentrun_watch_age_seconds{resource="agentruns",watched="*"}' in kopf.scraped
    assert kopf.meters is not None
    kopf.meters.wrote("x", {}, {"phase": "Failed"})
    assert b'agentrun_runs_finished_total{agent="unknown",code="",phase="Failed"} 1.0' in kopf.meters.render()
    assert b'agentrun_leader{lease=""} 0.0' in kopf.meters.render()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", kopf.port))


def test_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large block is a mapping of its own also after the first was let go of; without glibc nothing happens."""
    code = """
import ctypes
from agentrun_operator.cli import operator

class Info(ctypes.Structure):  # malloc.h, mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks mapped hblkhd a b c d e".split()]

def mapped():
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Info
    return mallinfo().mapped

def grows():
    first = bytearray(1 << 20)
    del first
    before = mapped()
    blocks = [bytearray(256 * 1024) for _ in range(10)]
    return mapped() - before

operator.give_memory_back()
print(grows())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "10\n"
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    operator.give_memory_back()
