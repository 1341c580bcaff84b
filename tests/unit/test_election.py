"""Leader election: the decision as a table, candidates against a scripted API in virtual time, and the process."""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import aiohttp
import pytest
import structlog

from agentrun_operator import errors, kube, settings
from agentrun_operator.cli import replica
from agentrun_operator.kube import election
from agentrun_operator.kube.election import Record, Sight, Step

_T = TypeVar("_T")

SECONDS = 12  # divides well: renewal every 2, rounds of 3, the end after 8


def terms(identity: str = "me", seconds: int = SECONDS) -> kube.Terms:
    """Terms of a candidate."""
    return kube.Terms(namespace="system", name="operator", identity=identity, lease_seconds=seconds)


# --------------------------------------------------------------------------------------------------- pure functions


@pytest.mark.parametrize(
    ("sight", "now", "expected"),
    [
        (Sight(None, 0), 0, (Step.CREATE, 0)),
        (Sight(None, 0), 1e6, (Step.CREATE, 0)),
        (Sight(Record("me", 12), 0), 0, (Step.KEEP, 0)),
        (Sight(Record("me", 12), 0), 1e6, (Step.KEEP, 0)),
        (Sight(Record("", 12), 0), 0, (Step.TAKE, 0)),
        (Sight(Record("other", 12), 5), 5, (Step.WAIT, 12)),
        (Sight(Record("other", 12), 5), 16.5, (Step.WAIT, 0.5)),
        (Sight(Record("other", 12), 5), 17, (Step.TAKE, 0)),
        (Sight(Record("other", 1), 5), 6, (Step.TAKE, 0)),
        (Sight(Record("other", 3600), 5), 17, (Step.WAIT, 3588)),
        (Sight(Record("other", 0), 5), 16, (Step.WAIT, 1)),
        (Sight(Record("other", 0), 5), 17, (Step.TAKE, 0)),
        (Sight(Record("me_2", 12), 5), 5, (Step.WAIT, 12)),
    ],
)
def test_what_to_do_follows_from_the_last_look(sight: Sight, now: float, expected: tuple[Step, float]) -> None:
    """The holder's own words count for how long it is waited for, by the candidate's clock."""
    assert election.plan(sight, terms(), now) == expected


@pytest.mark.parametrize(
    ("record", "since"),
    [
        (Record("other", 12, renewed="a"), 1),
        (Record("other", 12, renewed="b"), 9),
        (Record("third", 12, renewed="a"), 9),
        (Record("other", 13, renewed="a"), 9),
        (None, 9),
    ],
)
def test_a_record_is_as_old_as_its_last_change(record: Record | None, since: float) -> None:
    """Whatever its times say: they are of another clock."""
    before = Sight(Record("other", 12, renewed="a"), 1)
    assert election.fold_sight(before, record, 9) == Sight(record, since)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (None, Record("me", 12, "now", "now", 0)),
        (Record(), Record("me", 12, "now", "now", 1)),
        (Record("other", 5, "then", "later", 7), Record("me", 12, "now", "now", 8)),
        (Record("me", 5, "then", "later", 7), Record("me", 12, "then", "now", 7)),
    ],
)
def test_a_claim_counts_changes_of_the_holder(before: Record | None, expected: Record) -> None:
    """A renewal keeps when it was acquired."""
    assert election.build_claim(before, terms(), "now") == expected


@pytest.mark.parametrize("lease", [{}, {"spec": None}, {"spec": {}}, {"spec": {"holderIdentity": None}}])
def test_a_lease_may_be_empty(lease: dict[str, Any]) -> None:
    """kubectl can create one like this."""
    assert election.parse_record(lease) == Record()
    record = Record("me", 12, "a", "b", 3)
    assert election.parse_record(election.build_lease(lease, record, terms())) == record


def test_what_others_wrote_into_the_lease_stays() -> None:
    """Labels, and the version that the write is bound to."""
    lease = {
        "metadata": {"resourceVersion": "7", "labels": {"a": "b"}},
        "spec": {"strategy": "X", "holderIdentity": "x"},
    }
    written = election.build_lease(lease, Record("me", 12), terms())
    assert written["metadata"] == lease["metadata"]
    assert (written["spec"]["strategy"], written["spec"]["holderIdentity"]) == ("X", "me")


def test_a_leader_is_gone_before_its_lease_is_free() -> None:
    """And has time for two rounds that hang after the first pause."""
    for seconds in (4, 8, 3600):
        times = terms(seconds=seconds)
        assert times.retry_seconds + 2 * times.round_seconds <= times.renew_seconds < seconds


# --------------------------------------------------------------------------------------------------- virtual time


