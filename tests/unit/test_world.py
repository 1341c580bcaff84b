"""What the shared watches have shown: whose turn it is, who is woken, and that nothing is kept for ever."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from agentrun_operator import facts, models, names
from agentrun_operator.runner import world
from tests import builders


def make_run(name: str, *, created: str = builders.CREATED, **spec: Any) -> models.AgentRun:
    """An AgentRun whose uid is its name; all are of one agent unless ``spec`` says otherwise."""
    body = builders.agent_run(name=name, uid=f"uid-{name}", runId=name, **spec)
    body["metadata"]["creationTimestamp"] = created
    return models.AgentRun.parse(body)


def make_job(run: models.AgentRun, uid: str = "", **given: Any) -> facts.JobFacts:
    """The Job of a run."""
    body = builders.agent_run(name=run.metadata.name, uid=run.metadata.uid, runId=run.run_id, agent=run.spec.agent.id)
    return facts.parse_job(builders.job(body, uid=uid or f"job-of-{run.metadata.name}", **given))


def make_pod(job: facts.JobFacts, uid: str = "", *, version: str = "", **given: Any) -> facts.PodFacts:
    """The pod of a Job."""
    parsed = facts.parse_pod(builders.pod(uid=uid or f"pod-of-{job.uid}", **given))
    return dataclasses.replace(parsed, job_uid=job.uid, namespace=job.namespace, version=version)


def gone(seen: facts.JobFacts) -> facts.JobFacts:
    """The Job after its deletion."""
    return dataclasses.replace(seen, gone=True)


def lost(seen: facts.PodFacts) -> facts.PodFacts:
    """The pod after its deletion, which a list found out."""
    return dataclasses.replace(seen, gone=True, unseen=True)


def pod_gone(seen: facts.PodFacts) -> facts.PodFacts:
    """The pod after its deletion: a kubelet ends it first, and says so."""
    return dataclasses.replace(seen, phase="Failed", gone=True)


def kept(seen: world.World) -> dict[str, object]:
    """Everything that the world still holds; {} when it has forgotten all but how far its watches are."""
    everything = {name: value for name, value in vars(seen).items() if value and name not in {"_shown", "_tickets"}}
    if not any(everything.get("_behind", {}).values()):
        everything.pop("_behind", None)
    return everything


def leave_behind(seen: world.World, run: models.AgentRun) -> dict[str, object]:
    """What is kept when a run of the agent has listed its pods and left."""
    seen.settle(run, seen.doubts(run))
    seen.leave(run)
    return kept(seen)


@pytest.fixture
def shown() -> world.World:
    """A world of which nothing is known."""
    return world.World()


# ---------------------------------------------------------------------------------------------------------- turns


@pytest.mark.parametrize(
    ("mine", "others", "busy"),
    [
        (("b", 5), [], ""),
        (("b", 5), [("a", 4)], "AgentRun a"),
        (("b", 5), [("a", 6)], ""),
        (("b", 5), [("a", 5)], "AgentRun a"),
        (("b", 5), [("c", 5)], ""),
        (("b", 5), [("d", 4), ("c", 3), ("e", 9)], "AgentRun c"),
    ],
)
async def test_runs_wait_by_creation_then_name(
    shown: world.World, mine: tuple[str, int], others: list[tuple[str, int]], busy: str
) -> None:
    """The oldest run of an agent comes first; of two that are equally old, the one whose name sorts first."""
    runs = [make_run(name, created=f"2026-01-02T03:04:0{second}Z") for name, second in (mine, *others)]
    for run in reversed(runs):
        shown.join(run)
    assert shown.busy_with(runs[0]) == busy


async def test_the_higher_priority_comes_first_whatever_its_age(shown: world.World) -> None:
    """Of two that are equally important, the older one."""
    old, urgent = make_run("a", created="2026-01-02T03:04:05Z"), make_run("b", priority=1)
    for run in (old, urgent):
        shown.join(run)
    assert (shown.busy_with(old), shown.busy_with(urgent)) == ("AgentRun b", "")


async def test_a_run_that_cannot_start_yet_holds_nobody_up(shown: world.World) -> None:
    """It is suspended, or its prompt is missing; when that is over it stands where it belongs."""
    held, other = make_run("a", suspend=True), make_run("b")
    shown.join(held)
    turn = shown.join(other)
    assert (shown.busy_with(other), shown.busy_with(held)) == ("", "")
    shown.stand(held, ready=True)
    assert shown.busy_with(other) == "AgentRun a"
    turn.clear()
    shown.stand(held, ready=False)
    assert (shown.busy_with(other), turn.is_set()) == ("", True)
    shown.saw_job(make_job(held))
    shown.stand(held, ready=True)
    shown.saw_job(gone(make_job(held)))
    assert shown.busy_with(other) == "", "a run that had its Job does not queue again"


async def test_agents_do_not_wait_for_each_other(shown: world.World) -> None:
    """Company, agent and namespace together are the identity."""
    first = make_run("a")
    others = [make_run("b", agent="other"), make_run("c", companyId="other")]
    elsewhere = builders.agent_run(name="d", uid="uid-d", namespace="team-b")
    others.append(models.AgentRun.parse(elsewhere))
    for run in (first, *others):
        shown.join(run)
    shown.saw_job(make_job(first))
    assert [shown.busy_with(run) for run in others] == ["", "", ""]
    assert len({id(shown.lock(run)) for run in (first, *others)}) == 4


async def test_a_live_job_of_another_run_occupies_the_agent(shown: world.World) -> None:
    """Until it has finished or is gone; being deleted is not enough, and the own Job does not count."""
    mine, other = make_run("a"), make_run("b")
    shown.join(mine)
    shown.join(other)
    for job, busy in [
        (make_job(other), "AgentRun b"),
        (make_job(other, deleting=True), "AgentRun b"),
        (make_job(other, conditions={"Failed": "BackoffLimitExceeded"}), ""),
        (make_job(other, conditions={"Complete": "CompletionsReached"}), ""),
        (gone(make_job(other)), ""),
    ]:
        shown.saw_job(job)
        assert shown.busy_with(mine) == busy
    shown.saw_job(make_job(mine))
    assert shown.busy_with(mine) == ""


async def test_two_jobs_of_one_agent(shown: world.World) -> None:
    """Should it ever come to that, the agent is free when both have ended."""
    mine, first, second = make_run("c"), make_run("a"), make_run("b")
    shown.join(mine)
    for run in (first, second):
        shown.saw_job(make_job(run))
    assert shown.busy_with(mine) in {"AgentRun a", "AgentRun b"}
    shown.saw_job(gone(make_job(first)))
    assert shown.busy_with(mine) == "AgentRun b"
    shown.saw_job(gone(make_job(second)))
    assert shown.busy_with(mine) == ""
    assert leave_behind(shown, mine) == {}


async def test_a_job_without_a_known_owner_is_named_itself(shown: world.World) -> None:
    """The message of a queued run always names something that can be looked up."""
    mine = make_run("a")
    shown.join(mine)
    orphan = make_job(make_run("b"), ownerReferences=[])
    shown.saw_job(orphan)
    assert shown.busy_with(mine) == f"Job {orphan.name}, which has no AgentRun"


# ----------------------------------------------------------------------------------------------------------- the gate


def make_held(run: models.AgentRun, uid: str = "", **given: Any) -> facts.JobFacts:
    """The Job of a run, as it waits at the gate."""
    return dataclasses.replace(make_job(run, uid, suspend=True, **given), gate=names.HELD)


def orphan(**given: Any) -> facts.JobFacts:
    """The live Job of a run that nobody follows."""
    return make_job(make_run("lost"), **given)


@pytest.mark.parametrize(
    ("mine", "other", "busy"),
    [
        (None, "held", "AgentRun b"),
        (None, "held, on its way out", ""),
        ("held", "held later", ""),
        ("held", "held earlier", "AgentRun b"),
        ("held", "live", "AgentRun b"),
        ("live", "held earlier", ""),
        ("gone", "held later", "AgentRun b"),
    ],
)
async def test_held_jobs_stand_in_a_row(shown: world.World, mine: str | None, other: str, busy: str) -> None:
    """A run without a Job comes after all of them, one with a Job after those that are older."""
    run, rival = make_run("a"), make_run("b")
    shown.join(run)
    jobs = {
        "held": make_held(rival),
        "held, on its way out": make_held(rival, deleting=True),
        "held later": make_held(rival, creationTimestamp="2026-01-02T03:04:06Z"),
        "held earlier": make_held(rival, creationTimestamp="2026-01-02T03:04:04Z"),
        "live": make_job(rival),
    }
    own = {"held": make_held(run), "live": make_job(run), "gone": gone(make_held(run))}
    if mine is not None:
        shown.saw_job(make_held(run))
        shown.saw_job(own[mine])
    shown.saw_job(jobs[other])
    assert shown.busy_with(run) == busy
    assert (shown.occupant(run) is not None) is bool(busy)


async def test_who_stands_at_the_gate_waits_for_nobody_in_the_queue(shown: world.World) -> None:
    """Whoever is more important, but came later, waits for that Job: so they must not wait for each other."""
    mine, urgent = make_run("a"), make_run("b", priority=1)
    for run in (mine, urgent):
        shown.join(run)
    assert (shown.busy_with(mine), shown.busy_with(urgent)) == ("AgentRun b", "")
    shown.saw_job(make_held(mine))
    assert (shown.busy_with(mine), shown.busy_with(urgent)) == ("", "AgentRun a")
    shown.saw_job(gone(make_held(mine)))
    assert (shown.busy_with(mine), shown.busy_with(urgent)) == ("AgentRun b", "")


async def test_a_run_at_the_gate_is_woken_like_one_in_the_queue(shown: world.World) -> None:
    """When what is in its way has ended; when it has passed, it waits no longer."""
    mine, other = make_run("a"), make_run("b")
    wake = shown.join(mine)
    shown.saw_job(make_job(other))
    shown.saw_job(make_held(mine))
    shown.stand(mine, ready=True)
    wake.clear()
    shown.saw_job(make_job(other, conditions={"Complete": ""}))
    assert wake.is_set()
    shown.saw_job(make_job(mine))
    shown.stand(mine, ready=True)
    wake.clear()
    shown.saw_job(gone(make_job(other)))
    assert not wake.is_set()


# --------------------------------------------------------------------------------------------- what nobody follows


async def test_a_pod_that_outlives_its_job_keeps_the_agent(shown: world.World) -> None:
    """Until it has ended; its node may not answer, and the agent be at work there."""
    mine = make_run("a")
    wake = shown.join(mine)
    job = make_job(make_run("b"))
    pod = make_pod(job)
    shown.saw_job(job)
    shown.saw_pod(pod)
    shown.saw_job(gone(job))
    occupant = shown.occupant(mine)
    assert occupant is not None
    assert (occupant.job, occupant.words) == (None, shown.busy_with(mine))
    assert occupant.words == f"pod {pod.name}, which is still there on node node-1 although its Job is over"
    assert shown.unowned(mine) == ""
    wake.clear()
    shown.saw_pod(make_pod(job, phase="Failed"))
    assert (shown.busy_with(mine), wake.is_set()) == ("", True)
    shown.saw_pod(pod_gone(pod))
    assert leave_behind(shown, mine) == {}


async def test_a_pod_that_has_not_ended_keeps_the_agent_when_its_job_has(shown: world.World) -> None:
    """A Job that is over its deadline has failed at once, before Kubernetes 1.31; its pod has its grace period."""
    mine = make_run("a")
    shown.join(mine)
    job = make_job(make_run("b"), conditions={"Failed": "DeadlineExceeded"})
    pod = make_pod(job)
    shown.saw_job(job)
    shown.saw_pod(pod)
    assert shown.busy_with(mine) == f"pod {pod.name}, which is still there on node node-1 although its Job is over"
    shown.saw_pod(make_pod(job, phase="Failed"))
    assert shown.busy_with(mine) == ""


@pytest.mark.parametrize("see", [lambda pod: dataclasses.replace(pod, gone=True), lost])
async def test_a_pod_that_was_removed_by_force_keeps_the_agent_for_its_grace_period(
    shown: world.World, monkeypatch: pytest.MonkeyPatch, see: Callable[[facts.PodFacts], facts.PodFacts]
) -> None:
    """Kubernetes has forgotten it at once, and its processes are told to end only now."""
    monkeypatch.setattr(world, "_NOTICE_SECONDS", 0.02)
    mine = make_run("a")
    wake = shown.join(mine)
    pod = dataclasses.replace(make_pod(orphan()), grace_seconds=0)
    shown.saw_pod(pod)
    shown.saw_pod(see(pod))
    assert shown.busy_with(mine) == shown.fading(mine)
    assert shown.fading(mine) == (
        f"pod {pod.name}, which was removed by force; its agent may go on for up to 0 s on node node-1"
    )
    wake.clear()
    async with asyncio.timeout(10):
        await wake.wait()
    assert (shown.busy_with(mine), shown.fading(mine)) == ("", "")
    assert leave_behind(shown, mine) == {}


async def test_a_pod_that_never_had_a_node_is_gone_when_it_is_removed(shown: world.World) -> None:
    """Nobody has anything of it to end."""
    mine = make_run("a")
    shown.join(mine)
    pod = make_pod(orphan(), node="", phase="Pending")
    shown.saw_pod(pod)
    shown.saw_pod(dataclasses.replace(pod, gone=True))
    assert shown.busy_with(mine) == ""


async def test_a_pod_without_a_node_is_described_too(shown: world.World) -> None:
    """The sentence stays one."""
    mine = make_run("a")
    shown.join(mine)
    pod = make_pod(orphan(), node="", phase="Pending")
    shown.saw_pod(pod)
    assert shown.busy_with(mine) == f"pod {pod.name}, which is still there although its Job is over"


@pytest.mark.parametrize("pod", [{"agent": "other"}, {"companyId": "other"}])
async def test_a_pod_of_another_agent_is_in_nobodys_way(shown: world.World, pod: dict[str, Any]) -> None:
    """It is told by its labels, for its Job may never have been seen."""
    mine = make_run("a")
    shown.join(mine)
    shown.saw_pod(facts.parse_pod(builders.pod(builders.job(builders.agent_run(**pod)))))
    assert shown.busy_with(mine) == ""


async def test_a_job_whose_run_nobody_follows_is_named_by_a_key(shown: world.World) -> None:
    """So each is looked into once; the key is another one when it gets another owner."""
    mine, other = make_run("a"), make_run("lost")
    shown.join(mine)
    assert shown.unowned(mine) == ""
    shown.saw_job(orphan())
    assert shown.unowned(mine) == "job-of-lost uid-lost"
    shown.join(other)
    assert (shown.unowned(mine), shown.is_followed("uid-lost")) == ("", True)
    shown.leave(other)
    assert (shown.unowned(mine), shown.is_followed("uid-lost")) == ("job-of-lost uid-lost", False)
    shown.saw_job(dataclasses.replace(orphan(), owner_uid="", owner_name=""))
    assert shown.unowned(mine) == "job-of-lost "


async def test_a_listed_pod_that_has_ended_meanwhile_does_not_rise_again(shown: world.World) -> None:
    """The list of the guard may be older than what the watch has shown since; what is new in it is taken."""
    mine = make_run("a")
    shown.join(mine)
    pod = make_pod(orphan(), version="5")
    shown.saw_pod(pod)
    assert shown.busy_with(mine).startswith(f"pod {pod.name}")
    shown.saw_pod(make_pod(orphan(), version="6", phase="Failed"))
    shown.saw_pod(pod)
    assert shown.busy_with(mine) == ""


async def test_an_adopted_job_is_its_new_owners(shown: world.World) -> None:
    """Both are woken, so is who waits; the old owner has none any more."""
    old, new, third = make_run("lost"), make_run("a"), make_run("b")
    wakes = [shown.join(run) for run in (old, new, third)]
    job = orphan()
    shown.saw_job(job)
    for wake in wakes:
        wake.clear()
    adopted = dataclasses.replace(job, owner_uid="uid-a", owner_name="a", reattached_from="lost")
    shown.saw_job(adopted)
    assert (shown.job_of(old), shown.job_of(new)) == (None, adopted)
    assert (shown.busy_with(new), shown.busy_with(third)) == ("", "AgentRun a")
    assert all(wake.is_set() for wake in wakes)


async def test_which_logs_are_being_written(shown: world.World) -> None:
    """Those of live Jobs, held ones not: they have no agent yet. One that has ended may have left it to an heir."""
    live, other, done = make_run("a"), make_run("b"), make_run("c")
    assert shown.live_logs() == set()
    jobs = [make_job(live), make_held(other), make_job(done, conditions={"Complete": ""})]
    for job in (*jobs, make_job(make_run("d"), annotations={})):
        shown.saw_job(job)
    assert shown.live_logs() == {jobs[0].log_path}
    shown.saw_pod(make_pod(jobs[0], phase="Succeeded", main=builders.terminated()))
    assert shown.live_logs() == {jobs[0].log_path}
    shown.saw_job(gone(jobs[0]))
    assert shown.live_logs() == set()


# ------------------------------------------------------------------------------------------------------- attempts


def attempt(run: models.AgentRun, number: int) -> models.AgentRun:
    """The run in that attempt."""
    return run.model_copy(update={"status": run.status.model_copy(update={"attempt": number})})


async def test_each_attempt_has_its_own_job(shown: world.World) -> None:
    """An earlier one that has not ended is in the way of the next; nothing is left of any of them at the end."""
    first = make_run("a")
    second = attempt(first, 1)
    shown.join(first)
    job = make_job(first)
    shown.saw_job(job)
    assert (shown.job_of(first), shown.job_of(second)) == (job, None)
    assert shown.busy_with(second) == f"Job {job.name} of an earlier attempt"
    shown.saw_job(make_job(first, conditions={"Failed": ""}))
    assert shown.busy_with(second) == ""
    again = dataclasses.replace(make_job(first, "again"), attempt=1)
    shown.saw_job(again)
    assert shown.job_of(second) == again
    shown.saw_job(gone(job))
    shown.saw_job(gone(again))
    assert leave_behind(shown, second) == {}


async def test_a_held_job_that_was_made_anew_replaces_the_one_that_is_gone(shown: world.World) -> None:
    """It had been deleted before it was started; nothing is kept of it."""
    run = make_run("a")
    shown.join(run)
    shown.saw_job(make_held(run, "one"))
    shown.saw_job(gone(make_held(run, "one")))
    shown.saw_job(make_held(run, "two"))
    job = shown.job_of(run)
    assert job is not None
    assert (job.uid, [job.uid for job in shown.jobs()]) == ("two", ["two"])
    shown.leave(run)
    shown.saw_job(gone(job))
    assert kept(shown) == {}


# ------------------------------------------------------------------------------------------- news that come too late


@pytest.mark.parametrize(
    ("known", "told", "taken"),
    [
        ("7", "8", True),
        ("7", "7", True),
        ("9", "10", True),
        ("10", "9", False),
        ("8", "7", False),
        ("", "7", True),
        ("7", "", True),
        ("x8", "x7", True),
    ],
)
async def test_older_news_of_a_job_are_not_taken(shown: world.World, known: str, told: str, *, taken: bool) -> None:
    """The answer to a request may overtake the watch; versions that are no numbers say nothing."""
    run = make_run("a")
    shown.join(run)
    shown.saw_job(dataclasses.replace(make_job(run), version=known))
    held = dataclasses.replace(make_held(run), version=told)
    shown.saw_job(held)
    assert (shown.job_of(run) == held) is taken
    shown.saw_job(gone(held))
    job = shown.job_of(run)
    assert job is not None
    assert job.gone, "a deletion is taken whatever its version"


# ------------------------------------------------------------------------------------------------------ usage limits


async def test_a_limit_is_the_credentials(shown: world.World) -> None:
    """The latest end counts, until it is over; then nothing is kept of it."""
    now = dt.datetime.now(dt.UTC)
    soon, late = now + dt.timedelta(seconds=60), now + dt.timedelta(seconds=90)
    assert shown.limited_until("key") is None
    for until in (soon, late, soon):
        shown.limit("key", until)
    assert (shown.limited_until("key"), shown.limited_until("other")) == (late, None)
    shown.limit("over", now - dt.timedelta(seconds=1))
    assert shown.limited_until("over") is None
    assert [name for name, value in vars(shown).items() if value == {"key": late}] == ["_limits"]


# -------------------------------------------------------------------------------------------------------- wake-ups


@dataclasses.dataclass
class Scene:
    """Three runs of one agent that wait; the first has its Job and pod."""

    world: world.World
    runs: dict[str, models.AgentRun]
    wakes: dict[str, asyncio.Event]
    job: facts.JobFacts
    pod: facts.PodFacts

    def woken(self) -> list[str]:
        """Who was woken since the last question."""
        names = [name for name, event in self.wakes.items() if event.is_set()]
        for event in self.wakes.values():
            event.clear()
        return names


@pytest.fixture
def scene(shown: world.World) -> Scene:
    """See the class."""
    runs = {name: make_run(name) for name in "abc"}
    wakes = {name: shown.join(run) for name, run in runs.items()}
    job = make_job(runs["a"], resourceVersion="10")
    shown.saw_job(job)
    made = Scene(shown, runs, wakes, job, make_pod(job, version="11"))
    shown.saw_pod(made.pod)
    made.woken()
    return made


async def test_a_run_is_woken_by_its_own_job_and_pod(scene: Scene) -> None:
    """Nobody else has to look."""
    scene.world.saw_job(scene.job)
    assert scene.woken() == ["a"]
    scene.world.saw_pod(scene.pod)
    assert scene.woken() == ["a"]
    scene.world.saw_pod(pod_gone(scene.pod))
    assert scene.woken() == ["a", "b", "c"], "an agent whose pod has ended may be free"
    scene.world.saw_pod(pod_gone(scene.pod))
    assert scene.woken() == []
    scene.world.wake("uid-b")
    assert scene.woken() == ["b"]
    scene.world.wake("nobody")
    assert scene.woken() == []


async def test_whoever_waits_is_woken_when_the_agent_becomes_free(scene: Scene) -> None:
    """By the end of the Job, once; later news of the same Job are its own run's business."""
    scene.world.admitted(scene.runs["a"])
    assert scene.woken() == ["b", "c"]
    scene.world.admitted(scene.runs["a"])
    assert scene.woken() == []
    complete = make_job(scene.runs["a"], conditions={"Complete": ""}, resourceVersion="12")
    scene.world.saw_job(complete)
    assert scene.woken() == ["a", "b", "c"]
    scene.world.saw_job(complete)
    assert scene.woken() == ["a"]


