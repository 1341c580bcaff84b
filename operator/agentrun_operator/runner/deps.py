"""What all runs share, and the one list of Jobs and pods that is asked for on behalf of all of them."""

import asyncio
import dataclasses
import random
from collections.abc import Callable

import structlog

from agentrun_operator import errors, kube, manifest, settings, tail
from agentrun_operator.runner.announcer import Announcer
from agentrun_operator.runner.logins import Logins
from agentrun_operator.runner.resync import Resync
from agentrun_operator.runner.retention import Caretaker
from agentrun_operator.runner.sources import OwnPod, SecretValues
from agentrun_operator.runner.steps import Step
from agentrun_operator.runner.world import World

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_RESYNC_SECONDS = 300  # at the latest: a gap in a watch is mostly noticed, see ``resync``


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What all runs share. ``reached`` is told of every step; it is there for the chaos suite."""

    config: settings.Settings
    client: kube.KubeClient
    world: World
    tailer: tail.Tailer
    scripts: manifest.Scripts
    own_pod: OwnPod
    secrets: SecretValues
    caretaker: Caretaker
    announcer: Announcer
    reached: Callable[[Step], None] = lambda _step: None
    logins: Logins = dataclasses.field(default_factory=Logins)
    resync: Resync = dataclasses.field(default_factory=Resync)
    tasks: list[asyncio.Task[None]] = dataclasses.field(default_factory=list)

    async def close(self) -> None:
        """Let go of files and connections."""
        self.tailer.close()
        self.caretaker.close()
        await self.client.close()

    def __copy__(self) -> "Deps":
        """As a memo of kopf, which copies it for every object: this one is meant to be shared."""
        return self


async def keep_in_sync(deps: Deps, *, once: bool = False) -> None:
    """List all Jobs and pods, so that nothing vanishes unseen: now (``once``), or forever when ``Resync`` says so."""
    if once:
        await _list_at_last(deps)
        return
    while True:
        await deps.resync.due(_RESYNC_SECONDS)
        try:
            await _list_all(deps)
        except errors.ApiError as e:
            _log.warning("resync_failed", error=str(e))
            deps.resync.failed(_RESYNC_SECONDS)
        else:
            _log.debug("resynced")
            deps.resync.done()


async def _list_at_last(deps: Deps) -> None:
    """List until there is an answer: without it nothing can be judged, and kopf would wait a minute for another try."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            await _list_all(deps)
        except errors.ApiError as e:
            wait = max(pause * random.uniform(0.5, 1), getattr(e, "retry_after", 0))  # noqa: S311 - spreads retries
            _log.warning("first_list_failed", error=str(e), again_in=round(wait, 1))
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return


async def _list_all(deps: Deps) -> None:
    known = deps.world.known()
    jobs, pods = [], []
    for namespace in deps.config.watched_namespaces or ("",):
        jobs += await deps.client.list_jobs(namespace)
        pods += await deps.client.list_pods(namespace)
    deps.world.replace_all(jobs, pods, known=known)
    await deps.caretaker.recount()
