"""What the shared watches have shown of Jobs and pods, and which run waits for what.

One instance serves all runs, on the event loop's thread only. The mirrors of Jobs and pods put facts in, and so do
answers to requests; each run takes its own out and sleeps on its own wake-up, so nothing is ever polled per run. Facts
of a Job live as long as the Job or the run that follows it, whichever is longer: a run must see that its Job is gone.

Facts come from watches, lists and answers, and not in the order of what happened. Each has a resourceVersion, and
whatever is older than what is known is dropped; a list says nothing of what is younger than itself.
"""

import asyncio
import collections
import contextlib
import dataclasses
import datetime
import heapq
import itertools
from collections.abc import Iterable

from agentrun_operator import facts, models
from agentrun_operator.runner import agents, versions, words
from agentrun_operator.status import guard

_EXPECTED_SECONDS = 60.0  # in a rush kopf takes long until it has a run followed, and then not in their order
_NOTICE_SECONDS = 3.0  # what a kubelet takes at most to learn that a pod is gone, and to begin to end it
_CATCH_UP_SECONDS = 1.0  # a watch is some milliseconds late; one that shows nothing for so long may be broken


class World:
    """See the module."""

    def __init__(self) -> None:
        self._jobs: dict[str, facts.JobFacts] = {}  # by Job uid
        self._job_of_run: dict[tuple[str, int], str] = {}  # run uid and attempt → Job uid
        self._pods: dict[str, facts.PodFacts] = {}  # by Job uid: a Job has one pod, ever
        self._agents: collections.defaultdict[str, agents.Agent] = collections.defaultdict(agents.Agent)
        self._live: set[str] = set()  # Job uids
        self._wakes: dict[str, asyncio.Event] = {}  # by run uid
        self._limits: dict[str, datetime.datetime] = {}  # ends of usage limits, by credential
        self._shown: dict[str, int] = {}  # how far the watch of Jobs has come, by namespace ("" = all)
        self._pods_shown: dict[str, int] = {}  # and that of pods
        # Who waits for it to come to a version, by namespace as well: one watch says nothing of how far another is.
        self._behind: collections.defaultdict[str, list[tuple[int, int, asyncio.Event]]] = collections.defaultdict(list)
        self._tickets = itertools.count()

    # --- what runs ask ------------------------------------------------------------------------------------------

    def join(self, run: models.AgentRun) -> asyncio.Event:
        """Begin to follow a run; the event is set whenever something about it changed."""
        self.stand(run, ready=not run.spec.suspend)
        self.expect_no_more(run.agent_key, run.metadata.uid)
        return self._wakes.setdefault(run.metadata.uid, asyncio.Event())

    def stand(self, run: models.AgentRun, *, ready: bool) -> None:
        """Say whether a run that has no Job yet waits for its turn; one that is not ready holds nobody up."""
        waiting = self._agents[run.agent_key].waiting
        job = self.job_of(run)
        if ready and (job is None or job.held):
            waiting.setdefault(run.metadata.uid, _place(run))
        elif waiting.pop(run.metadata.uid, None):
            self._wake_waiting(run.agent_key)

    def expect(self, agent_key: str, run_uid: str, place: agents.Place) -> None:
        """A run is there and will be followed in a moment; whoever comes behind it waits, though not for ever."""
        if run_uid not in self._wakes:
            self._agents[agent_key].expected[run_uid] = place
            asyncio.get_running_loop().call_later(_EXPECTED_SECONDS, self.expect_no_more, agent_key, run_uid)

    def expect_no_more(self, agent_key: str, run_uid: str) -> None:
        """It is followed by now, or does not come."""
        agent = self._agents.get(agent_key)
        if agent is not None and agent.expected.pop(run_uid, None) is not None:
            self._wake_waiting(agent_key)
            self._tidy(agent_key)

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
        return self.ahead(run)

    def ahead(self, run: models.AgentRun) -> str:
        """The run without a Job that comes before this one in the agent's queue, in words; "" if there is none."""
        mine = _place(run)
        agent = self._agents[run.agent_key]
        first = min(itertools.chain(agent.waiting.values(), agent.expected.values()), default=mine)
        return f"AgentRun {first[-1]}" if first < mine else ""

    def occupant(self, run: models.AgentRun) -> agents.Occupant | None:
        """Who has the agent of ``run``, or has a Job that is ahead of its own."""
        agent, mine = self._agents[run.agent_key], self.job_of(run)
        mine = None if mine is None or mine.gone else mine
        others = [job for job in agent.jobs.values() if mine is None or job.uid != mine.uid]
        in_the_way = [job for job in others if job.live]
        in_the_way += [job for job in others if _is_ahead(job, mine)]
        if in_the_way:
            return agents.Occupant(words=words.describe(in_the_way[0], of=run), job=in_the_way[0])
        for pod in agent.pods.values():
            known = self._jobs.get(pod.job_uid)
            if known is None or known.finished:
                return agents.Occupant(words=words.describe_stray(pod))
        fading = self.fading(run)
        return agents.Occupant(words=fading) if fading else None

    def fading(self, run: models.AgentRun) -> str:
        """A pod of the agent that was taken away by force a moment ago, in words; "" if there is none."""
        return next((words.describe_fading(pod) for pod in self._agents[run.agent_key].fading.values()), "")

    def unowned(self, run: models.AgentRun) -> str:
        """Which Job without a run that is followed here has the agent, as a key; "" if there is none."""
        occupant = self.occupant(run)
        job = occupant.job if occupant else None
        return "" if job is None or self.is_followed(job.owner_uid) else f"{job.uid} {job.owner_uid}"

    def is_followed(self, run_uid: str) -> bool:
        """Whether the run is being followed here, so that it surely exists and has not ended."""
        return run_uid in self._wakes

    @property
    def live_runs(self) -> int:
        """How many Jobs are live."""
        return len(self._live)

    def live_logs(self) -> set[str]:
        """The logs of live Jobs, by their paths as agents see them.

        An agent may be writing there; and if it has ended, a run may still adopt the Job and has to read of it.
        """
        return {job.log_path for job in self._jobs.values() if job.live and job.log_path}

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
        """A Job as an answer shows it; ``gone`` if it was deleted."""
        if job.uid not in self._jobs and versions.is_over(job, self._shown):
            return  # an answer that came late: the watch has shown its end already, and nothing of it is known any more
        self.watch_shows_job(job)

    def watch_shows_job(self, job: facts.JobFacts) -> None:
        """A Job as it is now."""
        old = self._jobs.get(job.uid)
        if old is not None and (old.gone or (not job.gone and versions.is_older(job, old))):
            return  # overtaken: by the deletion, which is for ever, or by the answer to what changed it since
        if old is not None and old.owner_uid != job.owner_uid:
            self._job_of_run.pop((old.owner_uid, old.attempt), None)  # adopted, or let go
            self.wake(old.owner_uid)
            self._wake_waiting(job.agent_key)
        if job.gone and dataclasses.replace(job, gone=False).live:
            self._agents[job.agent_key].doubts += 1
        if job.gone and job.owner_uid not in self._wakes:
            self._forget(job)
        else:
            self._keep(job)
        self.wake(job.owner_uid)
        if not job.live and (old is None or old.live or job.gone):
            self._wake_waiting(job.agent_key)

    def saw_pod(self, pod: facts.PodFacts) -> None:
        """A pod as an answer shows it; ``gone`` if it was deleted."""
        if versions.is_over(pod, self._pods_shown) and not self._knows_pod(pod):
            return  # as above
        self.watch_shows_pod(pod)

    def _knows_pod(self, pod: facts.PodFacts) -> bool:
        last, agent = self._pods.get(pod.job_uid), self._agents.get(pod.agent_key)
        return (last is not None and last.uid == pod.uid) or (agent is not None and pod.uid in agent.pods)

    def watch_shows_pod(self, pod: facts.PodFacts) -> None:
        """A pod as it is now."""
        job, old = self._jobs.get(pod.job_uid), self._pods.get(pod.job_uid)
        if old is not None and old.uid == pod.uid and (old.gone or (not pod.gone and versions.is_older(pod, old))):
            return
        self._note_stray(pod)
        if pod.gone and (job is None or job.owner_uid not in self._wakes):
            self._pods.pop(pod.job_uid, None)
            return
        self._pods[pod.job_uid] = pod
        if job is not None:
            self.wake(job.owner_uid)

    def jobs(self) -> list[facts.JobFacts]:
        """The Jobs that are there."""
        return [job for job in self._jobs.values() if not job.gone]

    def pods(self) -> list[facts.PodFacts]:
        """The pods that are there."""
        at_work = (pod for agent in self._agents.values() for pod in agent.pods.values())
        return list({pod.uid: pod for pod in itertools.chain(self._pods.values(), at_work) if not pod.gone}.values())

    def listed_jobs(self, namespace: str, jobs: Iterable[facts.JobFacts], version: str) -> None:
        """All Jobs of ``namespace`` ("" = everywhere) as of ``version``; what is older and not among them is gone."""
        there = {job.uid: job for job in jobs}
        for job in there.values():
            self.watch_shows_job(job)
        for job in self.jobs():
            ours = namespace in {"", job.namespace}
            if ours and job.uid not in there and versions.number(job.version) <= versions.number(version):
                self.saw_job(dataclasses.replace(job, gone=True))

    def listed_pods(self, namespace: str, pods: Iterable[facts.PodFacts], version: str) -> None:
        """All pods of ``namespace``, in the same way."""
        there = {pod.uid: pod for pod in pods}
        for pod in there.values():
            self.saw_pod(pod)  # their watch may have gone on meanwhile
        for pod in self.pods():
            ours = namespace in {"", pod.namespace}
            if ours and pod.uid not in there and versions.number(pod.version) <= versions.number(version):
                self.saw_pod(dataclasses.replace(pod, gone=True, unseen=True))

    def jobs_shown(self, namespace: str, version: str) -> None:
        """The watch of Jobs in ``namespace`` ("" = everywhere) has shown everything up to ``version``."""
        self._shown[namespace] = shown = versions.number(version)
        behind = self._behind[namespace]
        while behind and behind[0][0] <= shown:
            heapq.heappop(behind)[-1].set()

    def pods_shown(self, namespace: str, version: str) -> None:
        """The watch of pods has, in the same way."""
        self._pods_shown[namespace] = versions.number(version)

    # --- the view of one agent, as good as a list ----------------------------------------------------------------

    async def view(
        self, run: models.AgentRun, since: facts.JobFacts | None = None
    ) -> tuple[list[facts.JobFacts], list[facts.PodFacts]] | None:
        """The agent's Jobs and pods, if that is as good as a list from etcd; None if it is not (docs/adr/0012).

        It holds every Job that was there when ``since`` was made, for the watch has shown all that came before, and
        every pod at work whose Job is gone: after a Job that vanished before its end, that has to be asked for.
        """
        if (since is not None and not await self._is_whole(run, since)) or self.doubts(run):
            return None
        agent = self._agents[run.agent_key]
        return [job for job in agent.jobs.values() if not job.gone], list(agent.pods.values())

    def doubts(self, run: models.AgentRun) -> int:
        """How many Jobs of the agent have vanished before they had ended, since its pods were listed."""
        return self._agents[run.agent_key].doubts

    def settle(self, run: models.AgentRun, doubts: int) -> None:
        """The agent's pods were listed, and there were so many doubts before: if no other came up, there is none."""
        agent = self._agents[run.agent_key]
        agent.doubts = 0 if agent.doubts == doubts else agent.doubts

    async def _is_whole(self, run: models.AgentRun, since: facts.JobFacts) -> bool:
        """Wait until the watch has come to this Job, and to whatever is known of the agent's Jobs.

        The answer to a request may be newer than that. Beside older facts of other Jobs it would make up a state that
        never was, in which two Jobs may start (tests/unit/test_guard.py).
        """
        watched = since.namespace if since.namespace in self._shown else ""
        if not versions.number(since.version) or not self._shown.get(watched):
            return False  # there is no watch, or nothing to compare
        jobs = self._agents[run.agent_key].jobs
        while (newest := max(versions.number(job.version) for job in (since, *jobs.values()))) > (
            shown := self._shown[watched]
        ):
            come = asyncio.Event()
            heapq.heappush(self._behind[watched], (newest, next(self._tickets), come))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CATCH_UP_SECONDS):
                    await come.wait()
            if self._shown[watched] == shown:
                return False  # it shows nothing any more; in a rush it is some way behind, and goes on
        return True

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
        (self._live.add if job.live else self._live.discard)(job.uid)
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
            if pod.vanished:
                agent.fading[pod.uid] = pod
                seconds = pod.grace_seconds + _NOTICE_SECONDS
                asyncio.get_running_loop().call_later(seconds, self._has_faded, pod.agent_key, pod.uid)
            self._wake_waiting(pod.agent_key)
            self._tidy(pod.agent_key)

    def _has_faded(self, agent_key: str, uid: str) -> None:
        """By now, the pod's node has killed what did not end by itself."""
        del self._agents[agent_key].fading[uid]
        self._wake_waiting(agent_key)
        self._tidy(agent_key)

    def _forget(self, job: facts.JobFacts) -> None:
        self._jobs.pop(job.uid, None)
        self._live.discard(job.uid)
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
        if (
            not (agent.waiting or agent.expected)
            and not agent.jobs
            and not (agent.pods or agent.fading)
            and not agent.doubts
            and not agent.lock.locked()
        ):
            del self._agents[agent_key]


def _is_ahead(job: facts.JobFacts, mine: facts.JobFacts | None) -> bool:
    return guard.is_in_row(job) and (mine is None or (mine.held and guard.place(job) < guard.place(mine)))


def _place(run: models.AgentRun) -> agents.Place:
    """Where the run stands in its agent's queue: by priority, then by age."""
    return -run.spec.priority, run.metadata.creation_timestamp, run.metadata.name