@pytest.mark.parametrize("leaver", ["a", "b"])
async def test_whoever_waits_is_woken_when_another_leaves_the_queue(scene: Scene, leaver: str) -> None:
    """A cancelled run that was first in the queue must not block it."""
    scene.world.leave(scene.runs[leaver])
    assert scene.woken() == [name for name in "abc" if name != leaver]


async def test_whoever_waits_is_woken_by_the_end_of_a_job_that_nobody_follows(shown: world.World) -> None:
    """The Job of a run that has ended already can vanish, too."""
    waiting = make_run("b")
    other = make_job(make_run("a"))
    shown.saw_job(other)
    wake = shown.join(waiting)
    shown.saw_job(gone(other))
    assert wake.is_set()
    assert shown.busy_with(waiting) == ""


async def test_joining_twice_gives_the_same_wake_up(shown: world.World) -> None:
    """A second supervisor of one run (after a deletion) does not take the first one's place in the dark."""
    run = make_run("a")
    assert shown.join(run) is shown.join(run)


# ------------------------------------------------------------------------------------------------- what is kept


async def test_a_followed_run_sees_that_its_job_is_gone(shown: world.World) -> None:
    """The facts stay until the run leaves; then nothing at all is left."""
    run = make_run("a")
    shown.join(run)
    job = make_job(run)
    pod = make_pod(job)
    shown.saw_job(job)
    shown.saw_pod(pod)
    assert (shown.job_of(run), shown.pod_of(job.uid)) == (job, pod)
    shown.saw_pod(pod_gone(pod))
    shown.saw_job(gone(job))
    shown.saw_job(gone(job))
    assert (shown.job_of(run), shown.pod_of(job.uid)) == (gone(job), pod_gone(pod))
    assert leave_behind(shown, run) == {}


