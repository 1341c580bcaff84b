"""What may be left of a run that has ended without a Job: another operator had begun to start it, and died.

Of two operators that take each other for dead, one may end a run (it is refused, or cancelled in the queue) while the
other makes its Secret or its held Job. Who lives removes what it made when it sees the end; who dies does not, and
nobody follows the run any more. So some time after such an end somebody looks, and again if the run changes within ten
minutes. It is a rare end: a look is two requests.
"""

import asyncio
import contextlib
import datetime
from collections.abc import Mapping
from typing import Any

import structlog

from agentrun_operator import errors, kube, manifest, models, names
from agentrun_operator.status import attempts

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0  # a request that is under way at the end has come to its own by then
_RECENT_SECONDS = 600.0  # a run that ended before that was looked at, or the operator was away for longer


class Leftovers:
    """See the module."""

    def __init__(self, client: kube.KubeClient) -> None:
        self._client = client
        self._due: dict[str, tuple[float, models.AgentRun]] = {}  # by uid: the event loop's time, and the run

    def saw(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """An AgentRun as the watch shows it."""
        meta, status = body["metadata"], body.get("status") or {}
        uid, ended = str(meta["uid"]), status.get("completionTime")
        if deleted or meta.get("deletionTimestamp"):
            self._due.pop(uid, None)  # what it owns goes with it
            return
        if not ended or status.get("job") or uid in self._due or _age(ended) > _RECENT_SECONDS:
            return
        try:
            run = models.AgentRun.parse({key: value for key, value in body.items() if key != "status"})
        except errors.InvalidRunError:
            return  # nothing was ever made of it
        due = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        self._due[uid] = due, attempts.current(run, status)

    async def watch(self) -> None:
        """Look when it is time. Forever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            for uid, (due, run) in list(self._due.items()):
                if due <= now and await self._clear(run):
                    self._due.pop(uid, None)

    async def _clear(self, run: models.AgentRun) -> bool:
        """Remove what is there. False if that could not be found out."""
        meta, job = run.metadata, manifest.job_name(run)
        whose = {"run": f"{meta.namespace}/{meta.name}", "agent": run.spec.agent.id, "company": run.spec.company_id}
        try:
            with contextlib.suppress(errors.NotFoundError):
                secret = names.prompt_secret_name(job)
                if await self._client.get_secret_owner(meta.namespace, secret) == meta.uid:
                    await self._client.delete_secret(meta.namespace, secret)
                    _log.info("leftover_removed", secret=secret, **whose)
            with contextlib.suppress(errors.NotFoundError):
                found = await self._client.get_job(meta.namespace, job)
                if found.owner_uid == meta.uid and found.held:
                    await self._client.delete_job(found)
                    _log.info("leftover_removed", job=job, **whose)
        except errors.ApiError as e:
            _log.warning("leftovers_unknown", error=str(e), **whose)
            return False
        return True


def _age(timestamp: str) -> float:
    return (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(timestamp)).total_seconds()
