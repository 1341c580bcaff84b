"""Post Kubernetes Events, without anybody waiting for them.

Events are for people who look now; the status is the record. So a lost Event is no loss: what cannot be posted is
dropped, and so is what comes while too many are waiting. One at a time is posted: in a rush of runs they come late,
with the times at which they happened, and leave the API server to what runs wait for.
"""

import asyncio
import datetime
from collections.abc import Mapping
from typing import Any

import structlog

from agentrun_operator import errors, kube, settings
from agentrun_operator.status import conditions, events

_log = structlog.get_logger(__name__)

_MOST_WAITING = 10_000  # of about 1 KB: a rush of 5,000 runs has 15,000, and a part of them is posted meanwhile


class Announcer:
    """One queue and one worker for all runs."""

    def __init__(self, config: settings.Settings, client: kube.KubeClient) -> None:
        self._wanted = config.events
        self._client = client
        self._queue: asyncio.Queue[tuple[kube.Ref, kube.Event, dict[str, Any]]] = asyncio.Queue(_MOST_WAITING)

    def announce(self, run: kube.Ref, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Tell what happened to the run between these two statuses."""
        if not self._wanted:
            return
        for happened in events.between(before, after):
            event = kube.Event(happened.kind, happened.reason, happened.message, conditions.rfc3339(_now()))
            try:
                self._queue.put_nowait((run, event, structlog.contextvars.get_contextvars()))
            except asyncio.QueueFull:
                _log.warning("event_dropped", run=f"{run.namespace}/{run.name}", reason=event.reason)

    async def work(self) -> None:
        """Post what is waiting. Forever."""
        while True:
            run, event, whose = await self._queue.get()
            try:
                await self._client.create_event(run, event)
            except errors.ApiError as e:
                _log.info("event_not_posted", **whose, reason=event.reason, error=str(e))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
