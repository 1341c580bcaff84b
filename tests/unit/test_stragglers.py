"""AgentRuns that kopf has lost sight of: which are mended and when, and that others are left alone; in virtual time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun_operator import errors, facts, names, runner
from agentrun_operator.runner import stragglers
from tests import builders, fakes
from tests.clock import now, virtual

Body = dict[str, Any]
OURS, OTHER = names.FINALIZER, "example.com/other"
SOON = 16.0  # seconds: after the first patience and a look


class Watched:
    """An API in memory whose AgentRuns the watch shows, and who follows which of them."""

    def __init__(self) -> None:
        self.kube = fakes.FakeKube()
        self.followed: set[str] = set()
        self.stragglers = runner.Stragglers(self.kube, self.followed.__contains__, self.jobs)
        self.began = now()
        self.writes: list[tuple[float, list[str]]] = []  # when, and the finalizers
        self.shows = True  # a write is an event, as it is with a watch
        real = self.kube.write_run_finalizers

        async def write(run: Any, finalizers: Any, *, version: str) -> None:  # noqa: ANN401 - passed on
            self.writes.append((now() - self.began, list(finalizers)))
            await real(run, finalizers, version=version)
            if self.shows and ("team-a", run.name) in self.kube.runs:
                self.show(run.name)

        self.kube.write_run_finalizers = write  # type: ignore[method-assign]  # of this one instance

    def jobs(self) -> list[facts.JobFacts]:
        """The Jobs, as the watch shows them."""
        return [facts.parse_job(job) for job in self.kube.jobs.values()]

    def add_job(self, *finalizers: str, deleting: bool = True) -> None:
        """A Job that the AgentRun with the uid ``uid-a`` has adopted is there."""
        run = builders.agent_run(uid="uid-a")
        job = builders.job(run)
        job["metadata"]["finalizers"] = list(finalizers)
        if deleting:
            job["metadata"]["deletionTimestamp"] = builders.CREATED
        self.kube.jobs["team-a", job["metadata"]["name"]] = job

    def add(self, name: str = "a", *finalizers: str, phase: str | None = None, deleting: bool = False) -> Body:
        """An AgentRun is there and is shown."""
        status = {} if phase is None else {"phase": phase}
        body = builders.agent_run(name=name, uid=f"uid-{name}", deleting=deleting, status=status)
        body["metadata"]["finalizers"] = list(finalizers)
        self.kube.add_run(body)
        self.show(name)
        return body

    def show(self, name: str = "a") -> None:
        """The watch shows it as it is."""
        self.stragglers.saw(self.kube.runs["team-a", name], deleted=False)

    def change(self, name: str = "a", *, phase: str | None = None, finalizers: list[str] | None = None) -> None:
        """Somebody writes it; the watch has not shown that."""
        body = self.kube.runs["team-a", name]
        if phase is not None:
            body["status"] = {"phase": phase}
        if finalizers is not None:
            body["metadata"]["finalizers"] = finalizers
        body["metadata"]["resourceVersion"] = self.kube.next_version()

    def remove(self, name: str = "a") -> None:
        """It is gone, and the watch shows that."""
        self.stragglers.saw(self.kube.runs.pop(("team-a", name)), deleted=True)

    def finalizers(self, name: str = "a") -> list[str]:
        """Those it has."""
        return list(self.kube.runs["team-a", name]["metadata"].get("finalizers") or ())


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[Watched]:
    """Somebody looks after them, to the end."""
    made = Watched()
    task = asyncio.create_task(made.stragglers.watch())
    try:
        yield made
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ----------------------------------------------------------------------------------------------- what is in order


@pytest.mark.parametrize("phase", [None, "Pending", "Queued", "Suspended", "Running"])
@virtual
async def test_a_live_run_that_is_followed_is_left_alone(phase: str | None) -> None:
    """However long it lasts, and whether its daemon was there when it was shown or a moment later."""
    async with watching() as runs:
        runs.followed.add("uid-b")
        for name in "ab":
            runs.add(name, OURS, phase=phase)
        await asyncio.sleep(1)
        runs.followed.add("uid-a")
        await asyncio.sleep(3600)
        for name in "ab":
            runs.show(name)
        await asyncio.sleep(3600)
        assert runs.kube.calls == []


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Cancelled"])
@pytest.mark.parametrize("finalizers", [[], [OTHER]])
@virtual
async def test_a_run_that_has_ended_and_was_let_go_is_left_alone(phase: str, finalizers: list[str]) -> None:
    """Whatever others hold it by; kopf lets go a moment after the end."""
    async with watching() as runs:
        runs.add("old", *finalizers, phase=phase)
        runs.followed.add("uid-new")
        runs.add("new", *finalizers, OURS, phase="Running")
        runs.change("new", phase=phase)
        runs.show("new")
        await asyncio.sleep(1)
        runs.followed.clear()
        runs.change("new", finalizers=finalizers)
        runs.show("new")
        await asyncio.sleep(3600)
        assert runs.kube.calls == []


@pytest.mark.parametrize("finalizers", [[], [OURS]])
@virtual
async def test_a_live_run_that_is_being_deleted_goes_with_its_agent(finalizers: list[str]) -> None:
    """Nothing may be added to it; and as long as it is followed, its agent is being stopped."""
    async with watching() as runs:
        for name in "ab"[: 2 - len(finalizers)]:
            runs.add(name, *finalizers, phase="Running", deleting=True)
        runs.add("c", *finalizers, phase="Running", deleting=True)
        if finalizers:
            runs.followed.update(("uid-a", "uid-c"))
        runs.show()
        await asyncio.sleep(3600)
        assert runs.kube.calls == []


@virtual
async def test_a_run_that_is_being_deleted_and_has_no_supervisor_is_released() -> None:
    """As kopf does it when it starts anew; owner references do the rest."""
    async with watching() as runs:
        runs.add("a", "other/finalizer", OURS, phase="Running", deleting=True)
        runs.show()
        await asyncio.sleep(60)
        assert runs.kube.runs["team-a", "a"]["metadata"]["finalizers"] == ["other/finalizer"]
        assert [verb for verb, _ in runs.kube.calls][:1] == ["write_run_finalizers"]


@virtual
async def test_a_run_that_is_gone_is_forgotten() -> None:
    """Deleted before its time was over."""
    async with watching() as runs:
        runs.add("a")
        runs.add("b", OURS, phase="Succeeded")
        await asyncio.sleep(4)
        for name in "ab":
            runs.remove(name)
        await asyncio.sleep(3600)
        assert runs.kube.calls == []


# ------------------------------------------------------------------------------------------------- what is mended


@pytest.mark.parametrize("others", [[], [OTHER]])
@virtual
async def test_a_live_run_without_the_finalizer_gets_it(others: list[str]) -> None:
    """That is what kopf wanted to do; the event makes it look again, and it starts the daemon."""
    async with watching() as runs:
        runs.add("a", *others)
        await asyncio.sleep(9)
        assert runs.writes == []
        await asyncio.sleep(SOON - 9)
        assert (len(runs.writes), runs.finalizers()) == (1, [*others, OURS])
        runs.followed.add("uid-a")
        await asyncio.sleep(3600)
        assert len(runs.writes) == 1


@pytest.mark.parametrize(("finalizers", "left"), [([OURS], []), ([OTHER, OURS], [OTHER]), ([OURS, OTHER], [OTHER])])
@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Cancelled"])
@virtual
async def test_a_run_that_has_ended_is_let_go(phase: str, finalizers: list[str], left: list[str]) -> None:
    """The finalizer was left over: kopf's own write was refused for good."""
    async with watching() as runs:
        runs.add("a", *finalizers, phase=phase)
        await asyncio.sleep(SOON)
        assert (len(runs.writes), runs.finalizers()) == (1, left)
        await asyncio.sleep(3600)
        assert len(runs.writes) == 1


