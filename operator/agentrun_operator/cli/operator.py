"""``agentrun operator``: the operator itself, until it is told to stop."""

import argparse
import asyncio
import contextlib
import ctypes
import functools
import gc
import os
import resource
import textwrap
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import kopf
import structlog

from agentrun_operator import entry, handlers, kube, logs, manifest, metrics, names, runner, settings, tail, traces
from agentrun_operator.cli import replica

EXIT_HUNG = 4
_END_SECONDS = 15.0  # from the moment that kopf begins to end; in good order it takes one or two

# By default Python looks for garbage 2,000 times while 1,440 runs are taken up, and finds next to nothing.
_GC_THRESHOLDS = 10_000, 10, 5
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 128 * 1024  # as malloc.h has the one, and glibc begins with the other

_log = structlog.get_logger(__name__)


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    listing = "\n".join(
        textwrap.fill(
            f"{settings.PREFIX}{name.upper()} (default {field.default!r}): {field.description}",
            width=100,
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, field in settings.Settings.model_fields.items()
    )
    parser = commands.add_parser(
        "operator",
        help="run the operator",
        description="Run the operator in this process until SIGTERM or SIGINT. It leaves all Jobs alone when it stops.",
        epilog=f"Settings are environment variables:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=lambda _arguments: asyncio.run(operate(settings.from_environ(os.environ))))


async def operate(config: settings.Settings, *, reached: Callable[[runner.Step], None] = lambda _step: None) -> int:
    """Be the operator until a signal ends it. Returns the exit code; ``reached`` is told of every step of a run."""
    logs.configure(config)
    allow_open_files()
    give_memory_back()
    for variable in settings.unknown(os.environ):
        _log.warning("unknown_setting", variable=variable)
    meters = metrics.Metrics(config)
    async with traces.sending(config, os.environ) as told, metrics.serving(meters, config.metrics_port):
        work = functools.partial(_work, functools.partial(_prepare, config, meters, told, reached))
        if config.leader_election_lease:
            return await replica.take_turns(config, work, observe=meters.api("election"))
        await work()
    return 0


def allow_open_files() -> None:
    """Allow as many open files as may be allowed: each live run has its log open, and a usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def give_memory_back() -> None:
    """Have the C library return a large block of memory to the system when it is let go of.

    By itself glibc does so only once: then it takes blocks of that size for usual, and what a rush of runs has used for
    connections and answers stays in pieces between what is kept. Other C libraries have no such setting.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


async def _work(prepare: Callable[[], Awaitable[runner.Deps]], stop: asyncio.Event | None = None) -> None:
    deps = await prepare()
    config, meters = deps.config, deps.meters
    registry = kopf.OperatorRegistry()
    handlers.register(registry)
    if stop is not None:

        async def free(**_: object) -> None:  # noqa: RUF029 - kopf would run a plain function in a thread
            stop.set()

        # kopf leaves its task that waits for the flag alone, and at the end waits five seconds for it in vain.
        kopf.on.cleanup(registry=registry)(free)
    meters.lead()
    gc.collect()
    gc.freeze()  # what was loaded so far stays, and need not be looked through for garbage again and again
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        with _limit_to_the_end(registry):
            await kopf.operator(
                registry=registry,
                memo=deps,
                standalone=True,
                clusterwide=not config.watched_namespaces,
                namespaces=config.watched_namespaces,
                liveness_endpoint=config.liveness_endpoint or None,
                stop_flag=stop,
            )
    finally:
        meters.lead(leading=False)
        await deps.close()


async def _prepare(
    config: settings.Settings,
    meters: metrics.Metrics,
    told: traces.Traces,
    reached: Callable[[runner.Step], None],
) -> runner.Deps:
    """Make what all runs share, and have what it can be asked shown."""
    watches = 2 * (len(config.watched_namespaces) or 1)  # of Jobs and of pods
    client = await kube.connect(
        timeout=config.request_timeout_seconds, watches=watches, observe=meters.api("own"), program=names.MANAGED_BY
    )
    own_pod, world = runner.OwnPod(config, client), runner.World()
    deps = runner.Deps(
        config=config,
        client=client,
        world=world,
        tailer=tail.Tailer(config, meters.tailed),
        scripts=manifest.Scripts(run_agent=entry.read("run-agent.sh"), bundle=entry.read("bundle.sh")),
        own_pod=own_pod,
        secrets=runner.SecretValues(config, client, own_pod),
        caretaker=runner.Caretaker(config, client, world.live_logs),
        announcer=runner.Announcer(config, client),
        stragglers=runner.Stragglers(client, world.is_followed, world.jobs),
        leftovers=runner.Leftovers(client),
        meters=meters,
        tracer=told,
        reached=reached,
    )
    meters.pull("agentrun_tail_lag_seconds", deps.tailer.lag)
    meters.pull("agentrun_tail_threads_aside", deps.tailer.threads_aside)
    meters.pull("agentrun_kopf_backlog_runs", deps.stragglers.behind)
    return deps


@contextlib.contextmanager
def _limit_to_the_end(registry: kopf.OperatorRegistry) -> Iterator[None]:
    """Have the process end when kopf does not.

    kopf gives up when one of its watches fails for good (an HTTP 410, a proxy's page in the place of JSON), and then
    may wait for minutes, alive and deaf, for a daemon that is between two tries. Kubernetes starts a process anew.
    """
    timer = threading.Timer(_END_SECONDS, _end)
    timer.daemon = True

    async def begin(**_: object) -> None:  # noqa: RUF029 - kopf would run a plain function in a thread
        timer.start()

    kopf.on.cleanup(registry=registry)(begin)
    try:
        yield
    finally:
        timer.cancel()


def _end() -> None:
    _log.error("exit_forced", after_seconds=_END_SECONDS, exit_code=EXIT_HUNG)
    os._exit(EXIT_HUNG)