@pytest.mark.parametrize("order", [("job", "pod"), ("pod", "job")])
async def test_nothing_is_left_of_a_job_that_nobody_follows(shown: world.World, order: tuple[str, str]) -> None:
    """A Job that outlives its run is forgotten with its deletion, in whatever order the deletions are told."""
    run = make_run("a")
    job = make_job(run, conditions={"Complete": ""})
    pod = make_pod(job)
    shown.join(run)
    shown.saw_job(job)
    shown.saw_pod(pod)
    shown.leave(run)
    assert shown.job_of(run) == job
    for kind in order:
        if kind == "job":
            shown.saw_job(gone(job))
        else:
            shown.saw_pod(pod_gone(pod))
    assert kept(shown) == {}


async def test_a_deletion_of_something_never_seen_leaves_nothing(shown: world.World) -> None:
    """Watches may tell of ends whose beginnings they did not."""
    job = make_job(make_run("a"), conditions={"Failed": ""})
    shown.saw_job(gone(job))
    shown.saw_pod(pod_gone(make_pod(job)))
    assert kept(shown) == {}


async def test_of_a_job_that_vanished_before_its_end_a_doubt_is_kept(shown: world.World) -> None:
    """Nothing else; and that only until a run of its agent has listed the pods and left."""
    run, other = make_run("a"), make_run("b")
    job = make_job(run)
    shown.saw_job(job)
    shown.saw_pod(make_pod(job))
    shown.saw_pod(pod_gone(make_pod(job)))
    shown.saw_job(gone(job))
    assert set(kept(shown)) == {"_agents"}
    assert (shown.jobs(), shown.pods(), shown.doubts(other)) == ([], [], 1)
    shown.join(other)
    assert leave_behind(shown, other) == {}


