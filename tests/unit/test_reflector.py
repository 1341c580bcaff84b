"""How a kind of objects is mirrored: list, watch, go on, list anew; in virtual time, so that pauses can be measured."""

import asyncio
import contextlib
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agentrun_operator import errors, kube
from tests.clock import now, virtual

Shown = tuple[str, ...]


class OverError(BaseException):
    """The story is told."""


@dataclasses.dataclass
class Api:
    """An API server that answers in turn as it is told: a list (names, version), a watch (its lines), or an error.

    A watch may break where an error stands among its lines, and is silent for so many seconds where a number stands.
    The story is over with the request that has no answer.
    """

    answers: list[Any]
    asked: list[str] = dataclasses.field(default_factory=list)
    queries: list[Mapping[str, str]] = dataclasses.field(default_factory=list)
    at: list[float] = dataclasses.field(default_factory=list)
    open: int = 0

    @property
    def pauses(self) -> list[float]:
        """The time between each request and the next."""
        return [later - earlier for earlier, later in itertools.pairwise(self.at)]

    async def list(self) -> tuple[list[str], str]:
        """The next answer."""
        answer = self._next("list")
        await asyncio.sleep(0)
        if isinstance(answer, errors.ApiError):
            raise answer
        names, version = answer
        return names.split(), version

    async def watch(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of the next answer."""
        answer = self._next(f"watch {query['resourceVersion']}")
        self.queries.append(query)
        await asyncio.sleep(0)
        self.open += 1
        try:
            for line in [answer] if isinstance(answer, errors.ApiError) else answer:
                if isinstance(line, errors.ApiError):
                    raise line
                if isinstance(line, int):
                    await asyncio.sleep(line)
                    continue
                yield line
                await asyncio.sleep(0)
        finally:
            self.open -= 1

    def parse(self, body: Mapping[str, Any]) -> str:
        """Its name."""
        return str(body["metadata"]["name"])

    def _next(self, what: str) -> Any:  # noqa: ANN401 - see the class
        if not self.answers:
            raise OverError
        self.asked.append(what)
        self.at.append(now())
        return self.answers.pop(0)


@dataclasses.dataclass
class Mirror:
    """What was told, in order; ``refusals`` is what becomes of the next lists."""

    told: list[Shown] = dataclasses.field(default_factory=list)
    refusals: list[errors.ApiError] = dataclasses.field(default_factory=list)

    async def listed(self, items: list[str], version: str) -> None:
        """A list."""
        await asyncio.sleep(0)
        if self.refusals:
            raise self.refusals.pop(0)
        self.told.append(("listed", *items, version))

    def changed(self, item: str, *, gone: bool) -> None:
        """One object."""
        self.told.append(("gone" if gone else "changed", item))

    def reached(self, version: str) -> None:
        """A version."""
        self.told.append(("reached", version))


async def reflect(*answers: Any, refusals: tuple[errors.ApiError, ...] = ()) -> tuple[Api, list[Shown]]:  # noqa: ANN401 - see Api
    """Tell the story. Returns what was asked for and what was shown."""
    api, mirror = Api(list(answers)), Mirror(refusals=list(refusals))
    with contextlib.suppress(OverError):
        await kube.Reflector(api, mirror, what="things").run()
    assert api.open == 0, "no watch is left open"
    return api, mirror.told


def line(kind: str, version: str, name: str = "a") -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}).encode()


def error(code: int, message: str = "too old resource version: 5 (9)") -> bytes:
    """What the API server says when it cannot go on, in the middle of a watch."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
    return json.dumps({"type": "ERROR", "object": {**status, **({"message": message} if message else {})}}).encode()


def unavailable(*, status: int = 503, retry_after: float = 0.0) -> errors.UnavailableError:
    """No answer."""
    return errors.UnavailableError("try again", status=status, retry_after=retry_after)


FIRST = ("a b", "5")


# ------------------------------------------------------------------------------------------------------ the good days


@virtual
async def test_what_was_listed_is_watched_from_there() -> None:
    """No change can be lost between the two."""
    api, shown = await reflect(FIRST, [])
    assert api.asked == ["list", "watch 5"]
    assert api.queries == [
        {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "5", "timeoutSeconds": "300"}
    ]
    assert shown == [("listed", "a", "b", "5"), ("reached", "5")]


@virtual
async def test_changes_are_shown_in_their_order() -> None:
    """Each by itself, and then that it was reached; a bookmark shows nothing else."""
    watch = [line("ADDED", "6", "c"), line("MODIFIED", "7"), line("BOOKMARK", "8", ""), line("DELETED", "9", "b")]
    _, shown = await reflect(FIRST, watch)
    assert shown[2:] == [
        ("changed", "c"),
        ("reached", "6"),
        ("changed", "a"),
        ("reached", "7"),
        ("reached", "8"),
        ("gone", "b"),
        ("reached", "9"),
    ]


@virtual
async def test_a_watch_that_ends_in_good_order_is_opened_anew_at_once() -> None:
    """Where it was: after the last change, or the last bookmark."""
    api, _ = await reflect(FIRST, [line("ADDED", "6"), line("BOOKMARK", "9")], [line("ADDED", "11")], [])
    assert api.asked == ["list", "watch 5", "watch 9", "watch 11"]
    assert api.pauses == [0, 0, 0]


@virtual
async def test_a_watch_that_breaks_goes_on_where_it_was() -> None:
    """What it has shown is not shown again; there is no list."""
    api, shown = await reflect(FIRST, [line("ADDED", "6"), unavailable()], [line("ADDED", "7")], unavailable(), [])
    assert api.asked == ["list", "watch 5", "watch 6", "watch 7", "watch 7"]
    assert [event[1] for event in shown if event[0] == "reached"] == ["5", "6", "7"]
    assert all(pause <= 0.5 for pause in api.pauses)


# --------------------------------------------------------------------------------------------------------- the gaps


@pytest.mark.parametrize(
    "gap",
    [
        [error(410)],
        [line("ADDED", "6"), error(410)],
        [error(500, "etcdserver: leader changed")],
        [error(410, "")],
        unavailable(status=410),
        [line("BOOKMARK", "6"), unavailable(status=410)],
    ],
)
@virtual
async def test_after_a_gap_everything_is_listed_anew(gap: Any) -> None:  # noqa: ANN401 - see Api
    """And watched from the new list on, whatever was shown before."""
    api, shown = await reflect(FIRST, gap, ("a c", "20"), [])
    assert api.asked == ["list", "watch 5", "list", "watch 20"]
    assert shown[-2:] == [("listed", "a", "c", "20"), ("reached", "20")]
    assert 0 < api.pauses[1] <= 0.5


@virtual
async def test_three_watches_that_fail_in_a_row_are_a_gap() -> None:
    """Whatever the server has against this version: a list is always right."""
    api, shown = await reflect(FIRST, unavailable(), unavailable(), [unavailable()], ("a", "9"), [])
    assert api.asked == ["list", "watch 5", "watch 5", "watch 5", "list", "watch 9"]
    assert shown[-2:] == [("listed", "a", "9"), ("reached", "9")]


@virtual
async def test_watches_that_show_something_do_not_fail_in_a_row() -> None:
    """Connections may break as often as they like."""
    broken = [[line("MODIFIED", f"{version}"), unavailable()] for version in range(6, 26)]
    bookmark = [line("BOOKMARK", "30"), unavailable()]
    api, _ = await reflect(FIRST, *broken, unavailable(), bookmark, unavailable(), [])
    assert api.asked.count("list") == 1
    assert api.asked[-4:] == ["watch 25", "watch 25", "watch 30", "watch 30"]


@virtual
async def test_a_list_counts_as_an_answer() -> None:
    """After it, watches may fail again."""
    trouble = [unavailable()] * 3
    api, _ = await reflect(FIRST, *trouble, ("a", "9"), unavailable(), unavailable(), [line("BOOKMARK", "10")], [])
    assert api.asked == ["list", *["watch 5"] * 3, "list", *["watch 9"] * 3, "watch 10"]


PAGE = b"<html><head><title>503 Service Temporarily Unavailable</title></head>"


@pytest.mark.parametrize(
    "garbage",
    [
        PAGE,
        line("ADDED", "6")[:-20],
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":null}',
        b'{"type":"ADDED","object":[]}',
        b'{"type":"ADDED","object":{}}',
        b'{"type":"ADDED","object":{"metadata":null}}',
        b'{"type":"ADDED","object":{"metadata":[]}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"\xff","resourceVersion":"6"}}}',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}',
        b'{"type":null,"object":{"metadata":{"resourceVersion":"6"}}}',
        b'{"kind":"Status","status":"Failure","code":500}',
    ],
)
@virtual
async def test_what_cannot_be_read_shows_nothing_and_ends_nothing(garbage: bytes) -> None:
    """A proxy's page in the place of a line: the watch is opened anew, after a pause; then there is a list."""
    again = [garbage, line("ADDED", "7")]
    api, shown = await reflect(
        FIRST, [line("ADDED", "6"), *again], again, [line("ADDED", "8")], again, again, again, FIRST
    )
    assert api.asked == ["list", "watch 5", "watch 6", "watch 6", *["watch 8"] * 3, "list"]
    assert [event for event in shown if event[0] != "reached"] == [
        ("listed", "a", "b", "5"),
        ("changed", "a"),
        ("changed", "a"),
        ("listed", "a", "b", "5"),
    ]
    assert all(pause > 0 for index, pause in enumerate(api.pauses) if index not in {0, 3})