@virtual
async def test_a_run_that_has_ended_is_let_go_even_if_its_daemon_hangs() -> None:
    """The end is written last: there is nothing more to do for it."""
    async with watching() as runs:
        runs.followed.add("uid-a")
        runs.add("a", OURS, phase="Failed")
        await asyncio.sleep(SOON)
        assert runs.finalizers() == []


@virtual
async def test_a_run_that_has_ended_and_is_being_deleted_goes() -> None:
    """It was our finalizer that held it."""
    async with watching() as runs:
        runs.add("a", OURS, phase="Cancelled", deleting=True)
        await asyncio.sleep(SOON)
        assert (len(runs.writes), runs.kube.runs) == (1, {})


@virtual
async def test_a_live_run_without_its_daemon_gets_another_event() -> None:
    """The finalizer is there: it is taken away, and kopf, which looks again, puts it back."""
    async with watching() as runs:
        runs.add("a", OTHER, OURS, phase="Pending")
        await asyncio.sleep(SOON)
        assert (len(runs.writes), runs.finalizers()) == (1, [OTHER])
        runs.change(finalizers=[OTHER, OURS])
        runs.followed.add("uid-a")
        runs.show()
        await asyncio.sleep(3600)
        assert (len(runs.writes), runs.finalizers()) == (1, [OTHER, OURS])


