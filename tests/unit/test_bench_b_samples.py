"""The pure parts of live, soak and home: whose line is written when, how late it was counted, what grows, who waits."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from hack import playground
from hack.bench import gapless, home, parse, sampling, sight, tailing, transcripts, writer
from hack.bench.watch import BenchError

# ----------------------------------------------------------------------------------------------------- transcripts


def test_successful_runs_end_with_their_only_result() -> None:
    assert len(transcripts.successes()) >= 10
    for text in transcripts.successes():
        assert text.count(b'"type":"result"') == 1
        assert b'"type":"result"' in text.splitlines()[-1]


def test_the_lines_of_a_live_run_neither_begin_nor_end_one() -> None:
    assert b'"init"' in transcripts.opening()
    for line in transcripts.middle():
        assert line.endswith(b"\n")
        assert b'"type":"result"' not in line
        assert b'"subtype":"init"' not in line


# ------------------------------------------------------------------------------------------------------------ parse


def test_every_way_reads_at_least_what_was_asked_for() -> None:
    size = 3 * parse.CHUNK_BYTES + 5
    for way in parse.build_ways(transcripts.load()).values():
        assert way(size) >= size
        assert way(size) >= size  # also when it goes on


def test_parsing_is_measured_in_a_process_of_its_own() -> None:
    found = parse.measure(None, {"bytes": 2_000_000, "repeat": 2})
    assert found["part"] == "parse"
    assert {len(rates) for rates in found["raw"]["megabytesPerSecond"].values()} == {2}


# ----------------------------------------------------------------------------------------------------------- writer


@pytest.mark.parametrize(("count", "slots"), [(1440, 100), (7, 100), (144, 100), (1, 1)])
def test_each_log_gets_one_line_in_each_turn(count: int, slots: int) -> None:
    spread = writer.spread(count, slots)
    assert len(spread) == slots
    assert [number for slot in spread for number in slot] == list(range(count))
    assert max(map(len, spread)) - min(map(len, spread)) <= 1


def test_a_sample_is_spread_over_all() -> None:
    assert writer.pick(1440, 3) == [0, 480, 960]
    assert writer.pick(2, 100) == [0, 1]


def test_a_delay_ends_with_the_first_look_that_has_the_line() -> None:
    journal = {"a": [(10, 1.0), (20, 2.0), (30, 3.0)], "b": [(5, 1.5)]}
    seen = {"a": [(0, 0.5), (10, 1.2), (30, 3.5)]}
    late = writer.delays(journal, seen, begin=0.9, end=4.0)
    assert list(late.written) == [1.0, 2.0, 3.0]
    assert list(late.seconds) == pytest.approx([0.2, 1.5, 0.5])
    assert late.missing == 1  # nobody has ever seen b


def test_only_lines_of_the_window_count() -> None:
    journal = {"a": [(10, 1.0), (20, 2.0), (30, 3.0)]}
    late = writer.delays(journal, {"a": [(20, 2.1)]}, begin=2.0, end=3.0)
    assert (list(late.written), late.missing) == ([2.0], 0)


def wait_for(file: pathlib.Path, *, seconds: float = 20) -> None:
    """Wait until a file is there and not empty."""
    end = time.monotonic() + seconds
    while not file.exists() or not file.stat().st_size:
        assert time.monotonic() < end, f"{file} stays empty"
        time.sleep(0.02)


def test_what_the_writer_writes_is_counted_by_a_tailer(tmp_path: pathlib.Path) -> None:
    logs = [tmp_path / "logs" / f"{number}.pod.ndjson" for number in range(3)]
    order = writer.Order(logs=logs, every=0.1, journal=tmp_path / "journal", sample=2)
    writing = writer.start(order, tmp_path)
    try:
        wait_for(logs[2])
        seen = tmp_path / "alone.seen"
        looking = tailing.start("alone", logs, seen, sample=2)
        wait_for(seen.with_suffix(".log"))
        begin = time.monotonic()
        time.sleep(0.5)
        end = time.monotonic()
        time.sleep(3)  # an idle tail looks once a second
        looking.stop()
    finally:
        writing.stop()
    said = writer.read_end(tmp_path)
    assert said["bytes"] == sum(log.stat().st_size for log in logs)
    late = writer.delays(writer.read_journal(tmp_path / "journal"), writer.read_journal(seen), begin=begin, end=end)
    assert late.missing == 0
    assert min(late.seconds) >= 0


def test_a_writer_that_failed_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "writer.log").write_text("Traceback: too many open files\n")
    with pytest.raises(playground.PlaygroundError, match="too many open files"):
        writer.read_end(tmp_path)


def test_the_writer_wants_a_log(tmp_path: pathlib.Path) -> None:
    (tmp_path / "paths").write_text("")
    command = [sys.executable, "-m", "hack.bench.writer", "--paths", str(tmp_path / "paths")]
    done = subprocess.run(command, cwd=playground.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "must name a log" in done.stderr


# --------------------------------------------------------------------------------------------------------- sampling


def test_a_process_is_sampled_until_it_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    recorder = sampling.Recorder(child.pid, every=0.05)
    recorder.start()
    time.sleep(1)
    child.send_signal(signal.SIGKILL)
    child.wait()
    recorder.join(5)
    assert not recorder.is_alive()
    first, last = recorder.samples[0], recorder.samples[-1]
    assert last.cpu > first.cpu
    assert last.rss > 1000
    assert last.threads == 1


def test_this_process_is_seen_as_it_is() -> None:
    seen = sampling.look(os.getpid())
    assert seen.threads == threading.active_count() or seen.threads >= 1
    assert seen.files >= 3
    assert 0 < sampling.pss(os.getpid()) <= seen.rss * 1.1
    busy, all_ticks = sampling.machine_ticks()
    assert 0 < busy < all_ticks


def test_connections_are_those_that_are_open_to_the_port() -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: 0100007F:{0} 0100007F:{1} {2} 00000000:00000000 00:00000000 00000000     0        0 {3} 1 x\n"
    table = head + row.format("A1B2", "1F90", "01", 11) + row.format("A1B3", "1F90", "06", 12)
    table += row.format("1F90", "A1B2", "01", 13) + row.format("A1B4", "1F91", "01", 14)
    assert sampling.find_connections(table, 0x1F90) == {"11"}


def samples(cpu: list[float]) -> list[sampling.Sample]:
    """One each second."""
    return [sampling.Sample(at=float(at), cpu=used, rss=100 + at) for at, used in enumerate(cpu)]


def test_processor_time_is_told_for_equal_parts() -> None:
    used = sampling.usage(samples([0.0, 0.1, 0.2, 0.7, 1.2]), begin=0, end=4, parts=2)
    assert list(used.cpu) == pytest.approx([10.0, 50.0])
    assert used.median_cpu == pytest.approx(30.0)
    assert used.median_rss == 102


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        sampling.usage(samples([0.0, 1.0]), begin=0, end=1)
    with pytest.raises(ValueError, match="too few"):
        sampling.trend([0, 1, 2, 3], [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("values", "steady"),
    [
        ([100] * 20, True),
        ([1, 50, 90, 100, 100, 100, 100, 100, 100, 100], True),  # it only grows in the beginning
        ([100 + place for place in range(20)], False),
        ([100 - place for place in range(20)], True),
        ([100 + place % 2 * 10 + place / 10 for place in range(20)], True),  # lost in the noise
        ([100_000 + place for place in range(20)], True),  # less than one in a hundred
        ([7] * 19 + [8], True),
        ([7] * 10 + [7, 7, 8, 8, 9, 9, 10, 10, 11, 11], False),
    ],
)
def test_a_rise_beyond_the_noise_is_growth(values: list[float], *, steady: bool) -> None:
    assert sampling.trend(list(range(len(values))), values).steady is steady


def test_a_metric_is_summed_over_its_other_labels() -> None:
    text = (
        "# HELP requests_total all\n"
        'requests_total{code="200",resource="agentruns",subresource="status",verb="PATCH"} 3\n'
        'requests_total{code="409",resource="agentruns",subresource="status",verb="PATCH"} 1e+00\n'
        'requests_total{code="200",resource="jobs",subresource="",verb="PATCH"} 9\n'
        'requests_total_more{resource="agentruns"} 9\n'
    )
    assert sampling.total(text, "requests_total", resource="agentruns", verb="PATCH") == 4
    assert sampling.total(text, "requests_total") == 13
    assert sampling.total(text, "nothing") == 0


# ----------------------------------------------------------------------------------------------------------- watches


def test_an_event_brings_the_place_to_go_on_from() -> None:
    line = b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"17","name":"x"}}}'
    kind, version, body = gapless.parse(line, "/jobs")
    assert (kind, version) == ("ADDED", "17")
    assert b'"name":"x"' in bytes(body)


def test_a_lost_event_is_an_error() -> None:
    line = b'{"type":"ERROR","object":{"code":410,"message":"too old"}}'
    with pytest.raises(BenchError, match="too old"):
        gapless.parse(line, "/jobs")


# -------------------------------------------------------------------------------------------------------------- home


def seen(at: float, uid: str, state: str, *, agent: str = "a", run: str = "") -> home.Sight:
    """One event; the run's name is the uid unless another one is given."""
    return home.Sight(at, uid, agent, run or uid, state)


