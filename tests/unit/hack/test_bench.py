"""The figures of the benchmark say what was measured: medians, differences, ratios, and no more."""

import pytest

from hack.bench import figures


def _timeline(scale: float = 1, **moments: float) -> figures.Timeline:
    usual = {
        "sent": 0.0,
        "secret": 0.01,
        "job": 0.02,
        "first_event": 1.0,
        "container_ended": 2.0,
        "job_complete": 4.0,
        "verdict": 4.0,
    }
    return {name: at * scale for name, at in {**usual, **moments}.items()}


def _latency(operator: list[figures.Timeline], by_hand: list[figures.Timeline]) -> figures.Latency:
    return figures.Latency(
        first_operator=_timeline(10), first_by_hand=_timeline(20), operator=operator, by_hand=by_hand
    )


def _row(rows: list[figures.Row], words: str) -> figures.Row:
    return next(row for row in rows if row.words.strip("*") == words)


def _memory(**samples: list[int]) -> figures.Memory:
    usual = {"fresh": [1024], "idle": [2048], "one": [3072], "many": [3072], "after": [2048]}
    return figures.Memory(live=20, **{**usual, **samples})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], figures.Summary(3, 3, 3)),
        ([5.0, 1.0, 2.0], figures.Summary(2, 1, 5)),
        ([4.0, 1.0, 2.0, 100.0], figures.Summary(3, 1, 100)),
    ],
)
def test_a_summary_is_median_least_and_greatest_in_any_order(values: list[float], expected: figures.Summary) -> None:
    assert figures.summarise(values) == expected


def test_no_values_have_no_summary() -> None:
    with pytest.raises(ValueError, match="nothing to summarise"):
        figures.summarise([])


def test_every_span_ends_after_it_began_in_the_order_of_a_run() -> None:
    assert all(span.of(_timeline()) > 0 for span in figures.SPANS)


def test_a_moment_that_was_not_measured_is_an_error_and_no_zero() -> None:
    with pytest.raises(KeyError, match="verdict"):
        figures.SPANS[-1].of({"sent": 0.0})


def test_difference_and_ratio_are_those_of_the_medians() -> None:
    operator = [_timeline(verdict=at) for at in (3.0, 6.0, 90.0)]
    by_hand = [_timeline(verdict=at) for at in (4.0, 1.0, 5.0)]

    row = _row(figures.compare(_latency(operator, by_hand)), "first request sent → verdict")

    assert row.operator == figures.Summary(6, 3, 90)
    assert row.by_hand == figures.Summary(4, 1, 5)
    assert (row.difference, row.ratio) == (2, 1.5)


def test_the_warm_up_stands_apart_from_the_medians() -> None:
    row = _row(figures.compare(_latency([_timeline()], [_timeline()])), "first request sent → verdict")

    assert (row.first_operator, row.first_by_hand) == (40, 80)
    assert row.operator.high == 4


@pytest.mark.parametrize("ended", [4.0, 5.0])
def test_there_is_no_ratio_to_nothing_or_less(ended: float) -> None:
    row = _row(
        figures.compare(_latency([_timeline()], [_timeline(container_ended=ended)])),
        "container seen ended → verdict",
    )

    assert row.ratio is None
    assert "| - |" in figures.render_latency([row])


def test_the_operators_share_is_the_time_before_the_job_and_after_the_container() -> None:
    operator = [_timeline(job=0.05, container_ended=1.9, verdict=2.0)]
    by_hand = [_timeline(job=0.02)]

    share = figures.share(_latency(operator, by_hand))

    assert share.before == pytest.approx(0.03)
    assert share.after == pytest.approx(0.1)
    assert share.ratio == pytest.approx(0.065)
    assert "30 ms until the Job is there + 100 ms" in figures.render_share(share)
    assert "= 130 ms, 6.5% of 2000 ms" in figures.render_share(share)


def test_the_latency_table_has_signed_milliseconds() -> None:
    row = figures.Row(
        words="a → b",
        operator=figures.Summary(1.0004, 0.9, 1.2),
        by_hand=figures.Summary(1.25, 1.0, 2.0),
        difference=-0.2496,
        ratio=0.80032,
        first_operator=3.0,
        first_by_hand=4.0,
    )

    lines = figures.render_latency([row]).splitlines()

    assert lines[2] == "| a → b | 1000 (900 to 1200) | 1250 (1000 to 2000) | -250 | 0.80 | 3000 | 4000 |"
    assert len({line.count("|") for line in lines}) == 1


def test_each_further_run_costs_the_difference_of_the_medians_over_nineteen() -> None:
    memory = _memory(one=[1000, 9000, 2000], many=[21000, 0, 99000])

    assert memory.per_run == 1000
    assert "**1000 KB**" in figures.render_memory(memory)


def test_the_memory_table_has_a_line_for_each_situation_and_the_true_number_of_runs() -> None:
    lines = figures.render_memory(_memory(many=[1536, 2048, 1024])).splitlines()

    assert "| 20 live runs | 1.5 (1.0 to 2.0) |" in lines
    assert len(lines) == 2 + 5 + 1
