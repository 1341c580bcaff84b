"""The arithmetic of the bench, and what its rows say of what was measured."""

import math

import pytest

from hack.bench import burst, growth, latency, load, restart, rows


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 1, 7.0),
        ([7.0], 100, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 1.0, 2.0, 3.0], 50, 2.0),
        ([float(number) for number in range(1, 101)], 99, 99.0),
        ([float(number) for number in range(1, 101)], 99.5, 100.0),
        ([float(number) for number in range(1, 1441)], 99, 1426.0),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert rows.percentile(values, percent) == expected


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_of_nothing_or_of_no_rank_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        rows.percentile(values, percent)


def test_a_summary_counts_its_samples() -> None:
    assert rows.summary([2.0, 1.0]) == {"count": 2, "p50": 1.0, "p90": 2.0, "p99": 2.0, "min": 1.0, "max": 2.0}


def test_flatness_is_the_share_by_which_the_greatest_exceeds_the_least() -> None:
    assert rows.flatness([10.0, 12.0, 11.0]) == pytest.approx(0.2)
    assert rows.flatness([5.0]) == 0
    for values in ([], [0.0, 1.0]):
        with pytest.raises(ValueError, match="positive"):
            rows.flatness(values)


def test_a_row_has_no_ratio_without_a_baseline() -> None:
    assert rows.row("a", ours=3, unit="s", baseline=2)["ratio"] == 1.5
    assert rows.row("a", ours=3, unit="s")["ratio"] is None
    assert rows.row("a", ours=3, unit="s", baseline=0)["ratio"] is None


def test_an_option_that_was_not_given_leaves_the_choice_to_the_part() -> None:
    assert rows.option({"runs": None}, "runs", 5) == 5
    assert rows.option({}, "runs", 5) == 5
    assert rows.option({"runs": 0}, "runs", 5) == 0


def _sample(created: float) -> burst.Sample:
    return burst.Sample(
        created=created, started=created * 2, running=created * 3, to_job=[created / 2, created], to_start=[created * 2]
    )


@pytest.mark.parametrize(("created", "met"), [(2.6, True), (2.7, False)])
def test_a_burst_is_judged_by_the_rate_of_the_raw_loop(created: float, met: bool) -> None:  # noqa: FBT001 - a parameter
    raw = load.RawRun(seconds=2.0, jobs={}, in_flight=64, running=6.0)
    table = burst.build_rows(100, [raw], [_sample(created)], [raw])
    assert (table[0]["met"], table[0]["baseline"]) == (met, 50)
    assert table[0]["ratio"] == pytest.approx(2.0 / created)
    assert table[3]["ratio"] == pytest.approx(2.0 / created)
    assert (table[4]["ours"], table[4]["met"]) == (created, True)


def test_a_burst_is_judged_by_medians() -> None:
    raw = [load.RawRun(seconds=seconds, jobs={}, in_flight=64, running=seconds) for seconds in (2.0, 2.0, 90.0)]
    table = burst.build_rows(100, raw, [_sample(2.0), _sample(2.5), _sample(80.0)], raw)
    assert table[0]["ratio"] == pytest.approx(0.8)


def _size(runs: int, *, each_ms: float, each_kb: float) -> growth.Size:
    before = 100_000
    seconds = runs * each_ms / 1000
    after = before + round(runs * each_kb)
    return growth.Size(runs=runs, started=seconds, live=seconds, raw=seconds / 2, before=before, after=after, cpu=1)


def test_growth_is_flat_when_a_run_costs_the_same_at_every_size() -> None:
    table = growth.build_rows([_size(100, each_ms=10, each_kb=50), _size(1000, each_ms=11, each_kb=70)])
    times, memory = table[-3:-1]
    assert (times["ours"], times["met"]) == (pytest.approx(1.1), True)
    assert (memory["ours"], memory["met"]) == (pytest.approx(1.4), False)


def test_growth_without_any_growth_of_memory_is_no_target_met() -> None:
    table = growth.build_rows([_size(100, each_ms=10, each_kb=0), _size(1000, each_ms=10, each_kb=70)])
    assert math.isnan(table[-2]["ours"])
    assert table[-2]["met"] is False


def test_what_comes_with_the_first_runs_is_no_growth() -> None:
    found = [_size(runs, each_ms=10, each_kb=50 + 10_000 / runs) for runs in (100, 1000, 5000)]
    average, further = growth.build_rows(found)[-2:]
    assert (average["met"], further["met"]) == (False, True)
    assert further["ours"] == pytest.approx(1)


def test_the_first_run_is_judged_by_what_comes_beyond_the_plain_watch() -> None:
    samples = [{"plain": 0.9, "job": 1.0, "started": 1.1}, {"plain": 0.1, "job": 0.4, "started": 0.5}]
    table = latency.build_cold_rows([*samples, {"plain": 0.5, "job": 0.65, "started": 0.7}])
    assert (table[0]["ours"], table[0]["met"]) == (pytest.approx(150), True)


def test_one_slow_run_of_a_hundred_does_not_decide_the_p99() -> None:
    took = {name: [0.020] * 100 for name in (latency.STARTED, latency.BY_HAND, latency.FLOOR)}
    took |= {name + latency.SENT: [0.030] * 100 for name in (latency.OURS, latency.FLOOR)}
    table = latency.build_one_rows({**took, latency.OURS: [0.010] * 99 + [9.0]})
    assert [row["met"] for row in table if row["target"]] == [True, True]
    table = latency.build_one_rows({**took, latency.OURS: [0.010] * 98 + [9.0] * 2})
    assert [row["met"] for row in table if row["target"]] == [True, False]


def _restart(followed: list[float], *, jobs: int = 0, failed: int = 0) -> restart.Sample:
    return restart.Sample(
        followed=followed,
        beat=followed,
        up=1,
        plain=2,
        quiet=[0.002],
        meanwhile=[0.02, 0.5],
        failed=failed,
        jobs=jobs,
        pods=0,
    )


def test_a_restart_is_judged_by_its_slowest_run_and_every_job_counts() -> None:
    verdicts = [row["met"] for row in restart.build_rows(2, [_restart([1, 14])]) if row["target"]]
    assert verdicts == [True, True, True]
    verdicts = [
        row["met"]
        for row in restart.build_rows(2, [_restart([1, 14]), _restart([16], jobs=1, failed=1)])
        if row["target"]
    ]
    assert verdicts == [False, False, False]
