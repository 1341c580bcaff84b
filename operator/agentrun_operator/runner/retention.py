"""What is kept of a run after its end, and for how long: its log on the shared volume, and the AgentRun itself.

One ``Caretaker`` serves all runs. It acts on what the watch shows and keeps no state that matters: what a restart or a
missed deletion leaves undone, the list at the next start and the hourly sweep find.
"""

import asyncio
import datetime
import functools
import heapq
import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from agentrun_operator import errors, kube, logfiles, manifest, models, redaction, settings

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 3600
_PATIENCE_SECONDS = 30  # how long a verdict waits for a volume that hangs

_T = TypeVar("_T")


class Caretaker:
    """See the module."""

    def __init__(self, config: settings.Settings, client: kube.KubeClient) -> None:
        self._config = config
        self._client = client
        self._keeper = logfiles.Keeper()
        self._root = config.local_path(config.log_root)
        self._expiry: dict[str, datetime.datetime] = {}  # by uid
        self._due: list[tuple[datetime.datetime, int, kube.Ref]] = []
        self._order = itertools.count()  # times have whole seconds, and Refs no order
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Let the thread end."""
        self._keeper.close()

    async def finish(self, run: models.AgentRun, redactor: redaction.Redactor) -> bool:
        """The run has ended and its log was read: remove or redact it, if that is wanted. True: there is no log now."""
        log = self._local_log(run)
        if log is None or self._root is None:
            return False
        kept, uid = run.spec.retention, run.metadata.uid
        if kept.log is models.LogRetention.AFTER_FINISHED:
            return await self._done("remove", functools.partial(logfiles.remove, self._root, log, uid)) is not None
        if kept.redact_log:
            await self._done("redact", functools.partial(logfiles.redact, self._root, log, redactor))
        return False

    def saw(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """An AgentRun as the watch shows it: it may have been deleted, or may have to be in time."""
        phase = (body.get("status") or {}).get("phase")
        if not deleted and (phase is None or not models.Phase(phase).final):
            return  # most of what the watch shows: no need to read a prompt of a megabyte for that
        try:
            run = models.AgentRun.parse(body)
        except errors.InvalidRunError:
            return
        if not deleted:
            self._schedule(run)
            return
        self._expiry.pop(run.metadata.uid, None)
        log = self._local_log(run)
        if log is not None and self._root is not None and run.spec.retention.log is not models.LogRetention.NEVER:
            self._keeper.do("remove", functools.partial(logfiles.remove, self._root, log, run.metadata.uid))

    async def sweep(self) -> None:
        """Remove the logs of runs whose deletion nobody saw. Forever, once an hour."""
        while True:
            try:
                removed = await self._sweep_once()
            except errors.ApiError as e:
                _log.warning("sweep_failed", error=str(e))
            else:
                if removed:
                    _log.info("orphaned_logs_removed", logs=removed)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def expire(self) -> None:
        """Delete AgentRuns whose time is over. Forever."""
        while True:
            self._changed.clear()
            now = datetime.datetime.now(datetime.UTC)
            while self._due and self._due[0][0] <= now:
                await self._delete_due(*heapq.heappop(self._due))
            wait = (self._due[0][0] - now).total_seconds() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _sweep_once(self) -> int:
        if self._root is None:
            return 0
        owned = await self._done("list", functools.partial(logfiles.find_owned, self._root)) or []
        watched = self._config.watched_namespaces
        mine = [(log, owner) for log, owner in owned if not watched or owner.namespace in watched]
        if not mine:
            return 0
        # Asked after the files were listed: a run whose log is there and that is missing now was deleted.
        uids: set[str] = set()
        for namespace in watched or ("",):
            uids |= await self._client.list_run_uids(namespace)
        orphans = [
            (log, owner.uid)
            for log, owner in mine
            if owner.policy != models.LogRetention.NEVER and owner.uid not in uids
        ]
        for log, uid in orphans:
            await self._done("remove", functools.partial(logfiles.remove, self._root, log, uid))
        return len(orphans)

    def _schedule(self, run: models.AgentRun) -> None:
        moment = _expiry(run)
        if moment is None:
            self._expiry.pop(run.metadata.uid, None)
        elif self._expiry.get(run.metadata.uid) != moment:
            meta = run.metadata
            self._push(moment, kube.Ref(namespace=meta.namespace, name=meta.name, uid=meta.uid))
            self._changed.set()

    def _push(self, moment: datetime.datetime, run: kube.Ref) -> None:
        self._expiry[run.uid] = moment
        heapq.heappush(self._due, (moment, next(self._order), run))

    async def _delete_due(self, moment: datetime.datetime, _: int, run: kube.Ref) -> None:
        if self._expiry.get(run.uid) != moment:
            return  # another time was set since
        try:
            await self._client.delete_run(run)
        except errors.ApiError as e:
            _log.warning("expiry_failed", run=f"{run.namespace}/{run.name}", error=str(e))
            self._push(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=_PATIENCE_SECONDS), run)
            return
        self._expiry.pop(run.uid, None)
        _log.info("run_expired", run=f"{run.namespace}/{run.name}")

    def _local_log(self, run: models.AgentRun) -> str | None:
        """The run's log as the operator sees it; None if it does not, or it is elsewhere."""
        try:
            return self._config.local_path(run.status.log_path or manifest.run_log_path(run, self._config))
        except ValueError:
            return None

    async def _done(self, what: str, work: Callable[[], _T]) -> _T | None:
        """The result of ``work`` on the volume; None if it failed or did not come in time."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await asyncio.wrap_future(self._keeper.do(what, work))
        except TimeoutError:
            _log.warning("volume_hangs", what=what)
        except (OSError, ValueError):
            pass  # the keeper has said so
        return None


def _expiry(run: models.AgentRun) -> datetime.datetime | None:
    """When the AgentRun is to be deleted; None: not at all, or not yet known."""
    if not run.is_final or not run.status.completion_time:
        return None
    kept = run.spec.retention
    succeeded = run.status.phase is models.Phase.SUCCEEDED
    ttl = kept.run_ttl_seconds_after_succeeded if succeeded else kept.run_ttl_seconds_after_failed
    if ttl is None:
        return None
    return datetime.datetime.fromisoformat(run.status.completion_time) + datetime.timedelta(seconds=ttl)