@virtual
async def test_kopf_is_given_time() -> None:
    """From the last event on; a run that ends begins anew."""
    async with watching() as runs:
        runs.add("a")
        for _ in range(6):
            await asyncio.sleep(8)
            runs.show()
        assert runs.writes == []
        runs.change(phase="Failed", finalizers=[OURS])
        await asyncio.sleep(8)
        runs.show()
        await asyncio.sleep(9)
        assert runs.writes == []
        await asyncio.sleep(6)
        assert [finalizers for _, finalizers in runs.writes] == [[]]


def pauses(moments: list[float]) -> list[float]:
    """The time between each write and the next."""
    return [later - earlier for earlier, later in zip(moments, moments[1:], strict=False)]


@pytest.mark.parametrize("shows", [True, False])
@virtual
async def test_what_does_not_help_is_done_less_and_less_often(*, shows: bool) -> None:
    """Whether its events come or not: somebody may undo it each time, or nobody be there to act on it."""
    async with watching() as runs:
        runs.shows = shows
        runs.add("a", OURS, phase="Running")
        await asyncio.sleep(4000)
        moments = [moment for moment, _ in runs.writes]
        assert moments[0] == 10
        assert pauses(moments) == [20, 40, 80, 160, 320, 600, 600, 600, 600, 600]


@virtual
async def test_a_run_that_has_ended_is_not_made_to_wait_for_what_it_was_before() -> None:
    """Patience has grown with a live run that got no daemon; its end is another matter."""
    async with watching() as runs:
        runs.add("a", OURS, phase="Running")
        await asyncio.sleep(400)
        before = len(runs.writes)
        runs.change(phase="Failed", finalizers=[OURS])
        runs.show()
        await asyncio.sleep(SOON)
        assert runs.writes[before:] != []
        assert runs.finalizers() == []


@virtual
async def test_a_run_that_was_followed_since_is_given_time_anew() -> None:
    """Its daemon came, and went after hours."""
    async with watching() as runs:
        runs.add("a", OURS, phase="Running")
        await asyncio.sleep(400)
        runs.followed.add("uid-a")
        await asyncio.sleep(400)
        runs.followed.clear()
        runs.show()
        before = len(runs.writes)
        await asyncio.sleep(SOON)
        assert len(runs.writes) == before + 1


# -------------------------------------------------------------------------------------------------------- trouble


@virtual
async def test_a_run_that_has_changed_meanwhile_is_looked_at_again() -> None:
    """There is an event of that: nothing is written over what is not known."""
    async with watching() as runs:
        runs.add("a")
        runs.change(finalizers=[OTHER])
        await asyncio.sleep(SOON)
        assert (len(runs.writes), runs.finalizers()) == (1, [OTHER])
        runs.show()
        await asyncio.sleep(40)
        assert (len(runs.writes), runs.finalizers()) == (2, [OTHER, OURS])