class _Leap(selectors.DefaultSelector):
    """Waits no time at all, and tells how long it would have waited."""

    waited: float = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.waited += timeout or 0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.waited


def play(story: Coroutine[Any, Any, _T]) -> _T:
    """Run ``story`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


def now() -> float:
    """Virtual time."""
    return asyncio.get_running_loop().time()


@dataclasses.dataclass
class Api:
    """Leases as an API server keeps them; ``before`` and ``after`` what is stored may raise or wait."""

    lease: dict[str, Any] | None = None
    calls: list[str] = dataclasses.field(default_factory=list)
    before: Callable[[str], Coroutine[Any, Any, None]] | None = None
    after: Callable[[str], Coroutine[Any, Any, None]] | None = None
    version: int = 0

    async def get_lease(self, namespace: str, name: str) -> Mapping[str, Any]:
        assert (namespace, name) == ("system", "operator")
        await self._enter("get")
        found = self.lease
        await self._leave("get")
        if found is None:
            raise errors.NotFoundError("not found", status=404)
        return found

    async def create_lease(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        await self._enter("create")
        if self.lease is not None:
            raise errors.AlreadyExistsError("exists", status=409)
        return await self._store("create", lease)

    async def replace_lease(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        await self._enter("replace")
        if self.lease is None:
            raise errors.NotFoundError("not found", status=404)
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise errors.ConflictError("the object has been modified", status=409)
        return await self._store("replace", lease)

    def put(self, **spec: Any) -> None:
        """What somebody else writes."""
        self.version += 1
        meta = {"namespace": "system", "name": "operator", "resourceVersion": str(self.version)}
        self.lease = {"metadata": meta, "spec": spec}

    @property
    def holder(self) -> str:
        """Who has it."""
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])

    async def _store(self, call: str, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        self.put(**lease["spec"])
        stored = self.lease
        await self._leave(call)
        assert stored is not None
        return stored

    async def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.before is not None:
            await self.before(call)

    async def _leave(self, call: str) -> None:
        if self.after is not None:
            await self.after(call)


class Candidate:
    """An election with its clock, and until when it was allowed to act."""

    def __init__(self, api: Api, identity: str = "me") -> None:
        self.until: list[float] = []
        self.election = kube.Election(api, terms(identity), extend=self.until.append, clock=now)


async def refuse(_call: str) -> None:
    """No API server."""
    raise errors.UnavailableError("connection refused")


async def hang(_call: str) -> None:
    """An API server that takes the request and says nothing."""
    await asyncio.sleep(1e6)


async def forever() -> None:
    """Until cancelled."""
    await asyncio.sleep(1e6)


def test_the_first_one_creates_the_lease() -> None:
    """And may act for two thirds of it, counted from before it was asked for."""

    async def story() -> None:
        async def slow(_call: str) -> None:
            await asyncio.sleep(0.5)

        api = Api(before=slow, after=slow)
        one = Candidate(api)
        await one.election.acquire()
        assert (api.calls, api.holder, one.until, now()) == (["get", "create"], "me", [8], 2)

    play(story())


def test_a_leader_renews_without_looking_first() -> None:
    """One request each time."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        await one.election.acquire()
        holding = asyncio.create_task(one.election.hold())
        await asyncio.sleep(6.5)
        assert api.calls == ["get", "create", *["replace"] * 3]
        assert one.until == [8, 10, 12, 14]
        holding.cancel()

    play(story())


