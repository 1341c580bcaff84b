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
from agentrun_operator.status import guard


@dataclasses.dataclass(slots=True)
class _Agent:
    """One agent: the lock around "is it free?" and "create", and the runs that wait, by the order of their turn."""

    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    waiting: dict[str, tuple[int, str, str]] = dataclasses.field(default_factory=dict)  # run uid → its place
    jobs: dict[str, facts.JobFacts] = dataclasses.field(default_factory=dict)  # by Job uid
    pods: dict[str, facts.PodFacts] = dataclasses.field(default_factory=dict)  # by pod uid; those that have not ended


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """What has an agent: a Job of another run, or a pod that outlived its Job. ``words`` name it in a sentence."""

    words: str
    job: facts.JobFacts | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What was there at one moment, by uid."""

    jobs: Mapping[str, facts.JobFacts]
    pods: Mapping[str, facts.PodFacts]


class World:
    """See the module."""

    def __init__(self) -> None:
        self._jobs: dict[str, facts.JobFacts] = {}  # by Job uid
        self._job_of_run: dict[tuple[str, int], str] = {}  # run uid and attempt → Job uid
        self._pods: dict[str, facts.PodFacts] = {}  # by Job uid: a Job has one pod, ever
        self._agents: collections.defaultdict[str, _Agent] = collections.defaultdict(_Agent)
        self._wakes: dict[str, asyncio.Event] = {}  # by run uid
        self._limits: dict[str, datetime.datetime] = {}  # ends of usage limits, by credential

    # --- what runs ask ------------------------------------------------------------------------------------------

    def join(self, run: models.AgentRun) -> asyncio.Event:
        """Begin to follow a run; the event is set whenever something about it changed."""
        self.stand(run, ready=not run.spec.suspend)
        return self._wakes.setdefault(run.metadata.uid, asyncio.Event())

    def stand(self, run: models.AgentRun, *, ready: bool) -> None:
        """Say whether a run that has no Job yet waits for its turn; one that is not ready holds nobody up."""
        waiting = self._agents[run.agent_key].waiting
        job = self.job_of(run)
        if ready and (job is None or job.held):
            waiting.setdefault(run.metadata.uid, _place(run))
        elif waiting.pop(run.metadata.uid, None):
            self._wake_waiting(run.agent_key)

    def leave(self, run: models.AgentRun) -> None:
        """Stop following a run. Whoever waits for its agent gets a turn."""
        uid = run.metadata.uid
        self._wakes.pop(uid, None)
        self.admitted(run)
        for job in list(self._agents[run.agent_key].jobs.values()):
            if job.owner_uid == uid and job.gone:
                self._forget(job)
        self._tidy(run.agent_key)

    def admitted(self, run: models.AgentRun) -> None:
        """The run has its Job, or needs none: it waits no longer."""
        agent = self._agents[run.agent_key]
        if agent.waiting.pop(run.metadata.uid, None):
            self._wake_waiting(run.agent_key)

    def lock(self, run: models.AgentRun) -> asyncio.Lock:
        """Guard and create are one critical section per agent and process; this is its lock."""
        return self._agents[run.agent_key].lock

    def busy_with(self, run: models.AgentRun) -> str:
        """What occupies the agent of ``run`` or comes before it in the queue, in words; "" if it is its turn."""
        occupant = self.occupant(run)
        if occupant is not None:
            return occupant.words
        job = self.job_of(run)
        if job is not None and not job.gone:
            return ""  # it stands in the row by its Job; a run that comes first by priority waits for that
        mine = _place(run)
        first = min(self._agents[run.agent_key].waiting.values(), default=mine)
        return f"AgentRun {first[-1]}" if first < mine else ""

    def occupant(self, run: models.AgentRun) -> Occupant | None:
        """Who has the agent of ``run``, or has a Job that is ahead of its own."""
        agent, mine = self._agents[run.agent_key], self.job_of(run)
        mine = None if mine is None or mine.gone else mine
        others = [job for job in agent.jobs.values() if mine is None or job.uid != mine.uid]
        in_the_way = [job for job in others if job.live]
        in_the_way += [job for job in others if _is_ahead(job, mine)]
        if in_the_way:
            return Occupant(words=describe(in_the_way[0], of=run), job=in_the_way[0])
        for pod in agent.pods.values():
            known = self._jobs.get(pod.job_uid)
            if known is None or known.gone:
                return Occupant(words=describe_stray(pod))
        return None

    def unowned(self, run: models.AgentRun) -> str:
        """Which Job without a run that is followed here has the agent, as a key; "" if there is none."""
        occupant = self.occupant(run)
        job = occupant.job if occupant else None
        return "" if job is None or self.is_followed(job.owner_uid) else f"{job.uid} {job.owner_uid}"

    def is_followed(self, run_uid: str) -> bool:
        """Whether the run is being followed here, so that it surely exists and has not ended."""
        return run_uid in self._wakes

    def live_logs(self) -> set[str]:
        """The logs that an agent may still be writing, by their paths as agents see them."""
        live = (job for job in self._jobs.values() if job.live and job.log_path)
        return {job.log_path for job in live if not _has_exited(self._pods.get(job.uid))}

    def job_of(self, run: models.AgentRun) -> facts.JobFacts | None:
        """The Job of the run's present attempt; with ``gone`` set if it was there and is not any more."""
        return self._jobs.get(self._job_of_run.get((run.metadata.uid, run.attempt), ""))

    def limit(self, credential: str, until: datetime.datetime) -> None:
        """A run found that this credential has reached its usage limit."""
        self._limits[credential] = max(until, self._limits.get(credential, until))

    def limited_until(self, credential: str) -> datetime.datetime | None:
        """The end of the credential's usage limit; None if there is none now."""
        until = self._limits.get(credential)
        if until is not None and until <= datetime.datetime.now(datetime.UTC):
            del self._limits[credential]
            return None
        return until

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
        if old is not None and (old.gone or (not job.gone and _is_older(job, old))):
            return  # overtaken: by the deletion, which is for ever, or by the answer to what changed it since
        if old is not None and old.owner_uid != job.owner_uid:
            self._job_of_run.pop((old.owner_uid, old.attempt), None)  # adopted, or let go
            self.wake(old.owner_uid)
            self._wake_waiting(job.agent_key)
        if job.gone and job.owner_uid not in self._wakes:
            self._forget(job)
        else:
            self._keep(job)
        self.wake(job.owner_uid)
        if not job.live and (old is None or old.live or job.gone):
            self._wake_waiting(job.agent_key)

    def saw_pod(self, pod: facts.PodFacts) -> None:
        """A pod as it is now; ``gone`` if it was deleted."""
        job, old = self._jobs.get(pod.job_uid), self._pods.get(pod.job_uid)
        if old is not None and old.uid == pod.uid and old.gone:
            return
        self._note_stray(pod)
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

    def saw_listed_pod(self, pod: facts.PodFacts, *, known: Known) -> None:
        """A pod of a list that was asked for when this was ``known``."""
        if self._pods.get(pod.job_uid) is known.pods.get(pod.uid):
            self.saw_pod(pod)

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
            self.saw_listed_pod(pod, known=known)

    # --- housekeeping --------------------------------------------------------------------------------------------

    def _wake_waiting(self, agent_key: str) -> None:
        agent = self._agents.get(agent_key)
        for uid in agent.waiting if agent else ():
            self.wake(uid)

    def _keep(self, job: facts.JobFacts) -> None:
        place = (job.owner_uid, job.attempt)
        before = self._jobs.get(self._job_of_run.get(place, ""))
        if before is not None and before.uid != job.uid and before.gone:
            self._forget(before)  # it had been held and was made anew
        self._jobs[job.uid] = job
        self._job_of_run[place] = job.uid
        self._agents[job.agent_key].jobs[job.uid] = job

    def _note_stray(self, pod: facts.PodFacts) -> None:
        """Remember which pods have not ended: an agent is not free while one of its pods is at work, Job or no Job.

        By the pod: of two that Kubernetes made for one Job, the end of one says nothing of the other.
        """
        if not pod.finished:
            self._agents[pod.agent_key].pods[pod.uid] = pod
            return
        agent = self._agents.get(pod.agent_key)
        if agent is not None and agent.pods.pop(pod.uid, None) is not None:
            self._wake_waiting(pod.agent_key)
            self._tidy(pod.agent_key)

    def _forget(self, job: facts.JobFacts) -> None:
        self._jobs.pop(job.uid, None)
        pod = self._pods.get(job.uid)
        if pod is not None and pod.finished:
            del self._pods[job.uid]
        self._agents[job.agent_key].jobs.pop(job.uid, None)
        if self._job_of_run.get((job.owner_uid, job.attempt)) == job.uid:
            del self._job_of_run[job.owner_uid, job.attempt]
        self._tidy(job.agent_key)

    def _tidy(self, agent_key: str) -> None:
        agent = self._agents[agent_key]
        # An agent whose lock is held is being used by the run that holds it, which tidies up when it leaves.
        if not agent.waiting and not agent.jobs and not agent.pods and not agent.lock.locked():
            del self._agents[agent_key]


