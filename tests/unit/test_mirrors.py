"""Jobs and pods as the API server shows them, in the world: the first look, the watches, and their gaps."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentrun_operator import errors, facts, models, names, runner
from agentrun_operator.runner import mirrors
from tests import builders, fakes
from tests.clock import now, virtual

Body = dict[str, Any]
LATER = 11.0  # seconds, after which whatever is tried again has been tried again


def unavailable() -> errors.UnavailableError:
    """No answer."""
    return errors.UnavailableError("try again", status=503)


def a_run(name: str = "a", **given: Any) -> models.AgentRun:
    """An AgentRun; all are of one agent unless said otherwise."""
    return models.AgentRun.parse(builders.agent_run(name=name, uid=f"uid-{name}", runId=name, **given))


class Cluster:
    """An API in memory whose watches show what a test says, and the world that mirrors it."""

    def __init__(self, *namespaces: str) -> None:
        self.kube = fakes.FakeKube()
        self.world = runner.World()
        self.namespaces = namespaces or ("",)
        self.owns: Callable[[str], bool] = lambda _agent_key: True
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Mirror everything; the watches are open then."""
        self.tasks += await mirrors.begin(self.kube, self.world, self.namespaces, self.owns)
        await asyncio.sleep(0.001)

    def job(self, name: str = "a", *, namespace: str = "team-a", agent: str = "coder", **given: Any) -> Body:
        """The Job of a run is there; nobody has shown it."""
        run = builders.agent_run(name=name, uid=f"uid-{name}", runId=name, namespace=namespace, agent=agent)
        made = builders.job(run, uid=f"job-{name}", resourceVersion=self.kube.next_version(), **given)
        self.kube.jobs[namespace, name] = made
        return made

    def pod(self, job: Body, **given: Any) -> Body:
        """Its pod is there; nobody has shown it."""
        made = builders.pod(job, uid=f"pod-of-{job['metadata']['uid']}", **given)
        made["metadata"]["resourceVersion"] = self.kube.next_version()
        self.kube.pods[made["metadata"]["namespace"], made["metadata"]["name"]] = made
        return made

    def remove(self, *bodies: Body) -> list[Body]:
        """They are gone, pods in good order; nobody has shown that. Returns what a watch shows of them, in the end."""
        for body in bodies:
            kept = self.kube.jobs if body["kind"] == "Job" else self.kube.pods
            [place] = [place for place, other in kept.items() if other is body]
            del kept[place]
        return [
            {
                **body,
                "metadata": {**body["metadata"], "resourceVersion": self.kube.next_version()},
                "status": body["status"] if body["kind"] == "Job" else {**body["status"], "phase": "Failed"},
            }
            for body in bodies
        ]

    async def show(self, kind: str, body: Body) -> None:
        """A watch shows this."""
        self.kube.show(kind, {"Job": "jobs", "Pod": "pods"}[body["kind"]], body)
        await asyncio.sleep(0.001)

    def gap(self, plural: str) -> None:
        """The watch cannot go on where it was."""
        self.kube.show("ERROR", plural, {"code": 410, "message": "too old resource version"})

    @property
    def known(self) -> tuple[list[str], list[str]]:
        """The uids of Jobs and pods that are there, as far as the world knows."""
        return sorted(job.uid for job in self.world.jobs()), sorted(pod.uid for pod in self.world.pods())


@contextlib.asynccontextmanager
async def mirrored(*namespaces: str) -> AsyncIterator[Cluster]:
    """A cluster, and at the end nothing that goes on."""
    made = Cluster(*namespaces)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        ends = await asyncio.gather(*made.tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)


# ---------------------------------------------------------------------------------------------------- the first look


@virtual
async def test_jobs_are_seen_before_pods_and_all_before_it_returns() -> None:
    """Each watch goes on from its own list, and both go on."""
    async with mirrored() as cluster:
        cluster.pod(cluster.job())
        await cluster.begin()
        assert cluster.known == (["job-a"], ["pod-of-job-a"])
        assert [verb for verb in cluster.kube.verbs() if verb.startswith("list")] == ["list_jobs", "list_pods"]
        assert {("watch_jobs", "102"), ("watch_pods", "102")} <= set(cluster.kube.calls)
        assert [task.done() for task in cluster.tasks] == [False, False]