def test_a_story_has_the_order_and_the_pauses_of_each_agent() -> None:
    story = home.tell(
        [
            seen(0, "r1", home.HELD),
            seen(1, "r1", home.LIVE),
            seen(1, "r1", home.LIVE),
            seen(2, "x1", home.LIVE, agent="b"),
            seen(3, "r1", home.OVER),
            seen(4, "r2", home.LIVE),
            seen(5, "r2", home.OVER),
            seen(6, "r2", home.OVER),
            seen(7, "x1", home.OVER, agent="b"),
        ]
    )
    assert dict(story.order) == {"a": ["r1", "r2"], "b": ["x1"]}
    assert home.pauses(story) == [1]
    assert home.spans(story, 0) == [5, 7]
    assert story.at_once == 1
    assert max(count for _, count in story.live) == 2
    assert story.live[-1] == (7, 0)


def test_two_of_one_agent_at_once_are_seen() -> None:
    story = home.tell([seen(0, "r1", home.LIVE), seen(1, "r2", home.LIVE), seen(2, "r1", home.OVER)])
    assert story.at_once == 2
    assert home.spans(story, 0) == [float("inf")]


@pytest.mark.parametrize(
    ("kind", "spec", "status", "state"),
    [
        ("ADDED", {"suspend": True}, {}, home.HELD),
        ("MODIFIED", {}, {}, home.LIVE),
        ("MODIFIED", {}, {"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]}, home.LIVE),
        ("MODIFIED", {}, {"conditions": [{"type": "Complete", "status": "True"}]}, home.OVER),
        ("MODIFIED", {}, {"phase": "Running"}, home.LIVE),
        ("MODIFIED", {}, {"phase": "Succeeded"}, home.OVER),
        ("DELETED", {}, {}, home.OVER),
    ],
)
def test_a_job_or_pod_is_live_until_it_can_have_no_process(
    kind: str, spec: dict[str, bool], status: dict[str, object], state: str
) -> None:
    labels = {"paperclip.io/company-id": "c", "paperclip.io/agent-id": "a", "paperclip.io/run-id": "r"}
    body = {"metadata": {"uid": "u", "labels": labels}, "spec": spec, "status": status}
    thing = msgspec.convert(body, home.Thing)
    assert home.read(sight.Event(1.0, kind, thing)) == home.Sight(1.0, "u", "c/a", "r", state)


def test_a_curve_keeps_its_end() -> None:
    points = [(float(at), at) for at in range(1000)]
    thinned = home.thin(points, 0)
    assert len(thinned) <= 502
    assert thinned[-1] == [999.0, 999]