def test_a_lease_that_is_renewed_is_never_taken() -> None:
    """However wrong its times are."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        waiting = asyncio.create_task(one.election.acquire())
        for number in range(20):
            api.put(holderIdentity="other", leaseDurationSeconds=4, renewTime=f"1970-01-01T00:00:00.{number:06}Z")
            await asyncio.sleep(3)
        assert not waiting.done()
        assert set(api.calls) == {"get"}
        waiting.cancel()

    play(story())


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2970-01-01T00:00:00.000000Z"])
def test_a_silent_leader_is_replaced_when_its_lease_is_over(renewed: str) -> None:
    """Not a moment earlier and at once then, counted from the first look; its own clock does not matter."""

    async def story() -> None:
        api = Api()
        api.put(holderIdentity="other", leaseDurationSeconds=5, renewTime=renewed, leaseTransitions=3)
        await asyncio.sleep(100)
        one = Candidate(api)
        await one.election.acquire()
        assert now() == pytest.approx(105)
        assert api.lease is not None
        assert (api.holder, api.lease["spec"]["leaseTransitions"]) == ("me", 4)

    play(story())


def test_a_lease_that_was_let_go_is_taken_at_the_next_look() -> None:
    """So an upgrade does not wait for an expiry."""

    async def story() -> None:
        api = Api()
        one, two = Candidate(api, "one"), Candidate(api, "two")
        await one.election.acquire()
        waiting = asyncio.create_task(two.election.acquire())
        await asyncio.sleep(3)
        await one.election.release()
        assert api.holder == ""
        await asyncio.wait_for(waiting, 2)
        assert api.holder == "two"

    play(story())


def test_of_many_that_take_it_at_once_one_gets_it() -> None:
    """The API server decides by the version; the others wait again."""

    async def story() -> None:
        api = Api()
        api.put(holderIdentity="", leaseDurationSeconds=1)

        async def slow(_call: str) -> None:
            await asyncio.sleep(0.5)

        api.before = slow  # all have looked before the first one writes
        all_of_them = [Candidate(api, f"c{number}") for number in range(5)]
        tasks = [asyncio.create_task(one.election.acquire()) for one in all_of_them]
        await asyncio.sleep(5)
        [winner] = [one for one, task in zip(all_of_them, tasks, strict=True) if task.done()]
        assert winner.until
        assert [one.until for one in all_of_them if one is not winner] == [[]] * 4
        for task in tasks:
            task.cancel()

    play(story())


@pytest.mark.parametrize("trouble", [refuse, hang])
def test_an_api_server_that_does_not_answer_extends_nothing(
    trouble: Callable[[str], Coroutine[Any, Any, None]],
) -> None:
    """The leader goes on trying, but what it may do ends where it was; a hanging request cannot hold it up."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        await one.election.acquire()
        api.before = trouble
        holding = asyncio.create_task(one.election.hold())
        await asyncio.sleep(8)  # what is left of its time
        assert api.calls[2:] == (["replace", "get", "get"] if trouble is refuse else ["replace", "get"])
        assert one.until == [8]
        api.before = None
        await asyncio.sleep(3)
        assert (api.holder, len(one.until) > 1) == ("me", True)  # nobody was there to end it
        holding.cancel()

    play(story())


@pytest.mark.parametrize("call", ["create", "replace"])
def test_a_write_whose_answer_was_lost_counts_when_it_is_seen(call: str) -> None:
    """The candidate finds its own name, and is the leader."""

    async def story() -> None:
        api = Api()
        if call == "replace":
            api.put(holderIdentity="", leaseDurationSeconds=1)
        one = Candidate(api)

        async def lose(seen: str) -> None:
            if seen == call:
                api.after = None
                raise errors.UnavailableError("connection reset")

        api.after = lose
        await one.election.acquire()
        assert api.calls == ["get", call, "get", "replace"]
        assert one.until == [10]

    play(story())


@pytest.mark.parametrize(
    ("spec", "holder"), [({"holderIdentity": "other", "leaseDurationSeconds": 1}, "other"), ({}, "")]
)
def test_a_leader_that_does_not_find_its_name_has_lost(spec: dict[str, Any], holder: str) -> None:
    """Also if nobody has the Lease by now: somebody may have led meanwhile. It writes nothing any more."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        await one.election.acquire()
        api.put(**spec)
        version = api.version
        assert await one.election.hold() == holder
        assert now() == 2
        await one.election.release()
        assert (api.version, one.until) == (version, [8])

    play(story())


def test_a_leader_whose_lease_was_deleted_has_lost() -> None:
    """It does not make a new one, which another may have had before."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        await one.election.acquire()
        api.lease = None
        assert await one.election.hold() == ""
        assert api.lease is None

    play(story())