@virtual
async def test_every_watched_namespace_is_mirrored() -> None:
    """And no other."""
    async with mirrored("team-a", "team-b") as cluster:
        for namespace in ("team-a", "team-b", "team-c"):
            cluster.pod(cluster.job(namespace, namespace=namespace))
        await cluster.begin()
        assert cluster.known == (["job-team-a", "job-team-b"], ["pod-of-job-team-a", "pod-of-job-team-b"])
        assert len(cluster.tasks) == 4
        assert {what for verb, what in cluster.kube.calls if verb.startswith("list")} == {"team-a", "team-b"}


@pytest.mark.parametrize("verb", ["list_jobs", "list_pods"])
@virtual
async def test_the_first_list_must_succeed(verb: str) -> None:
    """No run may be judged before everything was seen once: it is asked for until there is an answer."""
    async with mirrored() as cluster:
        cluster.pod(cluster.job())
        cluster.kube.fail[verb] = [unavailable()] * 20
        began = asyncio.create_task(cluster.begin())
        await asyncio.sleep(60)
        assert not began.done()
        await asyncio.sleep(180)
        assert began.done()
        assert cluster.kube.verbs().count(verb) == 21
        assert cluster.known == (["job-a"], ["pod-of-job-a"])


@pytest.mark.parametrize("verb", ["list_jobs", "list_pods"])
@virtual
async def test_who_is_ended_during_the_first_look_leaves_nothing_running(verb: str) -> None:
    """The process is told to stop while the API server is away."""
    cluster = Cluster()
    cluster.kube.hold = {verb}
    before = asyncio.all_tasks()
    began = asyncio.create_task(cluster.begin())
    await asyncio.sleep(60)
    began.cancel()
    await asyncio.gather(began, return_exceptions=True)
    await asyncio.sleep(0)
    assert (began.cancelled(), asyncio.all_tasks()) == (True, before)


@virtual
async def test_what_other_shards_look_after_is_passed_over() -> None:
    """In lists, in watches and after gaps; how far the watch has come counts all the same."""
    async with mirrored() as cluster:
        cluster.owns = lambda agent_key: agent_key == "team-a/acme/coder"
        for name, agent in (("a", "coder"), ("b", "theirs")):
            cluster.pod(cluster.job(name, agent=agent))
        await cluster.begin()
        assert cluster.known == (["job-a"], ["pod-of-job-a"])
        theirs = cluster.job("c", agent="theirs")
        await cluster.show("ADDED", theirs)
        await cluster.show("ADDED", cluster.pod(theirs))
        mine = facts.parse_job(
            builders.job(builders.agent_run(), resourceVersion=theirs["metadata"]["resourceVersion"])
        )
        assert await cluster.world.view(a_run(), mine) is not None
        cluster.pod(cluster.job("d", agent="theirs"))
        for plural in ("jobs", "pods"):
            cluster.gap(plural)
        await asyncio.sleep(LATER)
        assert cluster.kube.verbs().count("list_jobs") == 2
        assert cluster.known == (["job-a"], ["pod-of-job-a"])


# -------------------------------------------------------------------------------------------------------- the watches


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED"])
@virtual
async def test_what_a_watch_shows_is_known_and_wakes_its_run(kind: str) -> None:
    """Added and changed objects alike."""
    async with mirrored() as cluster:
        await cluster.begin()
        run = a_run()
        wake = cluster.world.join(run)
        job = cluster.job()
        await cluster.show(kind, job)
        assert wake.is_set()
        wake.clear()
        await cluster.show(kind, cluster.pod(job, main=builders.running()))
        assert wake.is_set()
        seen, pod = cluster.world.job_of(run), cluster.world.pod_of("job-a")
        assert (seen, pod) == (facts.parse_job(job), facts.parse_pod(cluster.kube.pods.popitem()[1]))


@virtual
async def test_what_is_deleted_is_gone() -> None:
    """A run that follows them sees both go, as they were in the end."""
    async with mirrored() as cluster:
        job = cluster.job()
        pod = cluster.pod(job)
        await cluster.begin()
        run = a_run()
        cluster.world.join(run)
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        for body in cluster.remove(pod, job):
            await cluster.show("DELETED", body)
        seen, left = cluster.world.job_of(run), cluster.world.pod_of("job-a")
        assert seen is not None
        assert (seen.gone, seen.complete) == (True, True)
        assert left is None or left.gone
        assert cluster.known == ([], [])