async def test_a_run_that_never_had_a_job_leaves_nothing(shown: world.World) -> None:
    """Asking and waiting leave no trace."""
    run = make_run("a")
    shown.join(run)
    async with shown.lock(run):
        assert shown.busy_with(run) == ""
    shown.admitted(run)
    shown.leave(run)
    assert kept(shown) == {}


async def test_leaving_does_not_take_the_lock_away_from_who_holds_it(shown: world.World) -> None:
    """A run that leaves while another is admitted must not give a third one a second lock."""
    holder, leaver = make_run("a"), make_run("b")
    shown.join(holder)
    shown.join(leaver)
    lock = shown.lock(holder)
    async with lock:
        shown.admitted(holder)
        shown.leave(leaver)
        assert shown.lock(leaver) is lock
    shown.leave(holder)
    assert kept(shown) == {}


async def test_a_pod_that_is_told_of_before_its_job(shown: world.World) -> None:
    """Two watches have no common order: the pod is there when the Job comes."""
    run = make_run("a")
    wake = shown.join(run)
    job = make_job(run)
    shown.saw_pod(make_pod(job))
    assert not wake.is_set()
    shown.saw_job(job)
    assert wake.is_set()
    assert shown.pod_of(job.uid) == make_pod(job)


# --------------------------------------------------------------------------------------------- complete lists