@virtual
async def test_a_run_that_is_not_found_is_forgotten() -> None:
    """Its deletion was not shown, or will be."""
    async with watching() as runs:
        runs.add("a")
        del runs.kube.runs["team-a", "a"]
        await asyncio.sleep(3600)
        assert len(runs.writes) == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.UnavailableError("try again", status=503),
        errors.RejectedError("denied by a webhook", status=403),
        errors.ForbiddenError("no", status=403),
    ],
)
@virtual
async def test_trouble_with_the_api_is_no_end(error: errors.ApiError) -> None:
    """It is tried again, later and later, and others get their turn."""
    async with watching() as runs:
        runs.kube.fail["write_run_finalizers"] = [error, error, error, error]
        runs.add("a")
        runs.add("b", OURS, phase="Succeeded")
        await asyncio.sleep(31)
        assert (runs.finalizers("a"), runs.finalizers("b")) == ([], [OURS])
        await asyncio.sleep(40)
        assert (runs.finalizers("a"), runs.finalizers("b")) == ([OURS], [])


@pytest.mark.parametrize("change", ["removed", "let go", "followed"])
@virtual
async def test_what_is_in_order_by_the_time_it_is_its_turn_is_left_alone(change: str) -> None:
    """Another one was being mended, and the API server took its time."""
    async with watching() as runs:
        runs.add("a")
        if change == "followed":
            runs.add("b", OURS, phase="Running")
        else:
            runs.add("b", OURS, phase="Succeeded")
        slow = asyncio.Event()
        real = runs.kube.enter

        async def enter(verb: str, what: str) -> None:
            if what == "a":
                await slow.wait()
            await real(verb, what)

        runs.kube.enter = enter  # type: ignore[method-assign]  # of this one instance
        await asyncio.sleep(SOON)
        assert len(runs.writes) == 1
        if change == "removed":
            runs.remove("b")
        elif change == "let go":
            runs.change("b", finalizers=[])
            runs.show("b")
        else:
            runs.followed.add("uid-b")
            runs.change("b", phase="Pending")
            runs.show("b")
        runs.followed.add("uid-a")
        slow.set()
        await asyncio.sleep(7200)
        assert [moment for moment, _ in runs.writes] == [10]


# ------------------------------------------------------------------------------------------------ adopted Jobs


@pytest.mark.parametrize("others", [[], [OTHER]])
@virtual
async def test_a_job_whose_adoption_nobody_finishes_may_vanish(others: list[str]) -> None:
    """The run that adopted it is gone, or has ended: nobody will write it down."""
    async with watching() as runs:
        runs.add_job(*others, names.ADOPTION_FINALIZER)
        await asyncio.sleep(9)
        assert runs.kube.calls == []
        await asyncio.sleep(7)
        assert [list(job.finalizers) for job in runs.jobs()] == ([others] if others else [])
        await asyncio.sleep(3600)
        assert runs.kube.verbs() == ["let_job_go"]


@pytest.mark.parametrize("why", ["it is followed", "nobody deletes it", "it was not adopted"])
@virtual
async def test_a_job_that_need_not_vanish_is_left_alone(why: str) -> None:
    """Whoever follows the run finishes what it began, however long the API server takes."""
    async with watching() as runs:
        if why == "it is followed":
            runs.followed.add("uid-a")
        held_by = OTHER if why == "it was not adopted" else names.ADOPTION_FINALIZER
        runs.add_job(held_by, deleting=why != "nobody deletes it")
        await asyncio.sleep(3600)
        assert runs.kube.calls == []


@pytest.mark.parametrize(
    "error",
    [
        errors.UnavailableError("try again", status=503),
        errors.ConflictError("its finalizers have changed", status=422),
        errors.NotFoundError("gone", status=404),
        errors.ForbiddenError("no", status=403),
    ],
)
@virtual
async def test_a_job_that_could_not_be_let_go_is_tried_again(error: errors.ApiError) -> None:
    """Other work goes on meanwhile."""
    async with watching() as runs:
        runs.kube.fail["let_job_go"] = [error]
        runs.add_job(names.ADOPTION_FINALIZER)
        await asyncio.sleep(SOON)
        assert len(runs.jobs()) == 1
        await asyncio.sleep(5)
        assert runs.jobs() == []


def test_its_patience_is_longer_than_its_pauses() -> None:
    """So that kopf's own tries, of some seconds each, come first."""
    assert stragglers._LOOK_SECONDS < stragglers._PATIENCE_SECONDS < stragglers._LONGEST_PATIENCE_SECONDS  # noqa: SLF001
