"""Counting requests in an audit log: whose they are, what counts once, and what is a read."""

import datetime
import json
import pathlib
from typing import Any

import pytest

from hack.bench import requests

_NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def _line(verb: str = "create", resource: str = "jobs", **changes: Any) -> bytes:
    entry: dict[str, Any] = {
        "kind": "Event",
        "stage": "ResponseComplete",
        "requestURI": "/apis/batch/v1/namespaces/x/jobs",
        "verb": verb,
        "user": {"username": requests.USER, "groups": ["system:serviceaccounts"]},
        "objectRef": {"resource": resource, "namespace": "x", "apiGroup": "batch"},
        "requestReceivedTimestamp": "2026-11-21T12:00:00.123456Z",
        **changes,
    }
    return json.dumps(entry).encode() + b"\n"


def test_a_line_says_when_and_what() -> None:
    request = requests.parse_line(_line())
    assert request is not None
    assert (request.verb, request.what, request.is_read) == ("create", "jobs", False)
    assert request.at == _NOON.replace(microsecond=123456)


def test_a_subresource_is_a_kind_of_its_own() -> None:
    line = _line("patch", objectRef={"resource": "agentruns", "subresource": "status"})
    assert getattr(requests.parse_line(line), "what", "") == "agentruns/status"


def test_a_request_for_no_object_counts_too() -> None:
    line = json.loads(_line("get"))
    del line["objectRef"]
    request = requests.parse_line(json.dumps(line).encode())
    assert request is not None
    assert (request.what, request.is_read) == ("(no resource)", True)


@pytest.mark.parametrize(
    "line",
    [
        _line(user={"username": "agentrun-admin"}),
        _line(stage="ResponseStarted"),
        _line("watch"),  # told when it began; this is its end
        _line(stage="Panic"),
    ],
)
def test_what_is_another_users_or_was_told_before_does_not_count(line: bytes) -> None:
    assert requests.parse_line(line) is None


def test_a_watch_counts_when_it_begins() -> None:
    request = requests.parse_line(_line("watch", stage="ResponseStarted"))
    assert request is not None
    assert request.is_read


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"verb": "get"}'])
def test_what_is_no_audit_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="no line of an audit log"):
        requests.parse_line(line)


def test_only_requests_of_the_window_are_read(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "audit.log"
    times = ["2026-11-21T11:59:59.999999Z", "2026-11-21T12:00:00.000000Z", "2026-11-21T12:00:10.000000Z"]
    log.write_bytes(
        b"".join(_line(requestReceivedTimestamp=time) for time in times) + b'{"user": {"username": "other"}}\n'
    )
    found = requests.read(log, since=_NOON, until=_NOON + datetime.timedelta(seconds=10))
    assert [request.at for request in found] == [_NOON]


def _request(verb: str, what: str) -> requests.Request:
    return requests.Request(at=_NOON, verb=verb, what=what)


def test_a_tally_is_for_each_run_and_begins_with_the_most_frequent() -> None:
    made = [_request("create", "secrets")] * 2 + [_request("patch", "agentruns/status")] * 6
    assert list(requests.tally(made, 2).items()) == [("patch agentruns/status", 3), ("create secrets", 1)]


def _group(made: list[requests.Request], quiet: list[requests.Request], *, seconds: float) -> requests.Group:
    return requests.Group(runs=2, seconds=seconds, requests=made, quiet=quiet, window=20)


def test_writes_and_polling_are_judged_and_events_are_shown_apart() -> None:
    made = [_request("create", "jobs")] * 18 + [_request("list", "jobs")] * 4 + [_request("create", "events")] * 2
    progress = [_request("patch", "agentruns/status")] * 4
    table = requests.build_rows(_group(made, [], seconds=2), _group(made + progress, progress, seconds=30))
    assert [row["met"] for row in table if row["target"]] == [False, True]
    assert [row["ours"] for row in table] == [10, 1, 12, 6, 0, 2]
    table = requests.build_rows(_group(progress, [], seconds=2), _group(made, made, seconds=30))
    assert [row["met"] for row in table if row["target"]] == [True, False]