def test_a_leader_whose_lease_was_labelled_goes_on() -> None:
    """The version is another, the holder is not."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        await one.election.acquire()
        assert api.lease is not None
        api.put(**api.lease["spec"])
        holding = asyncio.create_task(one.election.hold())
        await asyncio.sleep(2.5)
        assert api.calls[2:] == ["replace", "get", "replace"]
        assert one.until == [8, 10]
        holding.cancel()

    play(story())


def test_one_that_never_asked_for_the_lease_lets_go_of_nothing() -> None:
    """A standby that is stopped ends without a request."""

    async def story() -> None:
        api = Api()
        api.put(holderIdentity="other", leaseDurationSeconds=50)
        one = Candidate(api)
        waiting = asyncio.create_task(one.election.acquire())
        await asyncio.sleep(5)
        waiting.cancel()
        seen = len(api.calls)
        await one.election.release()
        assert len(api.calls) == seen

    play(story())


def test_one_that_was_stopped_in_the_act_of_taking_lets_go() -> None:
    """What was sent may have arrived."""

    async def story() -> None:
        api = Api(after=hang_after_create)
        one = Candidate(api)
        waiting = asyncio.create_task(one.election.acquire())
        await asyncio.sleep(1)
        assert api.holder == "me"
        waiting.cancel()
        api.after = None
        await one.election.release()
        assert api.holder == ""

    async def hang_after_create(call: str) -> None:
        if call == "create":
            await forever()

    play(story())


@pytest.mark.parametrize("trouble", [refuse, hang])
def test_letting_go_is_a_courtesy(trouble: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """It holds nobody up, and its failure is no error."""

    async def story() -> None:
        api = Api()
        one = Candidate(api)
        await one.election.acquire()
        api.before = trouble
        began = now()
        await one.election.release()
        assert now() - began <= 3
        assert api.holder == "me"

    play(story())


class Weather:
    """An API that is slow and fails before and after it stores, sleeps that last too long, and who acted when."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
        self.api = Api(before=self._trouble, after=self._trouble)
        self.spans: list[tuple[float, float, str]] = []

    async def _trouble(self, _call: str) -> None:
        await asyncio.sleep(self.chance.choice([0, 0, 0.01, 0.3, 4]))
        if self.chance.random() < 0.15:
            raise errors.UnavailableError("broken")

    async def _late(self, seconds: float) -> None:
        await asyncio.sleep(seconds + self.chance.choice([0, 0, 0, 0.2, 3, 15]))

    async def live(self, identity: str) -> None:
        """Stand by, lead until the fence falls or a signal comes."""
        until = [0.0]
        one = kube.Election(self.api, terms(identity), extend=until.append, clock=now, sleep=self._late)
        await one.acquire()
        began = now()
        ends = began + self.chance.choice([5, 30, 1e6])
        holding = asyncio.create_task(one.hold())
        while (limit := min(until[-1], ends)) > now() and not holding.done():
            await asyncio.wait([holding], timeout=limit - now())
        holding.cancel()
        if began < until[-1]:
            self.spans.append((began, min(now(), until[-1]), identity))
        if now() >= ends:
            await one.release()


@pytest.mark.parametrize("seed", range(40))
def test_no_two_may_act_at_the_same_time(seed: int) -> None:
    """Three places, in each of which one life follows the other, for ten minutes."""

    async def story() -> list[tuple[float, float, str]]:
        weather = Weather(seed)

        async def lives(place: str) -> None:
            for life in range(1000):
                await weather.live(f"{place}_{life}")

        async with asyncio.timeout(601):
            with contextlib.suppress(asyncio.CancelledError):
                async with asyncio.TaskGroup() as places:
                    tasks = [places.create_task(lives(place)) for place in "abc"]
                    await asyncio.sleep(600)
                    for task in tasks:
                        task.cancel()
        return sorted(weather.spans)

    spans = play(story())
    assert len(spans) > 5
    assert [(a, b) for a, b in itertools.pairwise(spans) if a[1] > b[0]] == []


# --------------------------------------------------------------------------------------------------- the process


class Fence:
    """Notes what would have ended the process."""

    def __init__(self) -> None:
        self.until: list[float] = []
        self.fell = asyncio.Event()
        self.why = ""
        self.is_open = False

    def extend(self, until: float) -> None:
        self.until.append(until)

    def open(self) -> None:
        self.is_open = True

    def fall(self, why: str) -> None:
        self.why = why
        self.fell.set()


class Connection(Api):
    """The API behind a connection."""

    closed = False
    observe: kube.Observe = kube.nobody

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed = True


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()

    async def connect(*, timeout: float, observe: kube.Observe, program: str) -> Connection:  # noqa: ASYNC109 - as the real one
        await asyncio.sleep(0)
        assert (timeout, program) == (1, "agentrun-operator")
        made.observe = observe
        return made

    monkeypatch.setattr(kube, "connect", connect)
    return made


CONFIG = settings.Settings(
    pod_namespace="system", leader_election_lease="operator", leader_election_seconds=4, pod_name="operator-x"
)


async def test_it_works_when_it_leads_and_lets_go_when_the_work_is_done(api: Connection) -> None:
    """The Lease is the next one's at once; the fence is open before, for nothing is led any more."""
    fence = Fence()

    async def work(stop: asyncio.Event) -> None:
        await asyncio.sleep(0)
        assert not stop.is_set()
        assert api.holder.startswith("operator-x_")
        assert not fence.is_open

    told: list[tuple[str, str, str, float]] = []
    assert await replica.take_turns(CONFIG, work, fence=fence, observe=lambda *request: told.append(request)) == 0
    api.observe("get", "leases", "200", 0.1)
    assert told == [("get", "leases", "200", 0.1)]
    assert (api.holder, api.closed, fence.is_open, len(fence.until)) == ("", True, True, 1)