@virtual
async def test_what_nobody_follows_is_forgotten_with_its_deletion() -> None:
    """Jobs outlive their runs until their TTL; they leave nothing behind but how far the watch is."""
    async with mirrored() as cluster:
        await cluster.begin()
        fresh = {name: value for name, value in vars(cluster.world).items() if value}
        job = cluster.job(conditions={"Complete": ""})
        pod = cluster.pod(job, phase="Succeeded")
        for body in (job, pod):
            await cluster.show("ADDED", body)
        assert cluster.known == (["job-a"], ["pod-of-job-a"])
        for body in cluster.remove(job, pod):
            await cluster.show("DELETED", body)
        assert {name: value for name, value in vars(cluster.world).items() if value}.keys() == fresh.keys()


@virtual
async def test_a_bookmark_shows_that_nothing_was_left_out() -> None:
    """Who waits for the watch to come to its own Job goes on; it is of no use for pods."""
    async with mirrored() as cluster:
        await cluster.begin()
        run, job = a_run(), cluster.job(suspend=True, annotations={names.ANNOTATION_HELD: names.HELD})
        cluster.world.saw_job(facts.parse_job(job))
        asked = asyncio.create_task(cluster.world.view(run, facts.parse_job(job)))
        cluster.kube.bookmark("pods", "900")
        await asyncio.sleep(0.5)
        assert not asked.done()
        cluster.kube.bookmark("jobs", job["metadata"]["resourceVersion"])
        assert await asked == ([facts.parse_job(job)], [])


@virtual
async def test_how_far_a_watch_is_counts_for_its_namespace_only() -> None:
    """Each goes its own way."""
    async with mirrored("team-a", "team-b") as cluster:
        await cluster.begin()
        run, elsewhere = a_run(), a_run(namespace="team-b")
        jobs = {where: facts.parse_job(cluster.job(namespace=where, suspend=True)) for where in ("team-a", "team-b")}
        cluster.kube.bookmark("jobs", cluster.kube.newest())  # to the watch that was opened first
        await asyncio.sleep(0.001)
        assert await cluster.world.view(run, jobs["team-a"]) is not None
        assert await cluster.world.view(elsewhere, jobs["team-b"]) is None


@pytest.mark.parametrize(
    "strange",
    [
        {"metadata": {"labels": [], "annotations": "x", "ownerReferences": {"a": 1}}},
        {"metadata": {"name": None, "uid": 7, "namespace": {}}},
        {"spec": None, "status": "x"},
        {"spec": [], "status": {"conditions": 5, "containerStatuses": [3, None]}},
    ],
)
@virtual
async def test_an_object_that_makes_no_sense_ends_no_mirror(strange: Body) -> None:
    """What cannot be understood of it is left out."""
    async with mirrored() as cluster:
        await cluster.begin()
        body = {**strange, "metadata": {**strange.get("metadata", {}), "resourceVersion": cluster.kube.next_version()}}
        for plural in ("jobs", "pods"):
            cluster.kube.show("ADDED", plural, body)
        await asyncio.sleep(1)
        job = cluster.job()
        for thing in (job, cluster.pod(job)):
            await cluster.show("ADDED", thing)
        assert [task.done() for task in cluster.tasks] == [False, False]
        assert ("job-a" in cluster.known[0], "pod-of-job-a" in cluster.known[1]) == (True, True)


# ------------------------------------------------------------------------------------------- answers that come late

# The answer to a list or to a patch may come when the watch has shown the end of what it tells of. If nobody follows
# that, nothing is known of it any more by then; nobody would tell of its end again.


@pytest.mark.parametrize("state", ["live", "held", "finished"])
@virtual
async def test_an_answer_that_is_late_does_not_bring_a_job_back(state: str) -> None:
    """Neither does it occupy the agent again, nor is it kept for ever."""
    given: dict[str, Body] = {
        "live": {},
        "held": {"suspend": True, "annotations": {names.ANNOTATION_HELD: names.HELD}},
        "finished": {"conditions": {"Complete": ""}},
    }
    async with mirrored() as cluster:
        await cluster.begin()
        job = cluster.job("b", **given[state])
        await cluster.show("ADDED", job)
        answer = facts.parse_job(job)
        [end] = cluster.remove(job)
        await cluster.show("DELETED", end)
        cluster.world.saw_job(answer)
        assert (cluster.known, cluster.world.busy_with(a_run())) == (([], []), "")


