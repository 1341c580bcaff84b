"""What all runs share, and the one list of Jobs and pods that is asked for on behalf of all of them."""

import asyncio
import dataclasses
from collections.abc import Callable

import structlog

from agentrun_operator import errors, kube, manifest, settings, tail
from agentrun_operator.runner.announcer import Announcer
from agentrun_operator.runner.retention import Caretaker
from agentrun_operator.runner.sources import OwnPod, SecretValues
from agentrun_operator.runner.steps import Step
from agentrun_operator.runner.world import World

_log = structlog.get_logger(__name__)

_RESYNC_SECONDS = 300  # kopf's watch does not tell what vanished while it was reconnecting; a list does


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
    tasks: list[asyncio.Task[None]] = dataclasses.field(default_factory=list)

    def __copy__(self) -> "Deps":
        """As a memo of kopf, which copies it for every object: this one is meant to be shared."""
        return self


async def keep_in_sync(deps: Deps, *, once: bool = False) -> None:
    """List all Jobs and pods now (and, unless ``once``, every five minutes), so that nothing vanishes unseen."""
    while True:
        try:
            known = deps.world.known()
            jobs, pods = [], []
            for namespace in deps.config.watched_namespaces or ("",):
                jobs += await deps.client.list_jobs(namespace)
                pods += await deps.client.list_pods(namespace)
            deps.world.replace_all(jobs, pods, known=known)
        except errors.ApiError as e:
            if once:
                raise
            _log.warning("resync_failed", error=str(e))
        if once:
            return
        await asyncio.sleep(_RESYNC_SECONDS)