async def test_work_that_fails_lets_go_too(api: Connection) -> None:
    """And its error is the process's."""

    async def work(_stop: asyncio.Event) -> None:
        await asyncio.sleep(0)
        raise errors.SettingsError("wrong")

    with pytest.raises(errors.SettingsError, match="wrong"):
        await replica.take_turns(CONFIG, work, fence=Fence())
    assert (api.holder, api.closed) == ("", True)


@pytest.mark.parametrize(("holder", "why"), [("other", "it is held by other"), ("", "somebody took it away")])
async def test_the_fence_falls_when_the_lease_is_another_ones(api: Connection, holder: str, why: str) -> None:
    """While the work is going on."""
    fence = Fence()

    async def work(_stop: asyncio.Event) -> None:
        api.put(holderIdentity=holder, leaseDurationSeconds=4)
        await fence.fell.wait()

    assert await replica.take_turns(CONFIG, work, fence=fence) == 0
    assert (fence.why, api.holder) == (why, holder)


async def test_nobody_renews_after_an_error_that_nobody_foresaw(api: Connection) -> None:
    """So the fence falls in time, and the log says why."""

    async def broken(_call: str) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("bug")

    fence = Fence()

    async def work(_stop: asyncio.Event) -> None:
        api.before = broken
        await asyncio.sleep(1.5)
        api.before = None

    with structlog.testing.capture_logs() as logged:
        assert await replica.take_turns(CONFIG, work, fence=fence) == 0
    assert [entry["event"] for entry in logged] == ["lease_acquired", "lease_not_kept", "lease_released"]
    assert len(fence.until) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_standby_answers_probes_and_ends_at_a_signal(api: Connection, number: signal.Signals) -> None:
    """It never works, and the Lease stays as it was."""
    api.put(holderIdentity="other", leaseDurationSeconds=3600)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}/healthz"

    async def work(_stop: asyncio.Event) -> None:
        await asyncio.sleep(0)
        raise AssertionError("a standby works")

    asked = asyncio.Event()

    async def note(_call: str) -> None:
        await asyncio.sleep(0)
        asked.set()

    api.before = note
    config = CONFIG.model_copy(update={"liveness_endpoint": endpoint})
    turns = asyncio.create_task(replica.take_turns(config, work, fence=Fence()))
    await asked.wait()
    async with aiohttp.ClientSession() as session, session.get(endpoint) as response:
        assert (response.status, await response.json()) == (200, {})
    os.kill(os.getpid(), number)
    assert await asyncio.wait_for(turns, 1) == 0
    assert (set(api.calls), api.holder, api.closed) == ({"get"}, "other", True)


async def test_a_signal_just_after_the_lease_was_acquired_is_not_lost(api: Connection) -> None:
    """Before kopf has its own handlers the event is what tells it."""

    async def work(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 1)

    assert await replica.take_turns(CONFIG, work, fence=Fence()) == 0
    assert api.holder == ""


ACTS = """
import asyncio, sys, time
from agentrun_operator.cli import replica
alarm = replica.Alarm()
alarm.extend(time.monotonic() + 30)
alarm.extend(until := time.monotonic() + 1)
if "open" in sys.argv:
    alarm.open()
print(until, flush=True)
if "busy" in sys.argv:
    while True:
        pass
async def act():
    while time.monotonic() < until + (0.3 if "open" in sys.argv else 5):
        print(time.monotonic(), flush=True)
        await asyncio.sleep(0.005)
asyncio.run(act())
"""


@pytest.mark.parametrize("how", ["acts", "busy", "stopped"])
def test_the_alarm_ends_a_process_that_was_not_told_to_go_on(how: str) -> None:
    """Its event loop may be blocked, and it may have been stopped: after its time it does nothing any more."""
    command = [sys.executable, "-c", ACTS, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        until = float(process.stdout.readline())
        if how == "stopped":
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            process.send_signal(signal.SIGCONT)
        *actions, last = process.stdout.read().splitlines()
        assert process.wait(10) == replica.EXIT_LEASE_LOST
    assert "lease_lost" in last
    assert "it could not be renewed in time" in last
    assert actions or how != "acts"
    if how == "stopped":
        assert [action for action in actions if float(action) > until] == []


def test_an_open_fence_ends_nothing() -> None:
    """The process may take its time to go home."""
    ended = subprocess.run(
        [sys.executable, "-c", ACTS, "open"], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stderr