# ------------------------------------------------------------------------------------------------------- the pauses


def check_growth(pauses: list[float], longest: list[float]) -> None:
    """Each pause is between the half and the whole of its limit."""
    for pause, most in zip(pauses, longest, strict=True):
        assert most / 2 <= pause <= most


@virtual
async def test_a_list_that_fails_is_asked_for_again_later_and_later() -> None:
    """The first one, too; the pauses have an end."""
    api, shown = await reflect(*[unavailable()] * 7, FIRST, [])
    assert api.asked == [*["list"] * 8, "watch 5"]
    check_growth(api.pauses[:-1], [0.5, 1, 2, 4, 8, 10, 10])
    assert shown == [("listed", "a", "b", "5"), ("reached", "5")]


@pytest.mark.parametrize("refusal", [errors.ForbiddenError("no", status=403), errors.NotFoundError("no", status=404)])
@virtual
async def test_a_refusal_is_no_reason_to_give_up(refusal: errors.ApiError) -> None:
    """Roles may come later, and a proxy may not know the way for a while."""
    api, _ = await reflect(refusal, FIRST, refusal, [line("BOOKMARK", "6")], [])
    assert api.asked == ["list", "list", "watch 5", "watch 5", "watch 6"]


@virtual
async def test_whoever_asks_to_be_left_alone_is_heard() -> None:
    """Retry-After, of a list and of a watch; a longer pause of our own stays."""
    short, long = unavailable(status=429, retry_after=0.1), unavailable(status=429, retry_after=30)
    api, _ = await reflect(long, short, short, FIRST, [line("BOOKMARK", "6"), long], [])
    assert api.asked == [*["list"] * 4, "watch 5", "watch 6"]
    assert api.pauses[0] == 30
    check_growth(api.pauses[1:3], [1, 2])
    assert api.pauses[3:] == [0, 30]