def show_list(seen: world.World, version: str, *pairs: tuple[facts.JobFacts, facts.PodFacts], where: str = "") -> None:
    """Everything is listed: these Jobs and their pods are what was there at that version."""
    seen.listed_jobs(where, [job for job, _ in pairs], version)
    seen.listed_pods(where, [pod for _, pod in pairs], version)


async def test_a_list_shows_what_is_new_and_what_is_gone(scene: Scene) -> None:
    """What was known before the list and is not in it is gone, pods included."""
    other = make_job(scene.runs["b"], resourceVersion="15")
    pod = make_pod(other, version="16")
    show_list(scene.world, "20", (other, pod))
    assert scene.woken() == ["a", "b", "c"]
    assert scene.world.job_of(scene.runs["a"]) == gone(scene.job)
    assert scene.world.pod_of(scene.job.uid) == lost(scene.pod)
    assert scene.world.job_of(scene.runs["b"]) == other
    assert scene.world.pod_of(other.uid) == pod
    assert (scene.world.jobs(), scene.world.pods()) == ([other], [pod])


async def test_a_list_shows_what_has_changed(scene: Scene) -> None:
    """A change that a watch missed is seen at the next list."""
    complete = make_job(scene.runs["a"], conditions={"Complete": ""}, resourceVersion="15")
    ended = make_pod(scene.job, phase="Succeeded", version="14")
    show_list(scene.world, "20", (complete, ended))
    assert scene.world.job_of(scene.runs["a"]) == complete
    assert scene.world.pod_of(scene.job.uid) == ended