@virtual
async def test_an_answer_that_is_late_does_not_bring_a_pod_back() -> None:
    """Else whoever needs the agent would wait for it for ever."""
    async with mirrored() as cluster:
        await cluster.begin()
        job = cluster.job("b")
        pod = cluster.pod(job, main=builders.running())
        for body in (job, pod):
            await cluster.show("ADDED", body)
        answer = facts.parse_pod(pod)
        for end in cluster.remove(pod, job):
            await cluster.show("DELETED", end)
        cluster.world.saw_pod(answer)
        assert (cluster.known, cluster.world.busy_with(a_run())) == (([], []), "")


@virtual
async def test_an_answer_that_is_late_does_not_bring_one_of_two_pods_back() -> None:
    """Kubernetes made two of one Job, and what is known of the other says nothing of this one."""
    async with mirrored() as cluster:
        await cluster.begin()
        job = cluster.job("b")
        await cluster.show("ADDED", job)
        first = cluster.pod(job, main=builders.running())
        answer = facts.parse_pod(first)
        await cluster.show("ADDED", first)
        first["status"]["phase"] = "Failed"
        for uid, body in (("pod-of-job-b", first), ("second", copy.deepcopy(first))):
            body["metadata"] |= {"uid": uid, "resourceVersion": cluster.kube.next_version()}
            await cluster.show("MODIFIED", body)
        [end] = cluster.remove(job)
        await cluster.show("DELETED", end)
        cluster.world.saw_pod(answer)
        assert cluster.world.busy_with(a_run()) == ""


# ----------------------------------------------------------------------------------------------------------- the gaps


@virtual
async def test_what_vanished_in_a_gap_is_gone_after_it() -> None:
    """Both are found missing by the lists: of the Job's first, then of its own watch's."""
    async with mirrored() as cluster:
        job = cluster.job()
        pod = cluster.pod(job)
        await cluster.begin()
        run = a_run()
        wake = cluster.world.join(run)
        cluster.remove(pod, job)
        await asyncio.sleep(60)
        wake.clear()
        assert cluster.known == (["job-a"], ["pod-of-job-a"])
        cluster.gap("jobs")
        await asyncio.sleep(LATER)
        assert (cluster.known, wake.is_set()) == (([], []), True)
        seen = cluster.world.job_of(run)
        assert seen is not None
        assert seen.gone


@virtual
async def test_a_pod_that_vanished_in_a_gap_of_its_watch_is_gone_after_it() -> None:
    """The watch of Jobs goes on meanwhile."""
    async with mirrored() as cluster:
        job = cluster.job()
        pod = cluster.pod(job)
        await cluster.begin()
        cluster.remove(pod)
        cluster.gap("pods")
        await asyncio.sleep(LATER)
        assert cluster.known == (["job-a"], [])
        assert cluster.kube.verbs().count("list_jobs") == 1


@virtual
async def test_what_came_and_changed_in_a_gap_is_shown_by_the_list() -> None:
    """Nothing has to be shown once more."""
    async with mirrored() as cluster:
        job = cluster.job()
        await cluster.begin()
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        job["metadata"]["resourceVersion"] = cluster.kube.next_version()
        cluster.pod(cluster.job("b"))
        for plural in ("jobs", "pods"):
            cluster.gap(plural)
        await asyncio.sleep(LATER)
        assert cluster.known == (["job-a", "job-b"], ["pod-of-job-b"])
        assert [seen.uid for seen in cluster.world.jobs() if seen.complete] == ["job-a"]


@virtual
async def test_an_agent_whose_job_came_and_went_within_a_gap_is_busy_as_long_as_its_pod() -> None:
    """Neither watch has shown anything of it. When the one of Jobs goes on, the agent must not be taken for free."""
    async with mirrored() as cluster:
        await cluster.begin()
        run = a_run("b")
        cluster.world.join(run)
        moments: list[tuple[str, bool]] = []
        real = cluster.world.jobs_shown

        def jobs_shown(namespace: str, version: str) -> None:
            real(namespace, version)
            moments.append((version, bool(cluster.world.busy_with(run))))

        cluster.world.jobs_shown = jobs_shown  # type: ignore[method-assign]  # of this one instance
        job = cluster.job()
        pod = cluster.pod(job, main=builders.running())
        cluster.remove(job)
        cluster.gap("jobs")
        await asyncio.sleep(LATER)
        assert moments == [(cluster.kube.newest(), True)]
        assert "although its Job is over" in cluster.world.busy_with(run)
        assert await cluster.world.view(run) == ([], [facts.parse_pod(pod)])
        lists = [verb for verb in cluster.kube.verbs() if verb.startswith("list")]
        assert lists == ["list_jobs", "list_pods", "list_jobs", "list_pods"]
        [end] = cluster.remove(pod)
        await cluster.show("DELETED", end)
        assert cluster.world.busy_with(run) == ""


