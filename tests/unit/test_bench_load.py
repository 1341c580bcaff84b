"""The bench's own tools: many things at once, things that were seen, Jobs as seen, stages as text, the command line."""

import asyncio
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from agentrun_operator import names
from hack.bench import __main__ as bench
from hack.bench import load, sight, stages, watch


async def test_no_more_than_so_many_are_under_way_and_each_is_done_once() -> None:
    done: list[int] = []
    now = most = 0

    async def work(item: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        done.append(item)

    await load.each(range(100), work, in_flight=7)
    assert sorted(done) == list(range(100))
    assert most == 7


async def test_the_first_error_ends_all() -> None:
    async def work(item: int) -> None:
        await asyncio.sleep(0)
        if item == 5:
            raise watch.BenchError("five")

    with pytest.raises(watch.BenchError, match="five"):
        await load.each(range(1000), work, in_flight=3)


async def test_what_was_seen_first_counts_and_waiting_ends_with_the_last() -> None:
    seen = sight.Sightings()
    seen.see("a", 1.0)
    seen.see("a", 2.0)
    waiting = asyncio.create_task(seen.wait(["a", "b", "c"], seconds=5, what="letters"))
    await asyncio.sleep(0)
    seen.see("b", 3.0)
    await asyncio.sleep(0)
    assert not waiting.done()
    seen.see("c", 4.0)
    assert await waiting == {"a": 1.0, "b": 3.0, "c": 4.0}


async def test_who_waits_in_vain_learns_for_what() -> None:
    seen = sight.Sightings()
    seen.see("a", 1.0)
    with pytest.raises(watch.BenchError, match="letters; 1 of 2 were not seen"):
        await seen.wait(["a", "b"], seconds=0.01, what="letters")


async def test_a_broken_watch_ends_the_waiting_now_and_later() -> None:
    seen = sight.Sightings()
    waiting = asyncio.create_task(seen.wait(["a"], seconds=5, what="a letter"))
    await asyncio.sleep(0)
    seen.fail(watch.BenchError("it broke"))
    for attempt in (waiting, seen.wait(["b"], seconds=5, what="a letter")):
        with pytest.raises(watch.BenchError, match="it broke"):
            await attempt


@pytest.mark.parametrize(("suspend", "expected"), [(True, ("created r1",)), (False, ("created r1", "started r1"))])
def test_a_job_that_is_held_was_created_and_not_started(suspend: bool, expected: tuple[str, ...]) -> None:  # noqa: FBT001 - a parameter
    metadata = sight.Metadata(name="ac-1", annotations={names.ANNOTATION_RUN: "r1"})
    event = sight.Event(0.0, "ADDED", sight.Job(metadata=metadata, spec=sight.JobSpec(suspend=suspend)))
    assert sight.job_keys(event) == expected


def test_the_stages_are_yaml_that_says_the_same() -> None:
    assert list(yaml.safe_load_all(stages.render())) == stages.build_stages()


def test_an_agent_ends_only_when_its_annotation_says_so() -> None:
    [ends] = [stage for stage in stages.build_stages() if stage["metadata"]["name"] == "agent-ends"]
    matches: list[dict[str, Any]] = ends["spec"]["selector"]["matchExpressions"]
    assert {"key": f'.metadata.annotations["{stages.EXIT_AFTER}"]', "operator": "Exists"} in matches
    assert stages.EXIT_CODE in ends["spec"]["next"]["statusTemplate"]


def test_stages_are_not_written_anew_if_they_are_there(tmp_path: pathlib.Path) -> None:
    file = stages.write(tmp_path / "a" / "stages.yaml")
    before = file.stat().st_mtime_ns
    assert stages.write(file).stat().st_mtime_ns == before


def test_a_part_measured_alone_keeps_the_others_in_the_report(tmp_path: pathlib.Path) -> None:
    row = {"what": "w", "ours": 1.0, "baseline": None, "ratio": None, "unit": "s", "target": "", "met": None}
    bench.Report(tmp_path).add("one", {"rows": [row], "raw": {"x": 1}})
    bench.Report(tmp_path).add("burst", {"rows": [], "raw": {}})
    bench.Report(tmp_path).add("one", {"rows": [], "raw": {"x": 2}})
    content = json.loads((tmp_path / "report.json").read_text())
    assert list(content["parts"]) == ["burst", "one"]
    assert content["parts"]["one"]["raw"] == {"x": 2}
    assert content["parts"]["burst"]["machine"]["cores"]


def test_parts_are_named_and_numbers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "growth", "--sizes", "10,20", "--set", "rounds=3"])
    given = bench.parse_arguments()
    assert (given["parts"], given["sizes"], given["rounds"], given["runs"]) == (["growth"], (10, 20), 3, None)


@pytest.mark.parametrize(
    ("arguments", "left_out", "brief"),
    [([], {"live", "growth", "soak"}, True), (["--full"], set(), False), (["soak"], {*bench.PARTS} - {"soak"}, False)],
)
def test_without_a_name_the_parts_that_take_long_are_left_out(
    arguments: list[str],
    left_out: set[str],
    brief: bool,  # noqa: FBT001 - a row
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    given = bench.parse_arguments()
    assert (set(bench.PARTS) - set(given["parts"]), given["brief"]) == (left_out, brief)


@pytest.mark.parametrize(("given", "runs"), [({}, 144), ({"runs": 7}, 7), ({"brief": False}, None)])
def test_a_brief_part_has_fewer_runs_unless_told_how_many(
    given: dict[str, Any], runs: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Mapping[str, Any]] = []

    def measure(_place: object, options: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(options)
        return {"rows": [], "raw": {}}

    monkeypatch.setattr("hack.bench.burst.measure", measure)
    bench._measure("burst", None, {"brief": True, "runs": None, **given})  # noqa: SLF001 - what main does for each part
    assert asked[0]["runs"] == runs


@pytest.mark.parametrize("arguments", [["nonsense"], ["one", "--set", "x=y"]])
def test_what_is_not_known_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit):
        bench.parse_arguments()
