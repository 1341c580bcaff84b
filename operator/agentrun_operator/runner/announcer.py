"""Post Kubernetes Events, without anybody waiting for them.

Events are for people who look now; the status is the record. So a lost Event is no loss: what cannot be posted is
dropped, and so is what comes while too many are waiting. A few at a time are posted, those of one run in their order:
in a rush of runs they come late, with the times at which they happened, and leave the API server to what runs wait for.
"""

import asyncio
import datetime
import zlib
from collections.abc import Mapping
from typing import Any

import structlog

from agentrun_operator import errors, kube, settings
from agentrun_operator.status import conditions, events

_log = structlog.get_logger(__name__)

_LANES = 4  # one alone posted six a second while the control plane was never idle, and 25 came (docs/adr/0022)
_MOST_WAITING = 2_500  # in each lane, of about 1 KB: a rush of 5,000 runs has 15,000, some of them posted meanwhile

_Waiting = tuple[kube.Ref, kube.Event, dict[str, Any]]


class Announcer:
    """A few lanes, each with its queue and its worker. A run's Events go the same lane."""

    def __init__(self, config: settings.Settings, client: kube.KubeClient) -> None:
        self._wanted = config.events
        self._client = client
        self._lanes: list[asyncio.Queue[_Waiting]] = [asyncio.Queue(_MOST_WAITING) for _ in range(_LANES)]

    def announce(self, run: kube.Ref, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Tell what happened to the run between these two statuses."""
        if not self._wanted:
            return
        lane = self._lanes[zlib.crc32(run.uid.encode()) % _LANES]
        for happened in events.between(before, after):
            event = kube.Event(happened.kind.value, happened.reason, happened.message, conditions.rfc3339(_now()))
            try:
                lane.put_nowait((run, event, structlog.contextvars.get_contextvars()))
            except asyncio.QueueFull:
                _log.warning("event_dropped", run=f"{run.namespace}/{run.name}", reason=event.reason)

    async def work(self) -> None:
        """Post what is waiting. Forever."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._post(lane))

    async def _post(self, lane: asyncio.Queue[_Waiting]) -> None:
        while True:
            run, event, whose = await lane.get()
            try:
                await self._client.create_event(run, event)
            except errors.ApiError as e:
                _log.info("event_not_posted", **whose, reason=event.reason, error=str(e))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
