"""The bench's report: what the tables say, and that every plot is drawn from the figures that its part brings."""

import pathlib
from typing import Any

import pytest

from hack.bench import home, live, parse, plots, report, rows, soak

MACHINE = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": ["python", "-m", "hack.bench", "parse"],
    "cores": 2,
    "processor": "Some CPU",
    "memory": "24 GB",
    "kernel": "6.1",
    "commit": "0123456789abcdef",
    "uncommittedFiles": 0,
    "versions": {"python": "3.11"},
}
SUMMARY = {"count": 10, "min": 0.1, "p50": 0.5, "p90": 0.9, "p99": 1.2, "max": 1.5}
PNG = b"\x89PNG\r\n"


def part(**given: Any) -> dict[str, Any]:
    """One part as it stands in the report."""
    return {"rows": [], "raw": {}, "machine": MACHINE, **given}


def document(**parts: dict[str, Any]) -> dict[str, Any]:
    """A report with these parts."""
    return {"machine": MACHINE, "parts": parts}


def live_raw() -> dict[str, Any]:
    """What the part ``live`` brings, small."""
    names = (live.IDLE, live.FEW, live.SILENT, live.WRITING)
    situations = [
        {
            "name": name,
            "runs": runs,
            "began": 10.0 * place,
            "ended": 10.0 * place + 8,
            "cpuPercent": [5.0 + place] * 6,
            "rssKB": 70_000 + 50 * runs,
            "pssKB": 60_000,
            "statusWritesPerSecond": float(place),
            "machineBusyPercent": 40.0,
        }
        for place, (name, runs) in enumerate(zip(names, (0, 10, 100, 100), strict=True))
    ]
    late = {"milliseconds": {**SUMMARY, "p50": 120.0, "p99": 260.0}, "missing": 0, "distribution": [1.0, 120.0, 260.0]}
    return {
        "runs": 100,
        "few": 10,
        "situations": situations,
        "samples": [{"at": place / 2, "cpu": place / 20, "rss": 70_000} for place in range(80)],
        "delays": dict.fromkeys((live.OPERATOR, live.ALONE, live.BASELINE), late),
    }


def parse_raw() -> dict[str, Any]:
    """What the part ``parse`` brings."""
    names = (parse.EACH, parse.ONE, parse.JSON, parse.UNTYPED, parse.TYPED)
    rates = {name: [400.0 + 10 * place] * 5 for place, name in enumerate(names)}
    memory = {name: [20_000, 20_100, 20_050] for name in (parse.EACH, parse.ONE)}
    return {"bytes": 10**9, "rounds": 5, "megabytesPerSecond": rates, "rssKB": memory}


def soak_raw(**given: Any) -> dict[str, Any]:
    """What the part ``soak`` brings: two minutes at 10 runs/s, nothing grows."""
    samples = [
        {
            "at": 10.0 * number,
            "cpu": float(number),
            "rss": 100_000 + number % 2 * 50,
            "threads": 7,
            "files": 40 + number % 3,
            "connections": 9,
            "watches": 60,
            "created": 100 * number,
            "ended": 100 * number,
            "agentruns": 150,
            "pods": 80,
        }
        for number in range(1, 13)
    ]
    return {
        "seconds": 120,
        "rate": 10.0,
        "byHand": 15.0,
        "phases": {"Succeeded": 1200},
        "heldBackSeconds": 0.0,
        "filesLeft": 0,
        "samples": samples,
        **given,
    }


def home_raw(**given: Any) -> dict[str, Any]:
    """What the part ``home`` brings."""
    way = {
        "phases": {"Succeeded": 720},
        "wrongOrder": 0,
        "jobsAtOnce": 1,
        "podsAtOnce": 1,
        "allSeconds": 20.0,
        "agentSeconds": SUMMARY,
        "pauseSeconds": SUMMARY,
        "live": [[0.0, 0], [1.0, 144], [20.0, 0]],
    }
    ways = {"operator": {**way, **given}, "by hand": way}
    cost = {"cpuSeconds": 5.0, "seconds": 20.0, "rssKB": 90_000}
    return {"companies": 12, "agents": 144, "queue": 5, "lifeSeconds": 2, "operator": cost, "ways": ways}


RAW: dict[str, dict[str, Any]] = {
    "burst": {
        "runs": 100,
        "rawLoop": [{"seconds": 1.0, "toJob": SUMMARY}],
        "operator": [{"toJob": SUMMARY, "toStart": SUMMARY}],
    },
    "one": {
        "shown": ["ours", "started", "by hand", "floor"],
        "all": {"ours": [0.01, 0.02], "started": [0.02, 0.03], "by hand": [0.01], "floor": [0.005], "sent": [0.1]},
    },
    "live": live_raw(),
    "parse": parse_raw(),
    "growth": {"samples": [{"runs": runs, "ms": 10.0, "raw": 1.0, "kb": 50.0} for runs in (144, 720)]},
    "soak": soak_raw(),
    "home": home_raw(),
}


def test_a_row_becomes_a_line_of_the_table() -> None:
    row = rows.row("a | b", ours=12.345, baseline=4.0, unit="ms", target="<= 20 ms", met=True, note="10 runs")
    text = report.render_markdown(document(one=part(rows=[row])))
    assert "| a \\| b | 12.3 | 4 | 3.09 | ms | <= 20 ms | met | 10 runs |" in text
    assert "**1 of 1 targets are met.**" in text
    assert "Missed" not in text


