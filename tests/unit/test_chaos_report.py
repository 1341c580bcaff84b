"""The chaos suite's schedule and report, and the nursery's watch over operators that do not end."""

import collections
import pathlib
import random
import time

import pytest

from tests.chaos import catalogue, history, invariants, nodefaults, nursery, report
from tests.chaos.outcome import Hit, Outcome, combine


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
