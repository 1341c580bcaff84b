"""What the shared watches have shown: whose turn it is, who is woken, and that nothing is kept for ever."""

import asyncio
import dataclasses
import datetime as dt
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


def make_pod(job: facts.JobFacts, uid: str = "", **given: Any) -> facts.PodFacts:
    """The pod of a Job."""
    parsed = facts.parse_pod(builders.pod(uid=uid or f"pod-of-{job.uid}", **given))
    return dataclasses.replace(parsed, job_uid=job.uid)


def gone(seen: facts.JobFacts) -> facts.JobFacts:
    """The Job after its deletion."""
    return dataclasses.replace(seen, gone=True)


def pod_gone(seen: facts.PodFacts) -> facts.PodFacts:
    """The pod after its deletion."""
    return dataclasses.replace(seen, gone=True)


def kept(seen: world.World) -> dict[str, object]:
    """Everything that the world still holds; {} when it has forgotten all."""
    return {name: value for name, value in vars(seen).items() if value}


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
    shown.leave(mine)
    assert kept(shown) == {}


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
    assert occupant.words == f"pod {pod.name}, which is still there on node node-1 although its Job is gone"
    assert shown.unowned(mine) == ""
    wake.clear()
    shown.saw_pod(make_pod(job, phase="Failed"))
    assert (shown.busy_with(mine), wake.is_set()) == ("", True)
    shown.saw_pod(pod_gone(pod))
    shown.leave(mine)
    assert kept(shown) == {}


async def test_a_pod_without_a_node_is_described_too(shown: world.World) -> None:
    """The sentence stays one."""
    mine = make_run("a")
    shown.join(mine)
    pod = make_pod(orphan(), node="", phase="Pending")
    shown.saw_pod(pod)
    assert shown.busy_with(mine) == f"pod {pod.name}, which is still there although its Job is gone"


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
    """The list of the guard is as old as any other; what is new in it is taken."""
    mine = make_run("a")
    shown.join(mine)
    pod = make_pod(orphan())
    known = shown.known()
    shown.saw_listed_pod(pod, known=known)
    assert shown.busy_with(mine).startswith(f"pod {pod.name}")
    known = shown.known()
    shown.saw_pod(make_pod(orphan(), phase="Failed"))
    shown.saw_listed_pod(pod, known=known)
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
    """Those of live Jobs, held ones not: they have no agent yet."""
    live, other, done = make_run("a"), make_run("b"), make_run("c")
    assert shown.live_logs() == set()
    jobs = [make_job(live), make_held(other), make_job(done, conditions={"Complete": ""})]
    for job in (*jobs, make_job(make_run("d"), annotations={})):
        shown.saw_job(job)
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
    shown.leave(second)
    assert kept(shown) == {}


async def test_a_held_job_that_was_made_anew_replaces_the_one_that_is_gone(shown: world.World) -> None:
    """It had been deleted before it was started; nothing is kept of it."""
    run = make_run("a")
    shown.join(run)
    shown.saw_job(make_held(run, "one"))
    shown.saw_job(gone(make_held(run, "one")))
    shown.saw_job(make_held(run, "two"))
    job = shown.job_of(run)
    assert job is not None
    assert (job.uid, set(shown.known().jobs)) == ("two", {"two"})
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
    job = make_job(runs["a"])
    shown.saw_job(job)
    made = Scene(shown, runs, wakes, job, make_pod(job))
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
    complete = make_job(scene.runs["a"], conditions={"Complete": ""})
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
    shown.leave(run)
    assert kept(shown) == {}


@pytest.mark.parametrize("order", [("job", "pod"), ("pod", "job")])
async def test_nothing_is_left_of_a_job_that_nobody_follows(shown: world.World, order: tuple[str, str]) -> None:
    """A Job that outlives its run is forgotten with its deletion, in whatever order the deletions are told."""
    run = make_run("a")
    job = make_job(run)
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
    job = make_job(make_run("a"))
    shown.saw_job(gone(job))
    shown.saw_pod(pod_gone(make_pod(job)))
    assert kept(shown) == {}


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


async def test_a_list_shows_what_is_new_and_what_is_gone(scene: Scene) -> None:
    """What was known before the list and is not in it is gone, pods included."""
    other = make_job(scene.runs["b"])
    scene.world.replace_all([other], [make_pod(other)], known=scene.world.known())
    assert scene.woken() == ["a", "b", "c"]
    assert scene.world.job_of(scene.runs["a"]) == gone(scene.job)
    assert scene.world.pod_of(scene.job.uid) == pod_gone(scene.pod)
    assert scene.world.job_of(scene.runs["b"]) == other
    assert scene.world.pod_of(other.uid) == make_pod(other)
    known = scene.world.known()
    assert (set(known.jobs), set(known.pods)) == ({other.uid}, {f"pod-of-{other.uid}"})


