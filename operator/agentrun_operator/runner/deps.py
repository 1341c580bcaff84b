"""What all runs share, and what goes on beside them."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from agentrun_operator import errors, kube, manifest, metrics, names, settings, shapes, tail, traces
from agentrun_operator.runner import mirrors
from agentrun_operator.runner.announcer import Announcer
from agentrun_operator.runner.garbage import Garbage
from agentrun_operator.runner.leftovers import Leftovers
from agentrun_operator.runner.logins import Logins
from agentrun_operator.runner.resync import Resync
from agentrun_operator.runner.retention import Caretaker
from agentrun_operator.runner.sources import OwnPod, SecretValues
from agentrun_operator.runner.steps import Step
from agentrun_operator.runner.stragglers import Stragglers
from agentrun_operator.runner.world import World

_log = structlog.get_logger(__name__)

_MOST_LISTS = 4
_MOST_MADE, _MOST_STARTED = 16, 10  # Jobs at a time
_RECOUNT_SECONDS = 300  # at the latest: a gap in the watch is mostly noticed, see ``resync``


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
    stragglers: Stragglers
    leftovers: Leftovers
    meters: metrics.Metrics = dataclasses.field(default_factory=metrics.Metrics)
    tracer: traces.Traces = dataclasses.field(default_factory=traces.Traces)
    reached: Callable[[Step], None] = lambda _step: None
    # A list goes through all objects of its namespace: many at a time would hold up everything else.
    lists: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(_MOST_LISTS))
    # Who comes first is through first; all at once would each wait for all others at every step. In a rush most of what
    # the API server can do goes into making Jobs: each that is started brings it more work, by a pod and its node.
    making: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(_MOST_MADE))
    starting: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(_MOST_STARTED))
    written: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)  # statuses, by the runs' uids
    logins: Logins = dataclasses.field(default_factory=Logins)
    garbage: Garbage = dataclasses.field(default_factory=Garbage)
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


def is_ours(deps: Deps, body: Mapping[str, Any]) -> bool:
    """Whether an AgentRun (as JSON) is this operator's, and not another shard's."""
    return deps.config.owns(_agent_key(body))


def _agent_key(body: Mapping[str, Any]) -> str:
    spec = body.get("spec") or {}
    company, agent = spec.get("companyId", ""), (spec.get("agent") or {}).get("id", "")
    return names.agent_key(body["metadata"]["namespace"], company, agent)


def expect(deps: Deps, body: Mapping[str, Any], *, deleted: bool) -> None:
    """An AgentRun (as JSON) was seen. Until it is followed, which takes kopf a write, it has its place in the queue."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    key, uid = _agent_key(body), str(meta["uid"])
    stands = not (status.get("job") or status.get("completionTime") or spec.get("suspend") or spec.get("cancel"))
    if stands and not deleted and not meta.get("deletionTimestamp"):
        place = -int(spec.get("priority") or 0), str(meta.get("creationTimestamp", "")), str(meta["name"])
        deps.world.expect(key, uid, place)
    else:
        deps.world.expect_no_more(key, uid)


def named(body: Mapping[str, Any]) -> dict[str, str]:
    """How an AgentRun (as JSON, be it malformed) is named in every log line about it."""
    meta, spec = body["metadata"], shapes.mapping(body.get("spec"))
    return {
        "run": f"{meta['namespace']}/{meta['name']}",
        "agent": shapes.text(shapes.mapping(spec.get("agent")).get("id")),
        "company": shapes.text(spec.get("companyId")),
    }


def slim(deps: Deps, body: dict[str, Any]) -> None:
    """Make an AgentRun (as JSON) small, in place: kopf keeps it for as long as the run is live.

    Who wrote which field is more than half of it, its status is mostly the one that was written here, and the rest
    mostly the same names and words as in all others.
    """
    body["metadata"].pop("managedFields", None)
    status = body.pop("status", None)
    shapes.share(body)
    if status is not None:
        written = deps.written.get(body["metadata"]["uid"])
        body["status"] = written if status == written else shapes.share(status)


async def look_around(deps: Deps) -> None:
    """See every Job and pod, and begin what goes on beside the runs: what is not there then, does not exist."""
    namespaces = deps.config.watched_namespaces or ("",)
    begun = await mirrors.begin(deps.client, deps.world, namespaces, deps.config.owns, watch=deps.meters.watch)
    deps.tasks.extend(begun)
    care = deps.caretaker
    lost = (deps.stragglers.watch(), deps.leftovers.watch())
    for work in (care.sweep(), care.expire(), recount(deps), *lost, deps.announcer.work()):
        deps.tasks.append(asyncio.create_task(work))


async def recount(deps: Deps) -> None:
    """Count the finished runs anew whenever deletions may have been missed. Forever."""
    while True:
        await deps.resync.due(_RECOUNT_SECONDS)
        try:
            await deps.caretaker.recount()
        except errors.ApiError as e:
            _log.warning("recount_failed", error=str(e))
            deps.resync.failed(_RECOUNT_SECONDS)
        else:
            deps.resync.done()