@pytest.mark.parametrize("strange", ["no list", 5])
@virtual
async def test_an_answer_that_nobody_thought_of_ends_nothing(strange: Any) -> None:  # noqa: ANN401 - see Api
    """Without its mirror the operator would be blind, and nobody would notice."""
    api, told = await reflect(strange, FIRST, [line("ADDED", "6")])
    assert told[-1] == ("reached", "6")
    assert api.asked.count("list") == 2


@virtual
async def test_a_list_that_could_not_be_told_is_made_again() -> None:
    """The mirror asked the API for more, in vain: until it was told, nothing was reached and nothing is watched."""
    refusals = (unavailable(), unavailable(retry_after=3))
    api, shown = await reflect(FIRST, ("a", "6"), ("c", "7"), [], refusals=refusals)
    assert api.asked == ["list", "list", "list", "watch 7"]
    check_growth(api.pauses[:1], [0.5])
    assert api.pauses[1] == 3
    assert shown == [("listed", "c", "7"), ("reached", "7")]


@virtual
async def test_pauses_are_short_again_when_something_was_shown() -> None:
    """The trouble is over."""
    api, _ = await reflect(FIRST, unavailable(), unavailable(), [line("ADDED", "6"), unavailable()], [])
    check_growth(api.pauses[1:], [0.5, 1, 0.5])