@pytest.mark.parametrize(("created", "there"), [("19", False), ("20", False), ("21", True), ("100", True)])
async def test_what_is_created_after_a_list_is_not_missing_from_it(scene: Scene, created: str, *, there: bool) -> None:
    """The answer to a creation may be here before an older list: of what is younger than itself, that says nothing."""
    made = make_job(scene.runs["b"], resourceVersion=created)
    pod = make_pod(made, version=created)
    scene.world.saw_job(made)
    scene.world.saw_pod(pod)
    show_list(scene.world, "20", (scene.job, scene.pod))
    assert scene.world.job_of(scene.runs["b"]) == (made if there else gone(made))
    assert scene.world.pod_of(made.uid) == (pod if there else lost(pod))
    assert (made in scene.world.jobs(), pod in scene.world.pods()) == (there, there)


async def test_what_ends_while_a_list_is_under_way_does_not_rise_again(scene: Scene) -> None:
    """The list may be older than the deletion; nobody would ever tell of it again."""
    scene.world.saw_pod(pod_gone(scene.pod))
    scene.world.saw_job(gone(scene.job))
    show_list(scene.world, "20", (scene.job, scene.pod))
    assert scene.world.job_of(scene.runs["a"]) == gone(scene.job)
    assert scene.world.pod_of(scene.job.uid) == pod_gone(scene.pod)
    assert scene.world.busy_with(scene.runs["b"]) == "AgentRun a", "a is still waiting, but no Job is in the way"
    scene.world.leave(scene.runs["a"])
    assert scene.world.busy_with(scene.runs["b"]) == ""


async def test_what_is_forgotten_while_a_list_is_under_way_is_not_missed_by_it(shown: world.World) -> None:
    """A Job that nobody follows and that was deleted leaves nothing; not to be in a list is no second end."""
    job = make_job(make_run("a"), conditions={"Complete": ""}, resourceVersion="10")
    pod = make_pod(job, phase="Succeeded", version="11")
    shown.saw_job(job)
    shown.saw_pod(pod)
    shown.saw_pod(pod_gone(pod))
    shown.saw_job(gone(job))
    show_list(shown, "20")
    assert kept(shown) == {}


async def test_gone_is_for_ever(scene: Scene) -> None:
    """The answer to a request may be overtaken by the news of the deletion."""
    scene.world.saw_pod(pod_gone(scene.pod))
    scene.world.saw_job(gone(scene.job))
    scene.woken()
    scene.world.saw_pod(scene.pod)
    scene.world.saw_job(dataclasses.replace(scene.job, deleting=True))
    assert scene.world.job_of(scene.runs["a"]) == gone(scene.job)
    assert scene.world.pod_of(scene.job.uid) == pod_gone(scene.pod)
    assert scene.woken() == []


async def test_what_a_watch_told_meanwhile_is_newer_than_the_list(scene: Scene) -> None:
    """The end of a Job must not be undone by a list that was made before it."""
    complete = make_job(scene.runs["a"], conditions={"Complete": ""}, resourceVersion="21")
    ended = make_pod(scene.job, phase="Succeeded", version="22")
    scene.world.saw_job(complete)
    scene.world.saw_pod(ended)
    show_list(scene.world, "20", (scene.job, scene.pod))
    assert scene.world.job_of(scene.runs["a"]) == complete
    assert scene.world.pod_of(scene.job.uid) == ended