def describe(job: facts.JobFacts, *, of: models.AgentRun) -> str:
    """A Job in the words of those who wait for it."""
    if job.owner_uid == of.metadata.uid:
        return f"Job {job.name} of an earlier attempt"
    return f"AgentRun {job.owner_name}" if job.owner_name else f"Job {job.name}, which has no AgentRun"


def describe_stray(pod: facts.PodFacts) -> str:
    """A pod that outlived its Job, in the words of those who wait for it."""
    node = f" on node {pod.node}" if pod.node else ""
    return f"pod {pod.name}, which is still there{node} although its Job is gone"


def _has_exited(pod: facts.PodFacts | None) -> bool:
    return pod is not None and (pod.finished or (pod.main is not None and pod.main.terminated))


def _is_ahead(job: facts.JobFacts, mine: facts.JobFacts | None) -> bool:
    return guard.is_in_row(job) and (mine is None or (mine.held and guard.place(job) < guard.place(mine)))


def _is_older(job: facts.JobFacts, than: facts.JobFacts) -> bool:
    """Whether these facts are older than those (a resourceVersion grows with every write; docs/adr/0009)."""
    if not (job.version.isdecimal() and than.version.isdecimal()):
        return False
    return int(job.version) < int(than.version)


def _place(run: models.AgentRun) -> tuple[int, str, str]:
    """Where the run stands in its agent's queue: by priority, then by age."""
    return -run.spec.priority, run.metadata.creation_timestamp, run.metadata.name
