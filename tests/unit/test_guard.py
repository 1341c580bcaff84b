"""Who may start its Job: one decision as a table, and the protocol around it in every order in which it can happen.

The second part is a model of the protocol of ``runner.admission`` around the real ``guard.decide``: contenders that
take their steps in any order, die and begin again anywhere, against an API that keeps nothing but Jobs. Every state
that can be reached is visited.

A contender looks at a list, or at what its watch has shown (docs/adr/0012): any state since its own Job was published.
The model has it take a photo whenever it likes, and look at the last one whenever it likes; so every such state is
tried, without a bound to how late a watch may be.
"""

import collections
import dataclasses
import enum
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import pytest

from agentrun_operator import facts, names
from agentrun_operator.status import guard

T = TypeVar("T")

# ---------------------------------------------------------------------------------------------------- one decision


def held(uid: str, *, created: str = "2026-01-02T03:04:05Z", gate: str = names.HELD, **given: Any) -> facts.JobFacts:
    """A Job that waits at the gate; its name is its uid."""
    return facts.JobFacts(name=uid, namespace="team-a", uid=uid, created_at=created, suspended=True, gate=gate, **given)


def started(uid: str, **given: Any) -> facts.JobFacts:
    """A Job that was let go."""
    return facts.JobFacts(name=uid, namespace="team-a", uid=uid, created_at="2026-01-02T03:04:05Z", **given)


def complete(uid: str) -> facts.JobFacts:
    """A Job that has ended."""
    done = facts.Condition(type="Complete", status="True")
    return dataclasses.replace(started(uid), conditions=(done,))


EARLIER, LATER = "2026-01-02T03:04:04Z", "2026-01-02T03:04:06Z"
AT_KUEUE = facts.JobFacts(name="k", namespace="team-a", uid="k", suspended=True)


@pytest.mark.parametrize(
    ("others", "wait_for", "mark"),
    [
        ([], None, []),
        ([started("a")], "a", []),
        ([started("z")], "z", []),
        ([started("a", deleting=True)], "a", []),
        ([started("a", gone=True)], None, []),
        ([complete("a")], None, []),
        ([AT_KUEUE], "k", []),
        ([held("a")], "a", []),
        ([held("z")], None, ["z"]),
        ([held("z", created=EARLIER)], "z", []),
        ([held("a", created=LATER)], None, ["a"]),
        ([held("b"), held("a")], "a", []),
        ([held("b", created=EARLIER), held("a")], "b", []),
        ([held("y"), held("x"), held("z")], None, ["y", "x", "z"]),
        ([held("y", gate="m"), held("z", gate="x")], None, ["z"]),
        ([held("y", gate="m")], None, []),
        ([held("a", gate="m")], "a", []),
        ([held("a", deleting=True)], None, []),
        ([held("z", deleting=True)], None, []),
        ([held("a", gone=True)], None, []),
        ([held("a"), started("z")], "z", []),
        ([held("z"), started("y")], "y", []),
    ],
)
def test_whose_turn_it_is(others: list[facts.JobFacts], wait_for: str | None, mark: list[str]) -> None:
    """A live Job has the agent; of those that are held, the first; and who is first marks the rest, each once."""
    mine = held("m")
    for listed in ([mine, *others], [*others, mine], others):
        turn = guard.decide(mine, listed)
        assert (turn.wait_for and turn.wait_for.uid) == wait_for
        assert [job.uid for job in turn.mark] == mark


@pytest.mark.parametrize(
    ("job", "in_row"),
    [
        (held("a"), True),
        (held("a", gate="z"), True),
        (held("a", deleting=True), False),
        (held("a", gone=True), False),
        (started("a"), False),
        (complete("a"), False),
        (AT_KUEUE, False),
    ],
)
def test_who_stands_in_the_row(job: facts.JobFacts, *, in_row: bool) -> None:
    """Held, and not on its way out. A Job that Kueue holds has passed the gate."""
    assert guard.is_in_row(job) is in_row


def test_of_two_that_are_held_exactly_one_is_first() -> None:
    """Whatever their times and marks: the order is total, so neither both nor none of them go."""
    everybody = [
        held(uid, created=when, gate=gate) for uid in "ab" for when in (EARLIER, LATER) for gate in ("true", "x")
    ]
    for one in everybody:
        for other in everybody:
            if one.uid != other.uid:
                turns = [guard.decide(one, [one, other]), guard.decide(other, [one, other])]
                assert sorted(turn.wait_for is None for turn in turns) == [False, True]


# ------------------------------------------------------------------------------------------------- every interleaving


class Phase(enum.IntEnum):
    """What has become of a Job."""

    ABSENT = 0
    HELD = 1
    STARTED = 2
    FINISHED = 3
    WITHDRAWN = 4  # deleted while it was held, because its run was cancelled


@dataclasses.dataclass(frozen=True)
class Rules:
    """The protocol, or one that lacks a part of it."""

    marks: bool = True
    tests: bool = True
    since: bool = True  # a view is not older than the own publication, of which the answer to that tells
    whole: bool = True  # a view is a state that there was once, and no answers to requests are put into it


