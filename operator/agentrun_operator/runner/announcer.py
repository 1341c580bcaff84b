"""Post Kubernetes Events, without anybody waiting for them.

Events are for people who look now; the status is the record. So a lost Event is no loss: what cannot be posted is
dropped, and so is what comes while too many are waiting. One at a time is posted: in a rush of runs they come late,
with the times at which they happened, and leave the API server to what runs wait for.
"""

import asyncio
import collections
import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import structlog

from agentrun_operator import errors, kube, settings
from agentrun_operator.status import conditions, events

_log = structlog.get_logger(__name__)

_MOST_WAITING = 10_000  # of about 1 KB: a rush of 5,000 runs has 15,000, and a part of them is posted meanwhile
_FEW = 100  # waiting: they are posted within seconds


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """What is to be told of one run; ``whose`` is how log lines name it."""

    run: kube.Ref
    whose: Mapping[str, Any]
    events: collections.deque[kube.Event] = dataclasses.field(default_factory=collections.deque)


class Announcer:
    """One queue and one worker for all runs."""

    def __init__(self, config: settings.Settings, client: kube.KubeClient) -> None:
        self._wanted = config.events
        self._client = client
        self._waiting: dict[str, _Waiting] = {}  # by the runs' uids; who has waited longest comes first
        self._count = 0
        self._more = asyncio.Event()

    def announce(self, run: kube.Ref, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Tell what happened to the run between these two statuses."""
        if not self._wanted:
            return
        for happened in events.between(before, after):
            event = kube.Event(happened.kind, happened.reason, happened.message, conditions.rfc3339(_now()))
            if self._count >= _MOST_WAITING:
                _log.warning("event_dropped", run=f"{run.namespace}/{run.name}", reason=event.reason)
                continue
            if run.uid not in self._waiting:
                self._waiting[run.uid] = _Waiting(run, structlog.contextvars.get_contextvars())
            self._waiting[run.uid].events.append(event)
            self._count += 1
            self._more.set()

    def saw(self, uid: str, *, deleted: bool) -> None:
        """The run as the watch shows it. While many are waiting, nothing more is told of one that is gone."""
        if not deleted or self._count <= _FEW:
            return
        dropped = self._waiting.pop(uid, None)
        if dropped is not None:
            self._count -= len(dropped.events)
            _log.info("events_dropped", events=len(dropped.events), cause="The AgentRun is gone, and others wait.")

    async def work(self) -> None:
        """Post what is waiting. Forever."""
        while True:
            if not self._waiting:
                self._more.clear()
                await self._more.wait()
                continue
            uid, waiting = next(iter(self._waiting.items()))
            event = waiting.events.popleft()
            self._count -= 1
            if not waiting.events:
                del self._waiting[uid]
            try:
                await self._client.create_event(waiting.run, event)
            except errors.ApiError as e:
                _log.info("event_not_posted", **waiting.whose, reason=event.reason, error=str(e))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
