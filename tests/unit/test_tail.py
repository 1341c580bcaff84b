"""The reading of log files, on real files: whatever an agent or a file system does to them."""

import errno
import json
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentrun_operator import settings, status, tail

CONFIG = settings.Settings(
    poll_seconds=0.005,
    idle_poll_seconds=0.01,
    log_appear_seconds=0.05,
    drain_seconds=5,
    quiet_seconds=0.05,
)
INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus"}\n'
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"Done."}\n'


def turn(number: int) -> bytes:
    """One answer of the model."""
    return json.dumps({"type": "assistant", "message": {"id": f"m{number}", "content": []}}).encode() + b"\n"


def until(condition: Callable[[], Any], *, seconds: float = 10) -> None:
    """Wait until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


class Place:
    """One followed log in a folder of its own."""

    def __init__(self, tailer: tail.Tailer, folder: pathlib.Path) -> None:
        self.path = folder / "run.pod.ndjson"
        self.stderr = folder / "run.pod.stderr"
        self.drained = threading.Event()
        self._tailer = tailer
        self._tail: tail.LogTail | None = None

    @property
    def tail(self) -> tail.LogTail:
        """The tail, begun with the first use."""
        if self._tail is None:
            self._tail = self._tailer.follow(str(self.path), stderr_path=str(self.stderr), on_drained=self.drained.set)
        return self._tail

    @property
    def seen(self) -> status.LogSeen:
        """What is known now."""
        return self.tail.view()

    def write(self, data: bytes) -> None:
        """Append to the log."""
        with self.path.open("ab") as file:
            file.write(data)

    def wait_bytes(self, count: int) -> status.LogSeen:
        """Wait until exactly so much was read."""
        until(lambda: self.seen.transcript.bytes == count)
        return self.seen

    def drain(self, expected: int | None = None, *, seconds: float = 10) -> status.LogSeen:
        """Read to the end."""
        self.tail.drain(expected)
        assert self.drained.wait(seconds)
        return self.seen


@pytest.fixture
def tailer() -> Iterator[tail.Tailer]:
    """The thread, with short times."""
    made = tail.Tailer(CONFIG)
    yield made
    made.close()


@pytest.fixture
def place(tailer: tail.Tailer, tmp_path: pathlib.Path) -> Iterator[Place]:
    """See the class."""
    made = Place(tailer, tmp_path)
    yield made
    made.tail.close()


def open_files() -> set[str]:
    """Targets of this process's descriptors."""
    found = set()
    for fd in pathlib.Path("/proc/self/fd").iterdir():
        try:
            found.add(str(fd.readlink()))
        except OSError:
            continue
    return found


# ---------------------------------------------------------------------------------------------------------- growth


def test_a_log_is_read_as_it_grows(place: Place) -> None:
    """Each new piece is folded, with the time when it was seen."""
    place.write(INIT)
    first = place.wait_bytes(len(INIT))
    assert (first.found, first.drained, first.transcript.session_id) == (True, False, "s-1")
    place.write(turn(1) + turn(2))
    second = place.wait_bytes(len(INIT + turn(1) + turn(2)))
    assert second.transcript.turns == 2
    assert first.last_growth is not None
    assert second.last_growth is not None
    assert second.last_growth >= first.last_growth


def test_a_line_in_pieces_counts_when_it_is_complete(place: Place) -> None:
    """Half a line is kept, not parsed and not lost, also when a character is cut in two."""
    line = json.dumps({"type": "system", "subtype": "init", "model": "é"}, ensure_ascii=False).encode() + b"\n"
    cut = line.index("é".encode()) + 1
    place.write(line[:cut])
    assert place.wait_bytes(cut).transcript.events == 0
    place.write(line[cut:])
    assert place.wait_bytes(len(line)).transcript.model == "é"


def test_a_log_that_comes_late_is_waited_for(place: Place) -> None:
    """A missing file is no error, for as long as it takes."""
    assert not place.seen.found
    time.sleep(0.03)
    assert not place.seen.found
    place.write(INIT)
    assert place.wait_bytes(len(INIT)).found


def test_polls_get_slower_when_nothing_comes_and_quick_again_when_it_does(tmp_path: pathlib.Path) -> None:
    """250 ms, then 1 s from the 5th look without growth on, back on growth: no thread needed to see that."""
    config = settings.Settings(poll_seconds=0.25, idle_poll_seconds=1)
    tailer = tail.Tailer(config)
    tailer.close()  # this test polls itself
    place = Place(tailer, tmp_path)
    assert [place.tail.poll(config) for _ in range(6)] == [0.25, 0.25, 0.25, 0.25, 1, 1]
    place.write(INIT)
    assert [place.tail.poll(config) for _ in range(6)] == [0.25, 0.25, 0.25, 0.25, 0.25, 1]
    place.tail.close()