async def test_a_list_twice_is_as_good_as_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists can be repeated at will."""
    monkeypatch.setattr(world, "_NOTICE_SECONDS", -facts.GRACE_SECONDS)  # what vanished has ended at once
    for _ in range(2):
        show_list(scene.world, "20")
    assert scene.world.doubts(scene.runs["b"]) == 1
    for run in scene.runs.values():
        leave_behind(scene.world, run)
    await asyncio.sleep(0.01)
    assert kept(scene.world) == {}


async def test_the_list_of_a_namespace_says_nothing_of_another(scene: Scene) -> None:
    """Each has its own watch."""
    show_list(scene.world, "20", where="team-b")
    assert (scene.world.jobs(), scene.world.pods()) == ([scene.job], [scene.pod])
    show_list(scene.world, "20", where="team-a")
    assert (scene.world.jobs(), scene.world.pods()) == ([], [])


@pytest.mark.parametrize(("known", "listed", "there"), [("x9", "20", False), ("9", "x20", True), ("x9", "x20", False)])
async def test_versions_that_are_no_numbers_are_older_than_any_list(
    shown: world.World, known: str, listed: str, *, there: bool
) -> None:
    """A list that has no number itself says nothing of what has one."""
    job = make_job(make_run("a"), resourceVersion=known)
    shown.saw_job(job)
    shown.listed_jobs("", [], listed)
    assert (shown.jobs() == [job]) is there


async def test_a_pod_that_outlived_its_job_is_found_missing_by_a_list(shown: world.World) -> None:
    """Of two pods of one Job each is known by itself."""
    run = make_run("a")
    shown.join(run)
    first, second = (make_pod(orphan(), uid, version="5") for uid in ("first", "second"))
    shown.saw_pod(first)
    shown.saw_pod(second)
    assert {pod.uid for pod in shown.pods()} == {"first", "second"}
    shown.listed_pods("", [second], "6")
    assert {pod.uid for pod in shown.pods()} == {"second"}
    assert shown.busy_with(run) != ""
    shown.listed_pods("", [], "7")
    assert shown.pods() == []
    assert shown.busy_with(run).startswith(f"pod {second.name}, which was removed by force")


@pytest.mark.parametrize(
    ("known", "told", "taken"),
    [("7", "8", True), ("7", "7", True), ("9", "10", True), ("10", "9", False), ("", "7", True), ("7", "", True)],
)
async def test_older_news_of_a_pod_are_not_taken(shown: world.World, known: str, told: str, *, taken: bool) -> None:
    """The answer to a request may overtake the watch, or be overtaken."""
    job = make_job(make_run("a"))
    shown.saw_job(job)
    shown.saw_pod(make_pod(job, version=known))
    ended = make_pod(job, phase="Failed", version=told)
    shown.saw_pod(ended)
    assert (shown.pod_of(job.uid) == ended) is taken
    shown.saw_pod(pod_gone(make_pod(job, version="1")))
    assert shown.pods() == [], "a deletion is taken whatever its version"


async def test_of_two_pods_of_one_job_the_end_of_one_says_nothing_of_the_other(shown: world.World) -> None:
    """Kubernetes made a second one, which refused to start; the Job is gone, and the first pod works on."""
    run, waiting = make_run("a"), make_run("b")
    job = make_job(run)
    shown.saw_job(job)
    shown.saw_pod(make_pod(job, "first"))
    shown.saw_pod(make_pod(job, "second", phase="Failed"))
    shown.saw_job(gone(job))
    assert "although its Job is over" in shown.busy_with(waiting)
    shown.saw_pod(pod_gone(make_pod(job, "first")))
    assert shown.busy_with(waiting) == ""


# ------------------------------------------------------------------------------- the view of an agent, without a list


async def view(seen: world.World, run: models.AgentRun, since: facts.JobFacts | None = None) -> list[str] | None:
    """The uids of what is in the view, Jobs and then pods; None if there is none."""
    found = await seen.view(run, since)
    return None if found is None else [thing.uid for things in found for thing in things]


async def let_others_go_on() -> None:
    """Whoever can go on has done so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_view_holds_what_is_there_of_the_agent_and_nothing_else(shown: world.World) -> None:
    """Finished Jobs, too, which somebody may have to remove; of the pods those that have not ended."""
    run, done, ended = make_run("a"), make_run("b"), make_run("c")
    jobs = [make_held(run), make_job(done, conditions={"Complete": ""}), make_job(ended, conditions={"Failed": ""})]
    for job in (*jobs, make_job(make_run("d", agent="other"))):
        shown.saw_job(job)
    shown.join(ended)
    shown.saw_job(gone(jobs[2]))
    for pod in (make_pod(jobs[1], phase="Succeeded"), make_pod(jobs[2]), make_pod(orphan(), "stray")):
        shown.saw_pod(pod)
    assert await view(shown, run) == ["job-of-a", "job-of-b", "pod-of-job-of-c", "stray"]


@pytest.mark.parametrize("version", ["", "x7"])
async def test_without_a_version_there_is_no_view_since_a_job(shown: world.World, version: str) -> None:
    """Nor is there one without a watch; nothing is waited for."""
    run = make_run("a")
    job = make_held(run, resourceVersion="7")
    shown.saw_job(job)
    assert await view(shown, run, job) is None
    assert await view(shown, run) == ["job-of-a"]
    shown.jobs_shown("", "8")
    assert await view(shown, run, job) == ["job-of-a"]
    assert await view(shown, run, dataclasses.replace(job, version=version)) is None
    shown.jobs_shown("", version)
    assert await view(shown, run, job) is None


@pytest.mark.parametrize(("shown_to", "at_once"), [("6", False), ("7", True), ("8", True), ("10", True)])
async def test_the_view_is_as_new_as_the_job_that_is_asked_for(
    shown: world.World, shown_to: str, *, at_once: bool
) -> None:
    """The answer to its creation came before the watch: until that has come as far, something may be missing."""
    run = make_run("a")
    job = make_held(run, resourceVersion="7")
    shown.saw_job(job)
    shown.jobs_shown("", shown_to)
    asked = asyncio.create_task(view(shown, run, job))
    await let_others_go_on()
    assert asked.done() is at_once
    if not at_once:
        shown.jobs_shown("", "5")  # after a gap, say
        shown.saw_job(make_held(make_run("b"), resourceVersion="6"))
        shown.jobs_shown("", "6")
        await let_others_go_on()
        assert not asked.done()
    shown.jobs_shown("", "9")
    assert await asked == (["job-of-a"] if at_once else ["job-of-a", "job-of-b"])


async def test_the_job_that_is_asked_for_need_not_be_known(shown: world.World) -> None:
    """It may have vanished by now; the watch has to come to it all the same."""
    run = make_run("a")
    shown.jobs_shown("", "6")
    asked = asyncio.create_task(view(shown, run, make_held(run, resourceVersion="7")))
    await let_others_go_on()
    assert not asked.done()
    shown.jobs_shown("", "7")
    assert await asked == []


async def test_each_waits_for_its_own_job(shown: world.World) -> None:
    """The watch comes by in order; who gives up in between is in nobody's way."""
    runs = [make_run(name, agent=f"agent-{name}") for name in "abcd"]
    jobs = [make_held(run, resourceVersion=version) for run, version in zip(runs, ("9", "7", "8", "7"), strict=True)]
    shown.jobs_shown("", "6")
    for job in jobs:
        shown.saw_job(job)
    asked = [asyncio.create_task(view(shown, run, job)) for run, job in zip(runs, jobs, strict=True)]
    await let_others_go_on()
    asked[2].cancel()
    done = []
    for version in ("7", "8", "9"):
        shown.jobs_shown("", version)
        await let_others_go_on()
        done.append([task.done() for task in asked])
    assert done == [[False, True, True, True], [False, True, True, True], [True] * 4]
    for run in runs:
        shown.saw_job(gone(make_held(run)))
        shown.leave(run)
    assert kept(shown) == {}