class Before(enum.IntEnum):
    """Where a contender is in its program when it remembers nothing."""

    PUBLISH = 0
    LIST = 1
    OVER = 2


class Mark(NamedTuple):
    """It is about to mark these Jobs, whose marks it has seen, and remembers its own."""

    todo: tuple[tuple[int, str], ...]
    own: str


class Start(NamedTuple):
    """It is about to start its Job, on which it has seen this mark."""

    own: str


Job = tuple[Phase, str]  # and its mark
Jobs = tuple[Job, ...]  # by run
At = Before | Mark | Start
State = tuple[Jobs, tuple[At, ...], tuple[Jobs | None, ...]]  # Jobs, and places and photos by contender

NEVER: Job = (Phase.ABSENT, "")
DONE = frozenset({Phase.FINISHED, Phase.WITHDRAWN})


@functools.cache
def facts_of(run: int, job: Job) -> facts.JobFacts:
    """The Job as a list shows it."""
    phase, gate = job
    done = (facts.Condition(type="Complete", status="True"),) if phase is Phase.FINISHED else ()
    return facts.JobFacts(
        name=f"job-{run}",
        namespace="team-a",
        uid=f"{run}",
        suspended=phase is Phase.HELD,
        gate=gate if phase is Phase.HELD else "",
        conditions=done,
    )


@functools.cache
def after_list(run: int, jobs: Jobs, rules: Rules) -> At:
    """Where a contender goes from a list, or from a view."""
    if jobs[run][0] is not Phase.HELD:
        return Before.OVER
    there = [facts_of(i, job) for i, job in enumerate(jobs) if job[0] not in {Phase.ABSENT, Phase.WITHDRAWN}]
    turn = guard.decide(facts_of(run, jobs[run]), there)
    if turn.wait_for is not None:
        return Before.LIST
    todo = tuple((int(other.uid), other.gate) for other in turn.mark) if rules.marks else ()
    return Mark(todo, jobs[run][1]) if todo else Start(jobs[run][1])


def step(run: int, at: At, jobs: Jobs, rules: Rules) -> tuple[At, Jobs]:
    """One request of a contender for ``run``: where it is then, and the Jobs."""
    if at is Before.PUBLISH:  # whoever is there already; the real one looks first, and sees no more than this one then
        return Before.LIST, put(jobs, run, (Phase.HELD, names.HELD)) if jobs[run] == NEVER else jobs
    if isinstance(at, Mark):
        other, seen = at.todo[0]
        if jobs[other] != (Phase.HELD, seen):
            return Before.LIST, jobs
        rest = at.todo[1:]
        return Mark(rest, at.own) if rest else Start(at.own), put(jobs, other, (Phase.HELD, f"{run}"))
    if isinstance(at, Start):
        phase, gate = jobs[run]
        if phase is not Phase.HELD or (rules.tests and gate != at.own):
            return Before.LIST, jobs
        return Before.OVER, put(jobs, run, (Phase.STARTED, ""))
    return after_list(run, jobs, rules), jobs


def put(things: tuple[T, ...], place: int, thing: T) -> tuple[T, ...]:
    """The same with another one at that place."""
    return (*things[:place], thing, *things[place + 1 :])


def progress(state: State, runs: tuple[int, ...], rules: Rules) -> Iterator[State]:
    """What can happen next when nobody dies or is cancelled: a request of a contender, a view, the end of a Job."""
    jobs, places, photos = state
    for number, (run, at) in enumerate(zip(runs, places, strict=True)):
        if at is Before.OVER:
            continue
        now, after = step(run, at, jobs, rules)
        yield after, put(places, number, now), forget(photos, number, now)
        photo = photos[number]
        if photo is not None and at is Before.LIST:
            now = after_list(run, photo, rules)
            yield jobs, put(places, number, now), forget(photos, number, now)
    for run, (phase, _) in enumerate(jobs):
        if phase is Phase.STARTED:
            yield put(jobs, run, (Phase.FINISHED, "")), places, photos


def photograph(state: State, runs: tuple[int, ...], rules: Rules, viewers: frozenset[int]) -> Iterator[State]:
    """A contender that goes by its watch sees how things are now; by broken rules, with parts of another moment."""
    jobs, places, photos = state
    for number in viewers:
        at, run, photo = places[number], runs[number], photos[number]
        if at is Before.OVER or (at is Before.PUBLISH and rules.since):
            continue
        yield jobs, places, put(photos, number, jobs)
        if photo is None:
            continue
        if not rules.since:
            yield jobs, places, put(photos, number, put(photo, run, jobs[run]))
        for other, job in enumerate(() if rules.whole else jobs):
            yield jobs, places, put(photos, number, put(photo, other, job))