# ------------------------------------------------------------------------------------------- what can happen to it


def test_a_truncated_log_is_read_anew(place: Place) -> None:
    """The state describes the file as it is: nothing counts twice, nothing old stays."""
    place.write(INIT + turn(1) + turn(2))
    place.wait_bytes(len(INIT + turn(1) + turn(2)))
    os.truncate(place.path, 0)
    place.write(turn(9))
    seen = place.wait_bytes(len(turn(9))).transcript
    assert (seen.turns, seen.session_id) == (1, "")


@pytest.mark.parametrize("size", ["larger", "same", "smaller"])
def test_a_replaced_log_is_read_anew(place: Place, size: str) -> None:
    """Another inode is another file, whatever its length."""
    place.write(turn(1) + turn(2))
    place.wait_bytes(len(turn(1) + turn(2)))
    before = place.seen.last_growth
    data = {"larger": INIT + turn(3) + turn(4), "same": turn(3) + turn(4), "smaller": turn(3)}[size]
    place.path.rename(place.path.with_suffix(".previous"))
    fresh = place.path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.rename(place.path)
    until(lambda: place.seen.last_growth != before)
    seen = place.wait_bytes(len(data)).transcript
    assert seen.turns == {"larger": 2, "same": 2, "smaller": 1}[size]


def test_a_log_replaced_after_much_was_read_does_not_take_more_than_its_turn(tmp_path: pathlib.Path) -> None:
    """One look reads at most one turn's worth, also at the change of files."""
    tailer = tail.Tailer(CONFIG)
    tailer.close()
    place = Place(tailer, tmp_path)
    line = b"x" * 1023 + b"\n"
    place.path.write_bytes(line * (5 * 1024))
    while place.seen.transcript.bytes < 5 * 1024 * 1024:
        place.tail.poll(CONFIG)
    fresh = place.path.with_suffix(".new")
    fresh.write_bytes(line * (6 * 1024))
    fresh.rename(place.path)
    place.tail.poll(CONFIG)
    assert 0 < place.seen.transcript.bytes <= 4 * 1024 * 1024
    place.tail.close()


def test_a_flood_of_tiny_lines_gives_way(tmp_path: pathlib.Path) -> None:
    """A turn ends with its time also: parsing two million lines takes much longer than reading them."""
    tailer = tail.Tailer(CONFIG)
    tailer.close()
    place = Place(tailer, tmp_path)
    place.path.write_bytes(b"x\n" * (2 * 1024 * 1024))
    place.tail.poll(CONFIG)
    assert 0 < place.seen.transcript.bytes < 4 * 1024 * 1024
    place.tail.close()


def test_a_deleted_log_keeps_what_was_read(place: Place) -> None:
    """It was found, and what it said is known."""
    place.write(INIT)
    place.wait_bytes(len(INIT))
    place.path.unlink()
    seen = place.drain()
    assert (seen.found, seen.transcript.session_id) == (True, "s-1")


def make_link(path: pathlib.Path) -> None:
    secret = path.with_name("secret")
    secret.write_bytes(INIT)
    path.symlink_to(secret)


@pytest.mark.parametrize("make", [make_link, os.mkfifo, pathlib.Path.mkdir], ids=["symbolic link", "pipe", "folder"])
def test_only_a_regular_file_is_read(place: Place, make: Callable[[pathlib.Path], None]) -> None:
    """An agent owns its folder: it cannot have the operator read another file, nor block it."""
    make(place.path)
    seen = place.drain()
    assert (seen.found, seen.transcript.bytes) == (False, 0)