def test_a_pod_that_vanishes_while_pods_are_listed_after_a_gap_does_not_rise_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The watch of pods has no gap: it shows the end of a pod before the list is here that still has it."""
    real = fakes.FakeSource.list

    async def slow(self: fakes.FakeSource[Any]) -> tuple[list[Any], str]:
        answer = await real(self)
        await asyncio.sleep(2 if self.plural == "pods" else 0)
        return answer

    @virtual
    async def work() -> None:
        async with mirrored() as cluster:
            await cluster.begin()
            job = cluster.job()
            pod = cluster.pod(job, main=builders.running())
            for body in (job, pod):
                await cluster.show("ADDED", body)
            monkeypatch.setattr(fakes.FakeSource, "list", slow)
            cluster.gap("jobs")
            await asyncio.sleep(1)
            [end] = cluster.remove(pod)
            await cluster.show("DELETED", end)
            await asyncio.sleep(LATER)
            assert cluster.known == (["job-a"], [])
            [end] = cluster.remove(job)
            await cluster.show("DELETED", end)
            assert (cluster.known, cluster.world.busy_with(a_run("b"))) == (([], []), "")

    work()


@virtual
async def test_after_a_gap_jobs_are_told_of_only_with_the_pods() -> None:
    """As long as the list of pods fails, nothing is known to be gone, and the watch has come no further."""
    async with mirrored() as cluster:
        job = cluster.job(suspend=True, annotations={names.ANNOTATION_HELD: names.HELD})
        await cluster.begin()
        run, late = a_run("b"), cluster.job("b", suspend=True, annotations={names.ANNOTATION_HELD: names.HELD})
        cluster.remove(job)
        cluster.kube.fail["list_pods"] = [unavailable()] * 3
        cluster.gap("jobs")
        await asyncio.sleep(1)
        assert cluster.known == (["job-a"], [])
        assert await cluster.world.view(run, facts.parse_job(late)) is None
        await asyncio.sleep(20)
        assert cluster.known == (["job-b"], [])
        assert await cluster.world.view(run, facts.parse_job(late)) == ([facts.parse_job(late)], [])
        assert cluster.kube.verbs().count("list_jobs") == 1 + 4


@virtual
async def test_a_gap_in_one_namespace_says_nothing_of_another() -> None:
    """What is missing in the list of one was never in it."""
    async with mirrored("team-a", "team-b") as cluster:
        for namespace in ("team-a", "team-b"):
            cluster.pod(cluster.job(namespace, namespace=namespace))
        await cluster.begin()
        everything = cluster.known
        cluster.gap("jobs")  # of whichever watch takes it from the queue
        cluster.gap("pods")
        await asyncio.sleep(LATER)
        assert cluster.kube.verbs().count("list_jobs") == 3
        assert cluster.known == everything


@virtual
async def test_mirrors_outlive_an_api_server_that_is_away_for_long() -> None:
    """They ask now and then, and show what is there when it is back."""
    async with mirrored() as cluster:
        await cluster.begin()
        for verb in ("watch_jobs", "watch_pods", "list_jobs", "list_pods"):
            cluster.kube.fail[verb] = [unavailable()] * 60
        for plural in ("jobs", "pods"):
            cluster.kube.lines[plural].put_nowait(unavailable())
        began, before = now(), len(cluster.kube.calls)
        cluster.pod(cluster.job())
        while cluster.known != (["job-a"], ["pod-of-job-a"]):
            await asyncio.sleep(1)
            assert now() - began < 3600
        assert now() - began > 300
        assert len(cluster.kube.calls) - before < 4 * 65
        assert [task.done() for task in cluster.tasks] == [False, False]
