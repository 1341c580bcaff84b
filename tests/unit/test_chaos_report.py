"""The chaos suite's schedule, verdict and report, and its watch over operators and components."""

import asyncio
import collections
import pathlib
import random
import time
from typing import Any

import pytest

from hack.cluster import errors
from tests.chaos import catalogue, history, invariants, nodefaults, nursery, report, upkeep
from tests.chaos.outcome import Hit, Outcome, combine
from tests.chaos.scene import Cluster


def outcome(**given: object) -> Outcome:
    """A small one that held."""
    hits = [Hit(at=1.0, kind="pod deleted", what="a"), Hit(at=2.0, kind="SIGKILL at job-held", what="b")]
    body = {"metadata": {"uid": "u", "name": "r1"}, "status": {"phase": "Running"}}
    event = history.Event(at=0.5, seq=0, version=1, kind="agentruns", type="ADDED", object=body)
    checks = collections.Counter({"forward only": 3, "no agent twice": 0})
    fields = {"hits": hits, "checks": checks, "events": [event], "runs": 1, "seconds": 3.0, **given}
    return Outcome(seed=7, wanted=2, **fields)  # type: ignore[arg-type]  # as a table


def test_each_kind_of_fault_comes_once_if_there_is_room() -> None:
    kinds = catalogue.everything()
    drawn = catalogue.plan(200, random.Random(1), kinds)
    assert len(drawn) == 200
    assert set(drawn) == set(kinds)
    assert drawn == catalogue.plan(200, random.Random(1), kinds)


def test_names_of_faults_are_unique() -> None:
    names = [kind.name for kind in (*catalogue.everything(), *nodefaults.everything())]
    assert len(names) == len(set(names))


def test_parts_are_added_up() -> None:
    both = combine([outcome(), outcome(complaints=["late"], seconds=9.0)], seed=7, wanted=4)
    assert (len(both.hits), both.checks["forward only"], both.runs, both.seconds, both.scenes) == (4, 6, 2, 9.0, 2)
    assert "no agent twice" in both.checks
    assert not both.held


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "every invariant held"),
        ({"complaints": ["it was cut short"]}, "not complete"),
        ({"violations": [invariants.Violation(invariant="x", sentence="y", at=1.0, seq=1, run="")]}, "BROKEN"),
    ],
)
def test_the_report_says_how_it_ended(tmp_path: pathlib.Path, given: dict[str, object], word: str) -> None:
    report.write(outcome(left_out=["The real node: it needs root."], twins=1, **given), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.startswith(f"# Chaos: {word}\n")
    for line in ("| pod deleted | 1 |", "- The real node: it needs root.", "FAULTS=2"):
        assert line in text
    assert (tmp_path / "timeline.svg").read_text().count("<svg") == 1


def test_a_deleted_run_has_ended() -> None:
    [event] = outcome().events
    gone = history.Event(at=1.0, seq=1, version=2, kind="agentruns", type="DELETED", object=event.object)
    _, counts = report.phases([event, gone])
    assert counts == {"running": [1, 0], "waiting": [0, 0], "ended": [0, 1]}


def test_an_operator_that_does_not_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = nursery.Shared()
    assert shared.ends_for == 0
    shared.ending()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + nursery.END_SECONDS + 2)
    shared.ending()
    assert shared.ends_for > nursery.END_SECONDS
    shared.close()


async def test_a_component_that_ended_by_itself_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it stays; and not while somebody keeps it down on purpose."""
    up, tries = {"etcd"}, 0

    def start(_name: str, part: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise errors.NotReady(part, reason="it ended", log="", tail="")
        up.add(part)

    monkeypatch.setattr(upkeep, "_EVERY_SECONDS", 0.001)
    monkeypatch.setattr("hack.cluster.component.running", lambda _layout, part: part if part in up else None)
    monkeypatch.setattr("hack.cluster.start", start)
    place = Cluster(name="x")
    async with place.lock:
        task = asyncio.create_task(upkeep.keep_up(place, ("etcd", "kube-controller-manager")))
        await asyncio.sleep(0.02)
        assert tries == 0
    async with asyncio.timeout(5):
        while "kube-controller-manager" not in up:  # noqa: ASYNC110 - what is tested knows of no event
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert tries == 2


def test_what_is_left_is_told_with_its_run() -> None:
    """Also of a pod whose Job is gone, and the cause comes behind what waits for it."""
    run = {"metadata": {"uid": "u", "name": "r1"}, "status": {"phase": "Queued", "message": "Waiting."}}
    meta = {
        "name": "r0-x",
        "labels": {"batch.kubernetes.io/controller-uid": "j"},
        "deletionTimestamp": "2026-11-22T10:00:00Z",
        "finalizers": ["batch.kubernetes.io/job-tracking"],
        "ownerReferences": [{"kind": "Job", "name": "r0"}],
    }
    at_work = {"metadata": meta, "status": {"phase": "Running"}}
    ended: dict[str, Any] = {"metadata": {}, "status": {"phase": "Failed"}}
    pods = {"p": at_work, "q": ended}
    seen: dict[str, dict[str, Any]] = {"agentruns": {"u": run}, "jobs": {}, "secrets": {}, "pods": pods}
    left = invariants.left_over(seen, {"j": "u0"})
    assert [(one.run, one.sentence) for one in left] == [
        ("u", "run r1 has not ended: Queued, Waiting."),
        (
            "u0",
            "pod r0-x is Running, being deleted since 2026-11-22T10:00:00Z "
            "(finalizers batch.kubernetes.io/job-tracking, owners Job r0)",
        ),
    ]
