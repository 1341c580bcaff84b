"""What the shared watches have shown of Jobs and pods, and which run waits for what.

One instance serves all runs, on the event loop's thread only. Handlers and API answers put facts in (``saw_*``), each
run takes its own out and sleeps on its own wake-up; so nothing is ever polled per run. Facts of a Job live as long as
the Job or the run that follows it, whichever is longer: a run must be able to see that its Job is gone.

The race that matters is between a list and a change that happens while the list is under way; ``replace_all`` therefore
takes what was known *before* the list was asked for. Only that can be found missing, and what a watch has changed since
stays as the watch told it: the list may be older, and the watch goes on.
"""

import asyncio
import collections
import dataclasses
import datetime
from collections.abc import Iterable, Mapping

from agentrun_operator import facts, models


@dataclasses.dataclass(slots=True)
class _Agent:
    """One agent: the lock around "is it free?" and "create", and the runs that wait, by the order of their turn."""

    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    waiting: dict[str, tuple[int, str, str]] = dataclasses.field(default_factory=dict)  # run uid → its place
    jobs: dict[str, facts.JobFacts] = dataclasses.field(default_factory=dict)  # by Job uid


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What was there at one moment, by uid."""

    jobs: Mapping[str, facts.JobFacts]
    pods: Mapping[str, facts.PodFacts]


class World:
    """See the module."""

    def __init__(self) -> None:
        self._jobs: dict[str, facts.JobFacts] = {}  # by Job uid
        self._job_of_run: dict[str, str] = {}  # run uid → Job uid
        self._pods: dict[str, facts.PodFacts] = {}  # by Job uid: a Job has one pod, ever
        self._gone_at: dict[str, datetime.datetime] = {}  # by Job uid
        self._agents: collections.defaultdict[str, _Agent] = collections.defaultdict(_Agent)
        self._wakes: dict[str, asyncio.Event] = {}  # by run uid

    # --- what runs ask ------------------------------------------------------------------------------------------

    def join(self, run: models.AgentRun) -> asyncio.Event:
        """Begin to follow a run; the event is set whenever something about it changed."""
        self.stand(run, ready=not run.spec.suspend)
        return self._wakes.setdefault(run.metadata.uid, asyncio.Event())

    def stand(self, run: models.AgentRun, *, ready: bool) -> None:
        """Say whether a run that has no Job yet waits for its turn; one that is not ready holds nobody up."""
        waiting = self._agents[run.agent_key].waiting
        if ready and self.job_of(run.metadata.uid) is None:
            waiting.setdefault(run.metadata.uid, _place(run))
        elif waiting.pop(run.metadata.uid, None):
            self._wake_waiting(run.agent_key)

    def leave(self, run: models.AgentRun) -> None:
        """Stop following a run. Whoever waits for its agent gets a turn."""
        uid = run.metadata.uid
        self._wakes.pop(uid, None)
        self.admitted(run)
        job = self.job_of(uid)
        if job is not None and job.gone:
            self._forget(job)
        self._tidy(run.agent_key)

    def admitted(self, run: models.AgentRun) -> None:
        """The run has its Job, or needs none: it waits no longer."""
        agent = self._agents[run.agent_key]
        if agent.waiting.pop(run.metadata.uid, None):
            self._wake_waiting(run.agent_key)

    def lock(self, run: models.AgentRun) -> asyncio.Lock:
        """Guard and create are one critical section per agent; this is its lock."""
        return self._agents[run.agent_key].lock

    def busy_with(self, run: models.AgentRun) -> str:
        """The AgentRun that occupies the agent of ``run`` or comes before it in the queue; "" if it is its turn."""
        job = self.occupant(run)
        if job is not None:
            return job.owner_name or job.name
        mine = _place(run)
        first = min(self._agents[run.agent_key].waiting.values(), default=mine)
        return first[-1] if first < mine else ""

    def occupant(self, run: models.AgentRun) -> facts.JobFacts | None:
        """The live Job of another run that has the agent of ``run``."""
        jobs = self._agents[run.agent_key].jobs.values()
        return next((job for job in jobs if job.owner_uid != run.metadata.uid and not job.finished), None)

    def job_of(self, run_uid: str) -> facts.JobFacts | None:
        """The Job of a run; with ``gone`` set if it was there and is not any more."""
        return self._jobs.get(self._job_of_run.get(run_uid, ""))

    def gone_at(self, job_uid: str) -> datetime.datetime | None:
        """When the Job was seen to be gone (UTC)."""
        return self._gone_at.get(job_uid)

    def pod_of(self, job_uid: str) -> facts.PodFacts | None:
        """The pod of a Job, as last seen; with ``gone`` set if it is not there any more."""
        return self._pods.get(job_uid)

    def wake(self, run_uid: str) -> None:
        """Have a run look again."""
        event = self._wakes.get(run_uid)
        if event is not None:
            event.set()

    # --- what watches and API answers tell -----------------------------------------------------------------------

    def saw_job(self, job: facts.JobFacts) -> None:
        """A Job as it is now; ``gone`` if it was deleted."""
        old = self._jobs.get(job.uid)
        if old is not None and old.gone:
            return  # an answer that was overtaken by the deletion: gone is for ever
        if job.gone and job.owner_uid not in self._wakes:
            self._forget(job)
        else:
            self._jobs[job.uid] = job
            self._job_of_run[job.owner_uid] = job.uid
            self._agents[job.agent_key].jobs[job.uid] = job
            if job.gone:
                self._gone_at[job.uid] = datetime.datetime.now(datetime.UTC)
        self.wake(job.owner_uid)
        if job.finished and (old is None or not old.finished):
            self._wake_waiting(job.agent_key)

    def saw_pod(self, pod: facts.PodFacts) -> None:
        """A pod as it is now; ``gone`` if it was deleted."""
        job, old = self._jobs.get(pod.job_uid), self._pods.get(pod.job_uid)
        if old is not None and old.uid == pod.uid and old.gone:
            return
        if pod.gone and (job is None or job.owner_uid not in self._wakes):
            self._pods.pop(pod.job_uid, None)
            return
        self._pods[pod.job_uid] = pod
        if job is not None:
            self.wake(job.owner_uid)

    def known(self) -> Known:
        """Jobs and pods that are there, as far as is known; take it before listing, for ``replace_all``."""
        return Known(
            jobs={uid: job for uid, job in self._jobs.items() if not job.gone},
            pods={pod.uid: pod for pod in self._pods.values() if not pod.gone},
        )

    def saw_listed_job(self, job: facts.JobFacts, *, known: Known) -> None:
        """A Job of a list that was asked for when this was ``known``."""
        if self._jobs.get(job.uid) is known.jobs.get(job.uid):
            self.saw_job(job)

    def replace_all(
        self,
        jobs: Iterable[facts.JobFacts],
        pods: Iterable[facts.PodFacts],
        *,
        known: Known,
    ) -> None:
        """A complete list of Jobs and pods; what was ``known`` before and is not in it is gone."""
        listed_jobs = {job.uid: job for job in jobs}
        listed_pods = {pod.uid: pod for pod in pods}
        # Values, not uids, are compared: whatever is another value by now was changed by a watch in the meantime.
        for uid in known.jobs.keys() | listed_jobs.keys():
            job = listed_jobs.get(uid) or dataclasses.replace(known.jobs[uid], gone=True)
            self.saw_listed_job(job, known=known)
        for uid in known.pods.keys() | listed_pods.keys():
            pod = listed_pods.get(uid) or dataclasses.replace(known.pods[uid], gone=True)
            if self._pods.get(pod.job_uid) is known.pods.get(uid):
                self.saw_pod(pod)

    # --- housekeeping --------------------------------------------------------------------------------------------

    def _wake_waiting(self, agent_key: str) -> None:
        agent = self._agents.get(agent_key)
        for uid in agent.waiting if agent else ():
            self.wake(uid)

    def _forget(self, job: facts.JobFacts) -> None:
        self._jobs.pop(job.uid, None)
        self._pods.pop(job.uid, None)
        self._gone_at.pop(job.uid, None)
        self._agents[job.agent_key].jobs.pop(job.uid, None)
        if self._job_of_run.get(job.owner_uid) == job.uid:
            del self._job_of_run[job.owner_uid]
        self._tidy(job.agent_key)

    def _tidy(self, agent_key: str) -> None:
        agent = self._agents[agent_key]
        # An agent whose lock is held is being used by the run that holds it, which tidies up when it leaves.
        if not agent.waiting and not agent.jobs and not agent.lock.locked():
            del self._agents[agent_key]


def _place(run: models.AgentRun) -> tuple[int, str, str]:
    """Where the run stands in its agent's queue: by priority, then by age."""
    return -run.spec.priority, run.metadata.creation_timestamp, run.metadata.name