async def test_a_watch_that_is_late_is_not_waited_for(shown: world.World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be broken: then there is a list. Nothing is left of who waited when it comes after all."""
    monkeypatch.setattr(world, "_CATCH_UP_SECONDS", 0.002)
    run = make_run("a")
    job = make_held(run, resourceVersion="7")
    shown.saw_job(job)
    shown.jobs_shown("", "6")
    assert await view(shown, run, job) is None
    shown.jobs_shown("", "7")
    assert await view(shown, run, job) == ["job-of-a"]
    shown.saw_job(gone(job))
    assert leave_behind(shown, run) == {}


@pytest.mark.parametrize(
    ("shown_to", "good"),
    [
        ({"team-a": "7"}, True),
        ({"": "7"}, True),
        ({"team-b": "9"}, False),
        ({"team-a": "6", "team-b": "9"}, False),
        ({"team-a": "7", "team-b": "1"}, True),
    ],
)
async def test_the_watch_of_its_own_namespace_counts(
    shown: world.World, monkeypatch: pytest.MonkeyPatch, shown_to: dict[str, str], *, good: bool
) -> None:
    """Several namespaces have a watch each, and one may be far ahead of another."""
    monkeypatch.setattr(world, "_CATCH_UP_SECONDS", 0.01)
    run = make_run("a")
    job = make_held(run, resourceVersion="7")
    shown.saw_job(job)
    for order in (shown_to, dict(reversed(shown_to.items()))):
        for namespace in order:
            shown.jobs_shown(namespace, "1")
        asked = asyncio.create_task(view(shown, run, job))
        await let_others_go_on()
        for namespace, version in order.items():
            shown.jobs_shown(namespace, version)
        assert await asked == (["job-of-a"] if good else None)


@pytest.mark.parametrize(
    ("last", "doubts"),
    [
        ({}, 1),
        ({"deleting": True}, 1),
        ({"suspend": True}, 1),
        ({"conditions": {"Complete": ""}}, 0),
        ({"conditions": {"Failed": ""}}, 0),
    ],
)
@pytest.mark.parametrize("followed", [True, False])
async def test_after_a_job_that_vanished_before_its_end_the_pods_have_to_be_listed(
    shown: world.World, last: dict[str, Any], doubts: int, *, followed: bool
) -> None:
    """Its agent may be at work, and the watch of pods be late; a Job that has ended had no pod at work any more."""
    run, other = make_run("a"), make_run("b")
    if followed:
        shown.join(other)
    shown.saw_job(make_job(other))
    shown.saw_job(gone(make_job(other, **last)))
    if followed:
        shown.saw_job(gone(make_job(other, **last)))
    assert shown.doubts(run) == doubts
    assert await view(shown, run) == (None if doubts else [])
    assert await view(shown, make_run("c", agent="other")) == []
    shown.settle(run, doubts)
    assert (shown.doubts(run), await view(shown, run)) == (0, [])


async def test_a_held_job_that_vanished_had_no_pod(shown: world.World) -> None:
    """Nothing has to be listed."""
    run = make_run("a")
    shown.saw_job(make_held(make_run("b")))
    shown.saw_job(gone(make_held(make_run("b"))))
    assert (shown.doubts(run), await view(shown, run)) == (0, [])


async def test_a_list_dispels_only_doubts_that_are_older_than_itself(shown: world.World) -> None:
    """A Job that vanished while the pods were being listed has to be listed for once more."""
    run = make_run("a")
    for name in "bc":
        shown.saw_job(gone(make_job(make_run(name))))
    before = shown.doubts(run)
    shown.saw_job(gone(make_job(make_run("d"))))
    shown.settle(run, before)
    assert (shown.doubts(run), await view(shown, run)) == (3, None)
    shown.settle(run, 3)
    assert await view(shown, run) == []


async def test_a_doubt_that_comes_up_while_the_watch_is_waited_for_counts(shown: world.World) -> None:
    """A Job of the agent came and vanished just before the own one, and the watch shows that only now."""
    run, other = make_run("a"), make_run("b")
    job = make_held(run, resourceVersion="10")
    shown.saw_job(job)
    shown.jobs_shown("", "7")
    asked = asyncio.create_task(view(shown, run, job))
    await let_others_go_on()
    shown.saw_job(make_job(other, resourceVersion="8"))
    shown.jobs_shown("", "8")
    shown.saw_job(gone(make_job(other, resourceVersion="9")))
    shown.jobs_shown("", "9")
    shown.jobs_shown("", "10")
    assert await asked is None


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_view_is_a_state_that_there_was(shown: world.World, when: str) -> None:
    """An answer that is newer than the watch is waited for as well, lest it stand beside what was long over then."""
    run, marked = make_run("a"), make_run("b")
    job, before = make_held(run, resourceVersion="7"), make_held(marked, resourceVersion="6")
    answer = dataclasses.replace(before, version="12", gate="job-of-c")
    for known in (before, job, make_job(make_run("d", agent="other"), resourceVersion="99")):
        shown.saw_job(known)
    shown.jobs_shown("", "7" if when == "before" else "6")
    if when == "before":
        shown.saw_job(answer)
    asked = asyncio.create_task(shown.view(run, job))
    await let_others_go_on()
    shown.saw_job(answer)
    unseen = make_held(make_run("c"), resourceVersion="11")
    for version in ("8", "11"):
        if version == "11":
            shown.saw_job(unseen)
        shown.jobs_shown("", version)
        await let_others_go_on()
        assert not asked.done()
    shown.saw_job(answer)
    shown.jobs_shown("", "12")
    assert await asked == ([answer, job, unseen], [])
