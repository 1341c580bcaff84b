"""What is kept of a run after its end, and for how long: its log on the shared volume, and the AgentRun itself.

One ``Caretaker`` serves all runs. It acts on what the watch shows and keeps no state that matters: what a restart or a
missed deletion leaves undone, the list at the next start and the hourly sweep find.
"""

import asyncio
import datetime
import functools
import heapq
import itertools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from agentrun_operator import errors, kube, logfiles, manifest, models, names, redaction, settings
from agentrun_operator.runner.history import History

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 3600
_DELETIONS = 8  # at a time
_PATIENCE_SECONDS = 30  # how long a verdict waits for a volume that hangs

_T = TypeVar("_T")
_Whose = Mapping[str, str]


class Caretaker:
    """See the module."""

    def __init__(
        self, config: settings.Settings, client: kube.KubeClient, live_logs: Callable[[], set[str]] = set
    ) -> None:
        self._config = config
        self._live_logs = live_logs
        self._reowned: set[str] = set()  # by uid
        self._client = client
        self._keeper = logfiles.Keeper()
        self._root = config.local_path(config.log_root)
        self._history = History(config.history_limit)
        self._expiry: dict[str, datetime.datetime] = {}  # by uid
        self._due: list[tuple[datetime.datetime, int, kube.Ref, _Whose]] = []
        self._order = itertools.count()  # times have whole seconds, and Refs no order
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Let the thread end."""
        self._keeper.close()

    async def finish(self, run: models.AgentRun, log_path: str, redactor: redaction.Redactor) -> bool:
        """An attempt has ended and its log was read: remove or redact it, if that is wanted. True: it is gone now."""
        log = self._localized(log_path) if log_path else None
        if log is None or self._root is None:
            return False
        kept, uid = run.spec.retention, run.metadata.uid
        if kept.log is models.LogRetention.AFTER_FINISHED:
            return await self._done("remove", functools.partial(logfiles.remove, self._root, log, uid)) is not None
        if kept.redact_log:
            await self._done("redact", functools.partial(logfiles.redact, self._root, log, redactor))
        return False

    def reown(self, run: models.AgentRun, log_path: str) -> None:
        """The run has adopted the Job that writes this log: the log is its own now, to keep or to remove."""
        log = self._localized(log_path)
        if log is None or self._root is None or run.metadata.uid in self._reowned:
            return
        self._reowned.add(run.metadata.uid)
        owner = logfiles.Owner(run.metadata.namespace, run.metadata.uid, run.spec.retention.log.value)
        self._keeper.do("reown", functools.partial(logfiles.reown, self._root, log, owner))

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
        self._history.forget(run.metadata.uid)
        self._reowned.discard(run.metadata.uid)
        if self._root is None or run.spec.retention.log is models.LogRetention.NEVER:
            return
        for log in self._logs(run):
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

    async def recount(self) -> None:
        """Leave runs out of the count whose deletion nobody saw. Raises ApiError; without a count, nothing is asked."""
        counted = self._history.uids  # taken before the list: what ends while that is under way is in no doubt
        if counted:
            for uid in counted - await self._list_uids():
                self._history.forget(uid)

    async def expire(self) -> None:
        """Delete AgentRuns whose time is over. Forever."""
        while True:
            self._changed.clear()
            now = datetime.datetime.now(datetime.UTC)
            while due := self._take_due(now):
                await asyncio.gather(*itertools.starmap(self._delete_due, due))
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
        mine = [
            (log, owner)
            for log, owner in owned
            if (not watched or owner.namespace in watched) and self._config.owns(_agent_key(log, owner))
        ]
        if not mine:
            return 0
        live = {self._localized(path) for path in self._live_logs()}
        # Asked after the files were listed: a run whose log is there and that is missing now was deleted.
        uids = await self._list_uids()
        orphans = [
            (log, owner.uid)
            for log, owner in mine
            if owner.policy != models.LogRetention.NEVER and owner.uid not in uids and log not in live
        ]
        for log, uid in orphans:
            await self._done("remove", functools.partial(logfiles.remove, self._root, log, uid))
        return len(orphans)

    async def _list_uids(self) -> set[str]:
        """All AgentRuns that are there."""
        uids: set[str] = set()
        for namespace in self._config.watched_namespaces or ("",):
            uids |= await self._client.list_run_uids(namespace)
        return uids

    def _schedule(self, run: models.AgentRun) -> None:
        meta = run.metadata
        if meta.deletion_timestamp is not None:
            self._history.forget(meta.uid)
            return  # what is on its way needs no other push
        surplus = self._history.add(run)
        if surplus is not None:
            self._push(datetime.datetime.now(datetime.UTC), surplus)
        if self._history.is_surplus(meta.uid):
            return  # whatever its own limit says
        moment = _expiry(run)
        if moment is None:
            self._expiry.pop(meta.uid, None)
        elif self._expiry.get(meta.uid) != moment:
            self._push(moment, kube.Ref(namespace=meta.namespace, name=meta.name, uid=meta.uid))

    def _push(self, moment: datetime.datetime, run: kube.Ref, whose: _Whose | None = None) -> None:
        """``whose`` is how log lines name the run; by default the agent is that of the run that was just seen."""
        named = whose or {**structlog.contextvars.get_contextvars(), "run": f"{run.namespace}/{run.name}"}
        self._expiry[run.uid] = moment
        heapq.heappush(self._due, (moment, next(self._order), run, named))
        self._changed.set()

    def _take_due(self, now: datetime.datetime) -> list[tuple[datetime.datetime, kube.Ref, _Whose]]:
        due: list[tuple[datetime.datetime, kube.Ref, _Whose]] = []
        while self._due and self._due[0][0] <= now and len(due) < _DELETIONS:
            moment, _, run, whose = heapq.heappop(self._due)
            due.append((moment, run, whose))
        return due

    async def _delete_due(self, moment: datetime.datetime, run: kube.Ref, whose: _Whose) -> None:
        if self._expiry.get(run.uid) != moment:
            return  # another time was set since
        try:
            await self._client.delete_run(run)
        except errors.ApiError as e:
            _log.warning("expiry_failed", **whose, error=str(e))
            self._push(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=_PATIENCE_SECONDS), run, whose)
            return
        self._expiry.pop(run.uid, None)
        self._history.forget(run.uid)
        _log.info("run_expired", **whose)

    def _logs(self, run: models.AgentRun) -> list[str]:
        """The logs of all attempts of a run that was deleted, but for one that its agent is left to write."""
        paths = {before.log_path for before in run.status.previous_attempts if before.log_path}
        paths.add(run.status.log_path or manifest.run_log_path(run, self._config))
        # Where the run has ended, so has its agent: a Job is shown as live until its controller has seen that, too.
        left_to_write = set() if run.is_final else self._live_logs()
        return [log for path in sorted(paths - left_to_write) if (log := self._localized(path)) is not None]

    def _localized(self, path: str) -> str | None:
        """A log as the operator sees it; None if it does not, or it is elsewhere."""
        try:
            return self._config.local_path(path)
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


def _agent_key(log: str, owner: logfiles.Owner) -> str:
    """Whose log it is: the ids are the folders that it lies in."""
    company, agent = pathlib.PurePath(log).parts[-3:-1]
    return names.agent_key(owner.namespace, company, agent)


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