@virtual
async def test_a_watch_that_has_nothing_to_show_for_long_is_opened_anew_at_once() -> None:
    """In a quiet cluster nobody is blind: what happens next is shown when it happens."""
    api, _ = await reflect(FIRST, *[[30]] * 20, [line("ADDED", "6")], [])
    assert api.asked.count("list") == 1
    assert api.pauses[1:21] == [30] * 20


@virtual
async def test_a_watch_that_was_quiet_for_long_ends_the_trouble_before_it() -> None:
    """The pauses are short again, and the failures are none in a row."""
    trouble = [unavailable(), unavailable()]
    api, _ = await reflect(*[unavailable()] * 6, FIRST, *trouble, [30], *trouble, [line("ADDED", "6")], [])
    assert api.asked == [*["list"] * 7, *["watch 5"] * 6, "watch 6"]
    check_growth(api.pauses[10:12], [0.5, 1])


async def count(*answers: Any, cycle: Any, minutes: int = 10) -> list[str]:  # noqa: ANN401 - see Api
    """What is asked for in ten minutes when it goes on like this for ever."""

    class Endless(list[Any]):
        def __bool__(self) -> bool:
            return True

        def pop(self, _index: Any = -1) -> Any:  # noqa: ANN401 - as in a list
            if len(api.asked) > 10_000:
                raise OverError
            return super().pop(0) if len(self) else next(cycle)

    api = Api(Endless(answers))
    task = asyncio.create_task(kube.Reflector(api, Mirror(), what="things").run())
    await asyncio.sleep(minutes * 60)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return api.asked


@virtual
async def test_a_watch_that_always_ends_at_once_is_not_asked_for_all_the_time() -> None:
    """It shows nothing and does not fail: no list is needed, and no more than some requests a minute."""
    asked = await count(FIRST, cycle=itertools.repeat([]))
    assert asked.count("list") == 1
    assert 60 < len(asked) < 130


@virtual
async def test_a_watch_that_repeats_itself_is_not_asked_for_all_the_time() -> None:
    """A bookmark of the version where it began is no progress."""
    asked = await count(FIRST, cycle=itertools.repeat([line("BOOKMARK", "5")]))
    assert asked.count("list") == 1
    assert len(asked) <= 600 / 0.25


@virtual
async def test_lists_that_always_fail_are_not_asked_for_all_the_time() -> None:
    """However long the API server is away."""
    asked = await count(cycle=itertools.repeat(unavailable()))
    assert 60 < len(asked) < 130


@pytest.mark.parametrize(
    "watches",
    [[unavailable(status=410)], [[error(410)]], [unavailable()] * 3, [[PAGE]] * 3],
    ids=["410", "ERROR", "unavailable", "page"],
)
@virtual
async def test_when_only_watches_fail_there_is_no_list_all_the_time(watches: list[Any]) -> None:
    """A full list is the dearest of requests: if it leads to nothing, it is made again later and later, too."""
    asked = await count(cycle=itertools.cycle([FIRST, *watches]))
    assert asked.count("list") < 130


@virtual
async def test_who_is_ended_leaves_no_watch_open() -> None:
    """The connection is given back."""

    class Silent(Api):
        async def watch(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
            self._next(f"watch {query['resourceVersion']}")
            self.open += 1
            try:
                yield line("ADDED", "6")
                await asyncio.Event().wait()
            finally:
                self.open -= 1

    api, mirror = Silent([FIRST, []]), Mirror()
    task = asyncio.create_task(kube.Reflector(api, mirror, what="things").run())
    await asyncio.sleep(60)
    assert (api.open, mirror.told[-1]) == (1, ("reached", "6"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (api.open, task.cancelled()) == (0, True)