def mishaps(state: State, runs: tuple[int, ...]) -> Iterator[State]:
    """What else can happen: an operator dies and is started again, a run is cancelled before its Job was started."""
    jobs, places, photos = state
    for number, run in enumerate(runs):
        again = Before.PUBLISH if jobs[run] == NEVER else Before.LIST
        yield jobs, put(places, number, again), put(photos, number, None)
    for run, (phase, _) in enumerate(jobs):
        if phase is Phase.HELD:
            yield put(jobs, run, (Phase.WITHDRAWN, "")), places, photos


def forget(photos: tuple[Jobs | None, ...], number: int, at: At) -> tuple[Jobs | None, ...]:
    """Who has nothing more to do needs no photo."""
    return put(photos, number, None) if at is Before.OVER else photos


@dataclasses.dataclass(frozen=True)
class Explored:
    """Every state that can be reached: those in which two Jobs run, and those from which no good end can be reached."""

    states: int
    doubled: int
    stuck: int


def explore(runs: tuple[int, ...], rules: Rules, viewers: frozenset[int] = frozenset()) -> Explored:
    """Visit every state of these contenders, each of which works for one run; several may work for the same one.

    ``viewers`` go by their watches, or list, as they like; the others always list.
    """
    first: State = ((NEVER,) * (max(runs) + 1), (Before.PUBLISH,) * len(runs), (None,) * len(runs))
    seen, todo, doubled = {first}, collections.deque([first]), 0
    before: dict[State, list[State]] = collections.defaultdict(list)  # by what nobody's misfortune has a part in
    while todo:
        state = todo.popleft()
        doubled += sum(phase is Phase.STARTED for phase, _ in state[0]) > 1
        ahead = [*progress(state, runs, rules), *photograph(state, runs, rules, viewers)]
        for following in ahead:
            before[following].append(state)
        for following in (*ahead, *mishaps(state, runs)):
            if following not in seen:
                seen.add(following)
                todo.append(following)
    good = [state for state in seen if all(phase in DONE for phase, _ in state[0])]
    hopeful, back = set(good), collections.deque(good)
    while back:
        for state in before[back.popleft()]:
            if state not in hopeful:
                hopeful.add(state)
                back.append(state)
    return Explored(states=len(seen), doubled=doubled, stuck=len(seen - hopeful))


@pytest.mark.parametrize("runs", [(0, 1), (0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 2), (0, 0, 1, 1), (0, 1, 2, 2)])
def test_in_no_order_of_events_do_two_agents_run_or_is_everybody_stuck(runs: tuple[int, ...]) -> None:
    """Two and three runs of one agent, also when two operators both work for the same run."""
    found = explore(runs, Rules())
    assert found.states > 10, "the model moves"
    assert (found.doubled, found.stuck) == (0, 0)


@pytest.mark.parametrize(
    ("runs", "viewers"),
    [
        ((0, 1), {0}),
        ((0, 1), {1}),
        ((0, 1), {0, 1}),
        ((0, 0), {0, 1}),
        ((0, 0, 1), {0, 1, 2}),
        ((0, 1, 1), {0, 1, 2}),
        ((0, 1, 2), {0}),
        ((0, 1, 2), {1}),
        ((0, 1, 2), {2}),
    ],
)
def test_a_view_is_as_good_as_a_list(runs: tuple[int, ...], viewers: set[int]) -> None:
    """However late a watch is, and whoever goes by one while others list."""
    found = explore(runs, Rules(), frozenset(viewers))
    assert found.states > explore(runs, Rules()).states, "there are views that differ from lists"
    assert (found.doubled, found.stuck) == (0, 0)


@pytest.mark.parametrize("rules", [Rules(marks=False), Rules(tests=False)])
def test_without_one_of_its_parts_the_protocol_is_broken(rules: Rules) -> None:
    """The exploration finds what is wrong, so it can be believed when it finds nothing."""
    assert explore((0, 1), rules).doubled > 0


@pytest.mark.parametrize(
    ("rules", "runs", "viewers"),
    [
        (Rules(since=False), (0, 1), {0}),
        (Rules(since=False), (0, 1), {1}),
        (Rules(whole=False), (0, 1), {1}),
        (Rules(whole=False), (0, 1, 2), {0}),
    ],
)
def test_a_view_that_breaks_its_rules_is_worse_than_a_list(
    rules: Rules, runs: tuple[int, ...], viewers: set[int]
) -> None:
    """It may lack a Job that was there before the own one, or show the mark of a Job that it does not show."""
    assert explore(runs, rules, frozenset(viewers)).doubled > 0


def test_who_never_yields_is_found_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other half of the exploration can fail, too: here a Job waits also for those behind it."""

    def timid(mine: facts.JobFacts, listed: list[facts.JobFacts]) -> guard.Turn:
        return guard.Turn(wait_for=next((job for job in listed if job.uid != mine.uid and not job.finished), None))

    monkeypatch.setattr(guard, "decide", timid)
    after_list.cache_clear()
    assert explore((0, 1), Rules()).stuck > 0
    after_list.cache_clear()