async def test_a_list_shows_what_has_changed(scene: Scene) -> None:
    """A change that a watch missed is seen at the next list."""
    complete = make_job(scene.runs["a"], conditions={"Complete": ""})
    ended = make_pod(scene.job, phase="Succeeded")
    scene.world.replace_all([complete], [ended], known=scene.world.known())
    assert scene.world.job_of(scene.runs["a"]) == complete
    assert scene.world.pod_of(scene.job.uid) == ended


async def test_what_is_created_while_a_list_is_under_way_is_not_missing(scene: Scene) -> None:
    """The list may be older than the creation."""
    known = scene.world.known()
    created = make_job(scene.runs["b"])
    scene.world.saw_job(created)
    scene.world.saw_pod(make_pod(created))
    scene.world.replace_all([scene.job], [scene.pod], known=known)
    assert scene.world.job_of(scene.runs["b"]) == created
    assert scene.world.pod_of(created.uid) == make_pod(created)


async def test_what_ends_while_a_list_is_under_way_does_not_rise_again(scene: Scene) -> None:
    """The list may be older than the deletion; nobody would ever tell of it again."""
    known = scene.world.known()
    scene.world.saw_pod(pod_gone(scene.pod))
    scene.world.saw_job(gone(scene.job))
    scene.world.replace_all([scene.job], [scene.pod], known=known)
    assert scene.world.job_of(scene.runs["a"]) == gone(scene.job)
    assert scene.world.pod_of(scene.job.uid) == pod_gone(scene.pod)
    assert scene.world.busy_with(scene.runs["b"]) == "AgentRun a", "a is still waiting, but no Job is in the way"
    scene.world.leave(scene.runs["a"])
    assert scene.world.busy_with(scene.runs["b"]) == ""


@pytest.mark.parametrize("listed", [True, False])
async def test_what_is_forgotten_while_a_list_is_under_way_stays_forgotten(shown: world.World, *, listed: bool) -> None:
    """A Job that nobody follows and that is deleted meanwhile is neither missed nor brought back."""
    job = make_job(make_run("a"))
    pod = make_pod(job)
    shown.saw_job(job)
    shown.saw_pod(pod)
    known = shown.known()
    shown.saw_pod(pod_gone(pod))
    shown.saw_job(gone(job))
    shown.replace_all([job] if listed else [], [pod] if listed else [], known=known)
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


async def test_a_listed_job_that_was_deleted_meanwhile_does_not_occupy_the_agent(scene: Scene) -> None:
    """The list of the guard is as old as any other."""
    known = scene.world.known()
    scene.world.saw_pod(pod_gone(scene.pod))
    scene.world.leave(scene.runs["a"])
    scene.world.saw_job(gone(scene.job))
    scene.world.saw_listed_job(scene.job, known=known)
    assert scene.world.busy_with(scene.runs["b"]) == ""


async def test_what_a_watch_told_meanwhile_is_newer_than_the_list(scene: Scene) -> None:
    """The end of a Job must not be undone by a list that was made before it."""
    known = scene.world.known()
    complete = make_job(scene.runs["a"], conditions={"Complete": ""})
    ended = make_pod(scene.job, phase="Succeeded")
    scene.world.saw_job(complete)
    scene.world.saw_pod(ended)
    scene.world.replace_all([scene.job], [scene.pod], known=known)
    assert scene.world.job_of(scene.runs["a"]) == complete
    assert scene.world.pod_of(scene.job.uid) == ended


async def test_a_list_twice_is_as_good_as_once(scene: Scene) -> None:
    """Lists can be repeated at will."""
    for _ in range(2):
        scene.world.replace_all([], [], known=scene.world.known())
    for run in scene.runs.values():
        scene.world.leave(run)
    assert kept(scene.world) == {}


async def test_of_two_pods_of_one_job_the_end_of_one_says_nothing_of_the_other(shown: world.World) -> None:
    """Kubernetes made a second one, which refused to start; the Job is gone, and the first pod works on."""
    run, waiting = make_run("a"), make_run("b")
    job = make_job(run)
    shown.saw_job(job)
    shown.saw_pod(make_pod(job, "first"))
    shown.saw_pod(make_pod(job, "second", phase="Failed"))
    shown.saw_job(gone(job))
    assert "although its Job is gone" in shown.busy_with(waiting)
    shown.saw_pod(pod_gone(make_pod(job, "first")))
    assert shown.busy_with(waiting) == ""