def test_a_log_that_becomes_a_link_between_look_and_open_is_not_followed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open itself refuses links: there is no moment in between."""
    secret = place.path.with_name("secret")
    secret.write_bytes(INIT)
    place.path.symlink_to(secret)
    monkeypatch.setattr(os, "lstat", os.stat)
    seen = place.drain(seconds=10)
    assert seen.transcript.bytes == 0


def test_a_log_that_may_not_be_read_is_as_good_as_missing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks turns to the pod's own log then."""
    place.write(INIT)
    real = os.open

    def refuse(path: str, *args: Any, **kwargs: Any) -> int:
        if path == str(place.path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    seen = place.drain()
    assert (seen.found, seen.transcript.bytes, seen.drained) == (False, 0, True)


def test_a_stale_handle_is_opened_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error of a network file system costs one look, not the log."""
    real, failures = os.pread, [OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EIO, "I/O error")]

    def fail(fd: int, count: int, offset: int) -> bytes:
        if failures:
            raise failures.pop()
        return real(fd, count, offset)

    monkeypatch.setattr(os, "pread", fail)
    place.write(INIT)
    assert place.wait_bytes(len(INIT)).transcript.session_id == "s-1"
    assert failures == []


# ----------------------------------------------------------------------------------------------------------- drain


def test_a_drain_ends_with_the_length_that_the_pod_told(place: Place) -> None:
    """Nothing is waited for once all of it is there."""
    place.write(INIT)
    started = time.monotonic()
    seen = place.drain(len(INIT))
    assert seen.transcript.bytes == len(INIT)
    assert time.monotonic() - started < CONFIG.drain_seconds / 2


def test_a_drain_waits_for_the_length_that_the_pod_told(place: Place) -> None:
    """The last lines may be seen late: quiet is not the end while some are missing."""
    place.write(INIT)
    place.tail.drain(len(INIT + RESULT))
    assert not place.drained.wait(3 * CONFIG.quiet_seconds)
    place.write(RESULT)
    assert place.drained.wait(10)
    assert place.seen.transcript.result_seen


def test_a_drain_without_a_length_ends_when_it_is_quiet(place: Place) -> None:
    """The clock of quiet starts with the drain, and again with each growth."""
    place.write(INIT)
    place.wait_bytes(len(INIT))
    started = time.monotonic()
    seen = place.drain()
    assert time.monotonic() - started >= CONFIG.quiet_seconds
    assert (seen.drained, seen.transcript.events) == (True, 1)


def test_after_a_result_quiet_has_its_own_length(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that ends with its result is not waited for as long as one that may have more to come."""
    monkeypatch.setattr(tail, "_RESULT_QUIET_SECONDS", 0.01)
    tailer = tail.Tailer(CONFIG.model_copy(update={"quiet_seconds": 60.0}))
    place = Place(tailer, tmp_path)
    place.write(INIT + RESULT)
    assert place.drain().transcript.result_seen
    tailer.close()


def test_a_drain_is_bounded(tmp_path: pathlib.Path) -> None:
    """A length that never comes is given up after drain_seconds."""
    tailer = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 0.1}))
    place = Place(tailer, tmp_path)
    place.write(INIT)
    started = time.monotonic()
    seen = place.drain(10_000)
    assert time.monotonic() - started >= 0.1
    assert (seen.drained, seen.found, seen.transcript.events) == (True, True, 1)
    tailer.close()


def test_a_drain_of_a_missing_file_gives_up(place: Place) -> None:
    """It says that there is no file, after log_appear_seconds."""
    started = time.monotonic()
    seen = place.drain(100)
    assert time.monotonic() - started >= CONFIG.log_appear_seconds
    assert (seen.drained, seen.found) == (True, False)


def test_a_file_that_appears_during_the_drain_is_read(tmp_path: pathlib.Path) -> None:
    """The folder of a network file system may show it late."""
    tailer = tail.Tailer(CONFIG.model_copy(update={"log_appear_seconds": 10.0}))
    place = Place(tailer, tmp_path)
    place.tail.drain(len(INIT))
    assert not place.drained.wait(0.03)
    place.write(INIT)
    assert place.drained.wait(10)
    assert place.seen.transcript.session_id == "s-1"
    tailer.close()


