"""One of several replicas: stands by until the Lease is its own, works, and lets go of it at the end.

A process leads once. When it cannot be sure of the Lease any more it ends on the spot, with its own exit code, and
Kubernetes starts it anew as a candidate: there is no way back from leading to standing by that would have to be right.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn, Protocol
from urllib import parse

import structlog
from aiohttp import web

from agentrun_operator import kube, names, settings

EXIT_LEASE_LOST = 3

_log = structlog.get_logger(__name__)


class Fence(Protocol):
    """What ends a process that may not lead any more."""

    def extend(self, until: float) -> None:
        """Let it live until this moment of the monotonic clock."""

    def open(self) -> None:
        """Let it live: it leads nothing any more."""

    def fall(self, why: str) -> None:
        """End it now."""


class Alarm:
    """The fence of a real process: a timer of the kernel, whose signal comes before anything else that is due.

    A timer of the event loop would wait for its turn behind what is ready already: in a process that was stopped for
    a while, or blocked, that is a whole round of actions of a leader that is none any more.
    """

    def __init__(self) -> None:
        signal.signal(signal.SIGALRM, lambda _number, _frame: self.fall("it could not be renewed in time"))

    def extend(self, until: float) -> None:
        """Let it live until this moment of the monotonic clock."""
        signal.setitimer(signal.ITIMER_REAL, max(until - time.monotonic(), 1e-6))  # 0 would be "never"

    def open(self) -> None:
        """Let it live: it leads nothing any more."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def fall(self, why: str) -> NoReturn:
        """End it now: no clean-up, for what is left to do is the next leader's."""
        try:
            _log.error("lease_lost", why=why, exit_code=EXIT_LEASE_LOST)
        finally:  # the signal may have come while a log line was being written, and two at a time are an error
            os._exit(EXIT_LEASE_LOST)


async def take_turns(
    config: settings.Settings,
    work: Callable[[asyncio.Event], Awaitable[None]],
    *,
    fence: Fence | None = None,
    observe: kube.Observe = kube.nobody,
) -> int:
    """Call ``work`` once this replica leads. Returns the exit code when it is over, or when a signal came before.

    ``work`` gets an event that tells it to stop; it may put its own handlers of SIGTERM and SIGINT in place of ours.
    ``observe`` is told of every request for the Lease.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    terms = kube.Terms(
        namespace=config.pod_namespace,
        name=config.leader_election_lease,
        # With chance, for the container of a pod may be a new one, and must not take itself for the one before.
        identity=f"{config.pod_name or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        lease_seconds=config.leader_election_seconds,
    )
    # A connection of its own: a renewal never waits behind what the runs ask for.
    client = await kube.connect(timeout=terms.round_seconds, observe=observe, program=names.MANAGED_BY)
    fence = fence or Alarm()
    election = kube.Election(client, terms, extend=fence.extend)
    try:
        async with _answering(config.liveness_endpoint):
            await _first(election.acquire(), stop.wait())
        if not stop.is_set():
            await _lead(election, fence, work(stop))
    finally:
        fence.open()
        await election.release()
        await client.close()
    return 0


async def _lead(election: kube.Election, fence: Fence, work: Awaitable[None]) -> None:
    """Work for as long as the Lease is ours."""
    keeping = asyncio.create_task(_keep(election, fence))  # before kopf starts, which ends all tasks that are younger
    try:
        await work
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _keep(election: kube.Election, fence: Fence) -> None:
    try:
        holder = await election.hold()
    except Exception:
        _log.exception("lease_not_kept")  # nobody renews any more: the fence falls
        raise
    fence.fall(f"it is held by {holder}" if holder else "somebody took it away")


async def _first(*awaitables: Awaitable[object]) -> None:
    """Wait for the first; the others are cancelled. Raises what it raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


@contextlib.asynccontextmanager
async def _answering(endpoint: str) -> AsyncIterator[None]:
    """Answer liveness probes as kopf does once it has started."""
    if not endpoint:
        yield
        return
    parts = parse.urlsplit(endpoint)
    app = web.Application()
    app.add_routes([web.get(parts.path, _answer)])
    server = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await server.setup()
    try:
        await web.TCPSite(server, parts.hostname or "localhost", parts.port or 80).start()
        yield
    finally:
        await server.cleanup()


async def _answer(_request: web.Request) -> web.Response:
    return web.json_response({})
