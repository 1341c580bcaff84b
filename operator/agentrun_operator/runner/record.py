"""The status of one run as it is in the cluster: read, written and never overwritten unseen.

Each write names the version of the object that it was made from. If another operator has written meanwhile, its status
is taken over and the run looked at again; so of two operators that take each other for dead, none undoes what the other
has done (docs/adr/0009).
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from agentrun_operator import errors, kube, models, names
from agentrun_operator.runner.deps import Deps
from agentrun_operator.status import attempts, fields

_log = structlog.get_logger(__name__)


class Record:
    """``read`` returns the AgentRun as the watch last showed it.

    ``status`` is the status as last written or found, ``written_at`` when that was, if it says so.
    """

    def __init__(self, deps: Deps, read: Callable[[], Mapping[str, Any]]) -> None:
        self._deps = deps
        self._read = read
        self._version = ""
        self._fetched: Mapping[str, Any] | None = None
        self._shown: tuple[tuple[Any, ...], models.AgentRun] | None = None  # what can change of it, and what it says
        self.status: dict[str, Any] = dict(read().get("status") or {})
        self.written_at = _beat(self.status)  # an operator that starts goes on with the pace of the one before it

    @property
    def is_final(self) -> bool:
        """Whether the run has ended, by what was written here or by what the watch shows."""
        shown = self.body.get("status") or {}
        return any(phase is not None and models.Phase(phase).final for phase in map(_phase, (self.status, shown)))

    @property
    def is_settled(self) -> bool:
        """Whether the AgentRun has its finalizer."""
        return names.FINALIZER in self.body["metadata"].get("finalizers", ())

    @property
    def body(self) -> Mapping[str, Any]:
        """The AgentRun as the watch last showed it, or as it was found since: kopf may take its time."""
        shown = self._read()
        if self._fetched is not None and _later(_version(shown), _version(self._fetched)) == _version(shown):
            self._fetched = None
        return shown if self._fetched is None else self._fetched

    def run(self) -> models.AgentRun:
        """The run as its present attempt is. Raises InvalidRunError."""
        body = self.body
        meta = body["metadata"]
        # Each status makes another version of the object, and is not looked at: only what was written here counts.
        matters = meta.get("generation"), meta.get("deletionTimestamp"), meta.get("annotations")
        if self._shown is None or self._shown[0] != matters:
            self._shown = (
                matters,
                models.share(models.AgentRun.parse({key: body[key] for key in body if key != "status"})),
            )
        return attempts.current(self._shown[1], self.status)

    async def write(self, after: Mapping[str, Any] | None) -> None:
        """Write the status, unless there is nothing to write. Raises ConflictError if it was made from an older one."""
        if after is None:
            return
        self._heed_watch()
        try:
            self._version = await self._deps.client.write_run_status(self._ref, after, version=self._version)
        except errors.ConflictError:
            await self._catch_up()
            self._version = await self._deps.client.write_run_status(self._ref, after, version=self._version)
        _log.debug("status_written", fields=sorted(fields.changed(self.status, after)))
        before, self.status = self.status, dict(after)
        self._deps.written[self._ref.uid] = self.status
        self.written_at = datetime.datetime.now(datetime.UTC)
        self._deps.meters.wrote(self._ref.uid, before, self.status)
        self._deps.tracer.wrote(self.body, before, self.status)
        self._deps.announcer.announce(self._ref, before, self.status)

    def _heed_watch(self) -> None:
        """What the watch shows may be newer than what was last written here. Raises ConflictError."""
        body = self.body
        if _later(self._version, _version(body)) != self._version:
            self._take_over(body)

    async def _catch_up(self) -> None:
        """Find out what changed. Raises NotFoundError, ConflictError."""
        body = await self._deps.client.get_run(self._ref.namespace, self._ref.name)
        if body["metadata"]["uid"] != self._ref.uid:
            raise errors.NotFoundError(f"AgentRun {self._ref.name} is another one by now", status=404)
        self._fetched = body  # what it is to do and what it did are of one moment
        self._take_over(body)

    def _take_over(self, body: Mapping[str, Any]) -> None:
        """Go on from a newer object. Raises ConflictError, unless something else than the status was changed."""
        self._version = _version(body)
        found = dict(body.get("status") or {})
        if found != self.status:
            self.status, self.written_at = found, _beat(found)
            raise errors.ConflictError("The status was written by another operator, or its answer was lost", status=409)

    @property
    def _ref(self) -> kube.Ref:
        meta = self._read()["metadata"]
        return kube.Ref(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])


def _version(body: Mapping[str, Any]) -> str:
    return str(body["metadata"].get("resourceVersion", ""))


def _beat(status: Mapping[str, Any]) -> datetime.datetime | None:
    """When an operator last wrote it; None if it does not say. Another one's clock may be ahead of ours."""
    beat = status.get("heartbeatTime")
    return min(datetime.datetime.fromisoformat(beat), datetime.datetime.now(datetime.UTC)) if beat else None


def _phase(status: Mapping[str, Any]) -> str | None:
    return status.get("phase")


def _later(one: str, other: str) -> str:
    """The later of two versions; a wrong guess costs one conflict."""
    return max(one, other, key=lambda version: (int(version) if version.isdecimal() else 0, version))