def test_the_file_is_opened_anew_for_the_drain(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh open makes a network file system look at the file anew."""
    real, opened = os.open, []

    def record(path: str, *args: Any, **kwargs: Any) -> int:
        opened.append(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", record)
    place.write(INIT)
    place.wait_bytes(len(INIT))
    assert opened == [str(place.path)]
    place.drain(len(INIT))
    assert opened.count(str(place.path)) == 2


def test_the_last_line_counts_without_its_line_end(place: Place) -> None:
    """Only at the end: before, it may be half a line."""
    place.write(INIT + RESULT.rstrip(b"\n"))
    assert not place.wait_bytes(len(INIT + RESULT) - 1).transcript.result_seen
    assert place.drain(len(INIT + RESULT) - 1).transcript.result_seen


def test_the_end_is_told_once_and_stays(place: Place) -> None:
    """A second drain changes nothing, and what is written later is not read."""
    place.write(INIT)
    first = place.drain(len(INIT))
    place.drained.clear()
    place.tail.drain(None)
    place.write(turn(1))
    assert not place.drained.wait(0.03)
    assert place.seen == first
    assert place.tail.poll(CONFIG) is None


# ---------------------------------------------------------------------------------------------------------- stderr


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, ""),
        (b"", ""),
        (b"boom\n", "boom\n"),
        (b"a" * 8192, "a" * 8192),
        (b"x" + b"a" * 8192, "a" * 8192),
        (b"caf\xe9", "caf\ufffd"),
    ],
)
def test_the_end_of_stderr_is_read_at_the_end(place: Place, written: bytes | None, told: str) -> None:
    """At most its last 8 KiB, whatever bytes they are."""
    place.write(INIT)
    if written is not None:
        place.stderr.write_bytes(written)
    assert place.drain(len(INIT)).stderr_tail == told


@pytest.mark.parametrize("make", [make_link, os.mkfifo, pathlib.Path.mkdir], ids=["symbolic link", "pipe", "folder"])
def test_stderr_is_only_read_from_a_regular_file(place: Place, make: Callable[[pathlib.Path], None]) -> None:
    """The same rules as for the log, and no descriptor is lost."""
    make(place.stderr)
    place.write(INIT)
    assert place.drain(len(INIT)).stderr_tail == ""
    assert str(place.stderr) not in open_files()


# ------------------------------------------------------------------------------------------------- many, and the end


def test_a_closed_tail_lets_its_file_go(place: Place) -> None:
    """No descriptor is held and nothing is read any more."""
    place.write(INIT)
    place.wait_bytes(len(INIT))
    assert str(place.path) in open_files()
    place.tail.close()
    assert str(place.path) not in open_files()
    place.tail.drain(None)
    assert place.tail.poll(CONFIG) is None
    assert not place.drained.is_set()


def test_nobody_waits_for_a_read_that_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """View, drain and close return at once; the descriptor is closed by its reader, never under the read."""
    reading, go_on, used = threading.Event(), threading.Event(), []
    real = os.pread

    def hang(fd: int, count: int, offset: int) -> bytes:
        reading.set()
        go_on.wait(10)
        used.append(os.readlink(f"/proc/self/fd/{fd}"))
        return real(fd, count, offset)

    monkeypatch.setattr(os, "pread", hang)
    place.write(INIT)
    tail_of_place = place.tail
    assert reading.wait(10)

    def ask() -> None:
        tail_of_place.view()
        tail_of_place.drain(None)
        tail_of_place.close()

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(5)
    waited = asking.is_alive()
    go_on.set()

    assert not waited
    until(lambda: str(place.path) not in open_files())
    assert set(used) == {str(place.path)}


def test_closing_the_tailer_ends_its_thread(tmp_path: pathlib.Path) -> None:
    """No thread is left, whether it had work or not."""
    before = threading.active_count()
    tailers = [tail.Tailer(CONFIG) for _ in range(2)]
    Place(tailers[0], tmp_path).tail.view()
    for made in tailers:
        made.close()
    assert threading.active_count() == before


def test_fifty_logs_at_once(tailer: tail.Tailer, tmp_path: pathlib.Path) -> None:
    """Every one is read to its end, and no descriptor stays open."""
    places = []
    for number in range(50):
        folder = tmp_path / str(number)
        folder.mkdir()
        places.append(Place(tailer, folder))
        places[-1].write(INIT)
    for number, place in enumerate(places):
        place.tail.view()
        place.write(b"".join(turn(n) for n in range(number)))
    for place in places:
        place.tail.drain(place.path.stat().st_size)
    for number, place in enumerate(places):
        assert place.drained.wait(10)
        assert place.seen.transcript.turns == number
        place.tail.close()
    assert not {str(place.path) for place in places} & open_files()


def test_a_large_log_does_not_starve_a_small_one(tailer: tail.Tailer, tmp_path: pathlib.Path) -> None:
    """20 MB are read in turns: the small log is at its end long before the large one."""
    large, small = (Place(tailer, tmp_path / name) for name in ("large", "small"))
    for place in (large, small):
        place.path.parent.mkdir()
    line = json.dumps({"type": "user", "message": {"content": "x" * 1000}}).encode() + b"\n"
    count = 20 * 1024 * 1024 // len(line)
    large.write(line * count)
    small.write(INIT)
    large.tail.drain(None)
    small.tail.drain(len(INIT))
    assert small.drained.wait(10)
    assert not large.drained.is_set()
    assert large.drain().transcript.events == count


def test_a_file_that_breaks_the_reader_harms_no_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tailer: tail.Tailer
) -> None:
    """A defect met in one log is that run's trouble: it counts as not found, and the thread goes on with the others."""
    poll = tail.LogTail.poll

    def poll_or_break(self: tail.LogTail, config: settings.Settings) -> float | None:
        if self._path.endswith("broken"):
            raise ZeroDivisionError
        return poll(self, config)

    monkeypatch.setattr(tail.LogTail, "poll", poll_or_break)
    told = threading.Event()
    broken = tailer.follow(str(tmp_path / "broken"), stderr_path="", on_drained=told.set)
    assert told.wait(5)
    (tmp_path / "fine").write_bytes(b"{}\n")
    drained = threading.Event()
    fine = tailer.follow(str(tmp_path / "fine"), stderr_path="", on_drained=drained.set)
    fine.drain(3)

    assert drained.wait(5)
    assert (broken.view().found, broken.view().drained) == (False, True)
    assert fine.view().transcript.bytes == 3
