"""AgentRuns that kopf has lost sight of: live without a supervisor, or ended and still held by our finalizer.

kopf acts on events. When its own write fails for good (a refusal that is not to be tried again, a server that is away
for longer than it tries), it waits for the next event of that object, which may never come: a run would not start, or
an ended one could not be deleted while the operator is away. So what an event has shown, and nothing has come of, is
mended by a write of the finalizer: that is what kopf wants to have done, and the event makes it look again.

And Jobs that are being deleted and held by the finalizer of an adoption that nobody finishes, because the AgentRun that
had adopted them is gone or has ended.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from agentrun_operator import errors, facts, kube, models, names

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0  # kopf tries for a while by itself
_LONGEST_PATIENCE_SECONDS = 600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Straggler:
    """What the last event has shown, since when (the event loop's time), and how long it may take."""

    run: kube.Ref
    version: str
    finalizers: tuple[str, ...]
    live: bool
    since: float
    whose: Mapping[str, str]  # for log lines
    patience: float = _PATIENCE_SECONDS


class Stragglers:
    """See the module. ``is_followed`` says by uid whether a run has its supervisor, ``jobs`` which Jobs there are."""

    def __init__(
        self,
        client: kube.KubeClient,
        is_followed: Callable[[str], bool],
        jobs: Callable[[], Iterable[facts.JobFacts]] = tuple,
    ) -> None:
        self._client = client
        self._is_followed = is_followed
        self._jobs = jobs
        self._stuck: dict[str, float] = {}  # Jobs by uid, and since when they are known to be
        self._seen: dict[str, _Straggler] = {}  # by uid

    def saw(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """An AgentRun as the watch shows it."""
        meta, phase = body["metadata"], (body.get("status") or {}).get("phase")
        uid, finalizers = str(meta["uid"]), tuple(meta.get("finalizers") or ())
        live = phase is None or not models.Phase(phase).final
        starts = live and not meta.get("deletionTimestamp")
        # One that is being deleted is followed until its agent has ended; then it has to go, like one that has ended.
        in_order = (live and self._is_followed(uid)) or (not starts and names.FINALIZER not in finalizers)
        if deleted or in_order:
            self._seen.pop(uid, None)
            return
        before = self._seen.get(uid)
        patience = before.patience if before is not None and before.live == live else _PATIENCE_SECONDS
        self._seen[uid] = _Straggler(
            run=kube.Ref(namespace=meta["namespace"], name=meta["name"], uid=uid),
            version=str(meta.get("resourceVersion", "")),
            finalizers=finalizers,
            live=live,
            since=asyncio.get_running_loop().time(),
            whose={**structlog.contextvars.get_contextvars(), "run": f"{meta['namespace']}/{meta['name']}"},
            patience=patience,
        )

    def behind(self) -> int:
        """How many there are, those among them that kopf will come to by itself in a moment."""
        return sum(not (one.live and self._is_followed(uid)) for uid, one in self._seen.items())

    async def watch(self) -> None:
        """Do what kopf did not. Forever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            for uid, straggler in list(self._seen.items()):
                if self._seen.get(uid) is not straggler:
                    continue  # there was an event of it while another one was being mended
                if straggler.live and self._is_followed(uid):
                    self._seen.pop(uid, None)
                elif now - straggler.since >= straggler.patience:
                    longer = min(straggler.patience * 2, _LONGEST_PATIENCE_SECONDS)
                    self._seen[uid] = dataclasses.replace(straggler, since=now, patience=longer)
                    await self._mend(straggler)
            await self._let_jobs_go(now)

    async def _let_jobs_go(self, now: float) -> None:
        stuck = {job.uid: job for job in self._jobs() if job.adopting and job.deleting}
        self._stuck = {uid: self._stuck.get(uid, now) for uid in stuck}
        for uid, job in stuck.items():
            if now - self._stuck[uid] < _PATIENCE_SECONDS or self._is_followed(job.owner_uid):
                continue  # whoever follows the run finishes what it began
            try:
                await self._client.let_job_go(job)
            except (errors.NotFoundError, errors.ConflictError):
                continue  # it has changed: the watch will tell
            except errors.ApiError as e:
                _log.warning("job_not_let_go", **_whose(job), job=job.name, error=str(e))
            else:
                _log.info("job_let_go", **_whose(job), job=job.name)

    async def _mend(self, straggler: _Straggler) -> None:
        """Put the finalizer there or take it away, whichever is a change; kopf undoes what it does not want."""
        others = [name for name in straggler.finalizers if name != names.FINALIZER]
        changed = others if len(others) < len(straggler.finalizers) else [*others, names.FINALIZER]
        try:
            await self._client.write_run_finalizers(straggler.run, changed, version=straggler.version)
        except errors.NotFoundError:
            self._seen.pop(straggler.run.uid, None)
        except errors.ConflictError:
            return  # it has changed: there is an event of it
        except errors.ApiError as e:
            _log.warning("straggler_not_mended", **straggler.whose, error=str(e))
        else:
            _log.info("straggler_mended", **straggler.whose, live=straggler.live)


def _whose(job: facts.JobFacts) -> dict[str, str]:
    """How the run that had adopted the Job is named in the log; it is followed by nobody, so no task names it."""
    company, _, agent = job.agent_key.partition("/")[2].partition("/")
    return {"run": f"{job.namespace}/{job.owner_name}", "agent": agent, "company": company}