def test_a_missed_target_is_named_at_the_top_and_in_the_table() -> None:
    row = rows.row("memory", ours=1234.6, unit="MB", target="<= 180 MB", met=False)
    text = report.render_markdown(document(live=part(rows=[row])))
    assert "- live: memory: 1,235 MB, <= 180 MB" in text
    assert "| memory | 1,235 |  |  | MB | <= 180 MB | **missed** |  |" in text


def test_a_part_that_failed_says_why() -> None:
    text = report.render_markdown(document(soak=part(failed="the operator has ended")))
    assert "Not measured: soak." in text
    assert "Not measured: the operator has ended" in text


def test_the_machine_and_the_command_are_told_once_when_they_are_the_same() -> None:
    text = report.render_markdown(document(one=part(), home=part()))
    assert text.count("by `python -m hack.bench parse`") == 1
    assert "2 cores (Some CPU), 24 GB, Linux 6.1; python 3.11." in text


def test_parts_that_were_measured_at_different_times_each_tell_it() -> None:
    later = part(machine={**MACHINE, "date": "2026-02-03T00:00:00+00:00", "uncommittedFiles": 1})
    text = report.render_markdown(document(one=part(), home=later))
    assert "2026-02-03T00:00:00+00:00 at commit 0123456789ab with 1 uncommitted file by" in text
    assert text.count("Measured 2026-01-02") == 1


def test_a_report_without_any_part_is_a_report() -> None:
    assert report.render_markdown(document()).startswith("# Benchmarks\n")


@pytest.mark.parametrize("plot", plots.PLOTS, ids=lambda plot: plot.file)
def test_each_plot_is_drawn_and_linked(plot: plots.Plot, tmp_path: pathlib.Path) -> None:
    content = document(**{plot.part: part(raw=RAW[plot.part])})
    drawn = report.draw(content, tmp_path)
    assert tmp_path / plot.file in drawn
    assert all(file.read_bytes().startswith(PNG) for file in drawn)
    assert f"]({plot.file})" in report.render_markdown(content)


def test_what_is_not_there_is_not_drawn(tmp_path: pathlib.Path) -> None:
    content = document(live=part(raw={"runs": 3}), cold=part(), burst=part(failed="no cluster"))
    assert report.draw(content, tmp_path) == []
    assert "](" not in report.render_markdown(content)


def test_a_curve_of_few_percentiles_begins_with_the_first_and_ends_with_all() -> None:
    assert plots.from_summary(SUMMARY, 200) == ([0.1, 0.5, 0.9, 1.2, 1.5], [1.0, 100.0, 180.0, 198.0, 200.0])


# ------------------------------------------------------------------------------------------- rows of the parts


def verdicts(found: list[dict[str, Any]]) -> list[bool | None]:
    """Of each row whether its target is met."""
    return [row["met"] for row in found]


def test_parsing_is_judged_by_its_rate_and_by_its_memory() -> None:
    assert verdicts(parse.build_rows(parse_raw())) == [True, True, None, None, True, True]
    slow = parse_raw()
    slow["megabytesPerSecond"][parse.EACH] = [399.0] * 5
    slow["rssKB"][parse.ONE] = [20_000, 21_500, 20_000]  # what was given back was needed all the same
    assert verdicts(parse.build_rows(slow)) == [False, True, None, None, True, False]


def test_a_further_run_costs_the_difference_of_two_situations() -> None:
    by_words = {row["what"]: row for row in live.build_rows(live_raw())}
    row = by_words["RSS for each further run, from 10 to 100, growing over silent"]
    assert row["ours"] == pytest.approx(50 * 1.024)
    assert row["met"] is True


def test_a_line_that_was_never_counted_misses_the_target() -> None:
    raw = live_raw()
    raw["delays"][live.OPERATOR] = {**raw["delays"][live.OPERATOR], "missing": 1}
    missed = [row["what"] for row in live.build_rows(raw) if row["met"] is False]
    assert [what.split(", ")[0] for what in missed] == ["line written → counted in the operator"] * 2


def test_a_soak_in_which_nothing_grows_is_passed() -> None:
    assert verdicts(soak.build_rows(soak_raw())) == [*[True] * 6, None]


def test_a_soak_tells_what_grows_and_what_it_did_not_reach() -> None:
    raw = soak_raw(phases={"Succeeded": 1199, "Failed": 1})
    for number, sample in enumerate(raw["samples"]):
        sample["threads"] = 7 + number
    assert verdicts(soak.build_rows(raw)) == [False, True, False, True, True, True, None]


def test_what_comes_after_the_last_creation_is_no_part_of_a_trend() -> None:
    raw = soak_raw()
    raw["samples"].append({**raw["samples"][-1], "at": 200.0, "rss": 900_000, "after": True})
    assert verdicts(soak.build_rows(raw)) == [*[True] * 6, None]


def test_a_home_in_order_is_passed() -> None:
    assert [met for met in verdicts(home.build_rows(home_raw())) if met is not None] == [True, True, False]
    fair = home_raw(agentSeconds={**SUMMARY, "max": 0.7})
    assert [met for met in verdicts(home.build_rows(fair)) if met is not None] == [True, True, True]


def test_a_home_out_of_order_or_with_two_at_once_is_not() -> None:
    bad = home_raw(wrongOrder=1, podsAtOnce=2, agentSeconds={**SUMMARY, "max": 0.7})
    assert [met for met in verdicts(home.build_rows(bad)) if met is not None] == [False, False, True]
