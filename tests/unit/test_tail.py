"""The reading of log files, on real files: whatever an agent or a file system does to them."""

import errno
import json
import os
import pathlib
import threading
import time
import tracemalloc
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentrun_operator import settings, status, tail
from agentrun_operator.tail import followed, logfile, mounts

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


@pytest.fixture(autouse=True)
def quick_to_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds until another file at the path is noticed would be most of a test."""
    monkeypatch.setattr(logfile, "_TRUST_SECONDS", 0)


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


@pytest.fixture
def still(tmp_path: pathlib.Path) -> Iterator[Place]:
    """A followed log that nobody polls but the test."""
    tailer = tail.Tailer(CONFIG)
    tailer.close()
    made = Place(tailer, tmp_path)
    made.tail.view()
    yield made
    made.tail.close()
    made.tail.poll(CONFIG)


def test_it_is_told_once_when_there_is_something_to_tell(tailer: tail.Tailer, tmp_path: pathlib.Path) -> None:
    """An empty file says nothing; of a long one, all is read first."""
    for name, held in (("new", b""), ("old", turn(1) * 100_000)):
        path = tmp_path / name
        path.write_bytes(held)
        told: list[int] = []
        one = tailer.follow(
            str(path),
            stderr_path="",
            on_drained=lambda: None,
            on_read=lambda: told.append(one.view().transcript.bytes),  # noqa: B023 - of this file
        )
        until(lambda: one.view().found)  # noqa: B023
        with path.open("ab") as file:
            file.write(turn(2))
        until(lambda: told)  # noqa: B023
        with path.open("ab") as file:
            file.write(turn(3))
        until(lambda: one.view().transcript.bytes == len(held) + 2 * len(turn(2)))  # noqa: B023
        assert told[0] >= len(held or turn(2))
        assert len(told) == 1
        one.close()


def test_a_log_that_could_not_be_looked_at_is_unread(still: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server's error says nothing about the agent; that there is no file does."""

    def fail(_path: str) -> None:
        raise OSError(errno.EIO, "the server is away")

    assert still.seen.unread
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", fail)
        still.tail.poll(CONFIG)
        assert still.seen.unread
    still.tail.poll(CONFIG)
    assert (still.seen.unread, still.seen.found) == (False, False)


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


def test_many_files_are_looked_at_less_often_each(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The thread that reads them all is not worn out, and a drain does not wait."""
    monkeypatch.setattr(tail, "_MOST_POLLS", 10)
    tailer = tail.Tailer(settings.Settings(poll_seconds=0.25, idle_poll_seconds=1))
    tailer.close()  # this test looks at the schedule itself
    due, lock, push = (getattr(tailer, name) for name in ("_due", "_changed", "_push"))
    tails = [Place(tailer, tmp_path).tail for _ in range(20)]

    def wait(followed: tail.LogTail) -> float:
        """For how long the last file in the schedule is left alone, in seconds."""
        with lock:
            push(followed, 0.25)
        return float(max(due)[0] - time.monotonic())

    assert wait(tails[0]) == pytest.approx(2, abs=0.2)
    due.clear()
    assert wait(tails[0]) == pytest.approx(0.25, abs=0.2)
    tails[1].drain(None)
    due.extend([(0.0, 0, tails[0])] * 100)
    due.sort()
    assert wait(tails[1]) == pytest.approx(0.25, abs=0.2)
    for one in tails:
        one.close()


def test_logs_that_are_due_at_nearly_the_same_time_are_looked_at_together(tmp_path: pathlib.Path) -> None:
    """The thread wakes at most every 20 ms, unless somebody waits for a log now."""
    tailer = tail.Tailer(settings.Settings(poll_seconds=0.25, idle_poll_seconds=1))
    tailer.close()  # this test looks at the schedule itself
    due, lock, push = (getattr(tailer, name) for name in ("_due", "_changed", "_push"))
    tails = [Place(tailer, tmp_path).tail for _ in range(20)]
    due.clear()
    with lock:
        for number, one in enumerate(tails):
            push(one, 0.25 + number / 1000)
    times = [at for at, _, _ in due]
    assert len(set(times)) <= 3
    assert all(at * 50 == pytest.approx(round(at * 50), abs=1e-6) for at in times)
    with lock:
        push(tails[0], 0)
    assert due[0][0] <= time.monotonic()
    for one in tails:
        one.close()


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


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all reads from now on."""
    real, lengths = os.pread, []

    def read(fd: int, count: int, offset: int) -> bytes:
        chunk = real(fd, count, offset)
        lengths.append(len(chunk))
        return chunk

    monkeypatch.setattr(os, "pread", read)
    return lengths


def test_a_growing_log_costs_one_read_and_its_path_is_asked_for_every_two_seconds(
    still: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then a file that took its place is not noticed; then it is, also while the old one grows."""
    monkeypatch.setattr(logfile, "_TRUST_SECONDS", 2.0)
    clock, asked, real = [100.0], [], os.lstat

    def lstat(path: str) -> os.stat_result:
        asked.append(clock[0])
        return real(path)

    def look(at: float) -> int:
        clock[0] = at
        still.tail.poll(CONFIG)
        return still.seen.transcript.turns

    monkeypatch.setattr(logfile, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(os, "lstat", lstat)
    lengths = count_reads(monkeypatch)
    with still.path.open("ab", buffering=0) as file:
        for number, at in enumerate((100.0, 100.5, 101.0, 101.5), 1):
            file.write(turn(number))
            assert look(at) == number
        assert (asked, len(lengths)) == ([100.0], 4)
        still.path.unlink()
        still.write(turn(9))
        file.write(turn(5))
        assert look(101.9) == 5
        file.write(turn(6))
        assert look(102.0) == 1
    assert asked == [100.0, 102.0]


def test_a_log_replaced_after_much_was_read_does_not_take_more_than_its_turn(
    still: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look reads at most one turn's worth, also at the change of files."""
    line = b"x" * 1023 + b"\n"
    still.path.write_bytes(line * (5 * 1024))
    while still.seen.transcript.bytes < 5 * 1024 * 1024:
        still.tail.poll(CONFIG)
    fresh = still.path.with_suffix(".new")
    fresh.write_bytes(line * (6 * 1024))
    fresh.rename(still.path)
    lengths = count_reads(monkeypatch)
    still.tail.poll(CONFIG)
    assert 0 < sum(lengths) <= 4 * 1024 * 1024


def test_a_flood_of_tiny_lines_gives_way(still: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn ends with its time also: parsing two million lines takes much longer than reading them."""
    still.path.write_bytes(b"x\n" * (2 * 1024 * 1024))
    lengths = count_reads(monkeypatch)
    still.tail.poll(CONFIG)
    assert 0 < sum(lengths) < 4 * 1024 * 1024


def test_what_is_written_into_a_deleted_log_is_read(place: Place) -> None:
    """The agent's tee goes on writing what it has open; the result is not lost with the name."""
    with place.path.open("ab", buffering=0) as file:
        file.write(INIT)
        place.wait_bytes(len(INIT))
        place.path.unlink()
        file.write(turn(1))
        place.wait_bytes(len(INIT + turn(1)))
        file.write(RESULT)
        seen = place.drain(len(INIT + turn(1) + RESULT))
    assert (seen.found, seen.transcript.turns, seen.transcript.result_seen) == (True, 1, True)
    assert not any("deleted" in name for name in open_files() if str(place.path) in name)


def test_what_is_written_into_a_log_that_was_moved_away_is_read(place: Place) -> None:
    """Rotation by renaming: as long as there is no other file, the moved one is ours."""
    place.write(INIT)
    place.wait_bytes(len(INIT))
    moved = place.path.rename(place.path.with_suffix(".1"))
    with moved.open("ab") as file:
        file.write(RESULT)
    assert place.wait_bytes(len(INIT + RESULT)).transcript.result_seen


def test_a_log_rotated_by_copy_and_truncate_goes_on_after_its_hole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that does not append leaves NUL bytes up to where it was; what follows them is read."""
    monkeypatch.setattr(logfile, "_HOLE_SECONDS", 0.02)
    with place.path.open("wb", buffering=0) as file:
        file.write(INIT + turn(1) * 50)
        size = place.wait_bytes(file.tell()).transcript.bytes
        file.truncate(0)
        until(lambda: place.tail._file.offset == 0)  # noqa: SLF001 - seen as truncated, before it grows again
        file.write(RESULT)
    seen = place.drain(size + len(RESULT)).transcript
    assert (seen.result_seen, seen.turns, seen.events, seen.non_json_lines) == (True, 0, 1, 0)


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


def test_a_stale_handle_means_that_the_file_may_be_another(still: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may give the number of a removed file to the next one: after ESTALE it is read from its beginning."""
    still.write(INIT + turn(1) + turn(2))
    still.tail.poll(CONFIG)
    with still.path.open("r+b") as file:  # the same inode number, another content, and longer
        file.write(turn(7) + turn(8) + turn(9) + RESULT)
    real, failures = os.pread, [OSError(errno.ESTALE, "Stale file handle")]

    def fail(fd: int, count: int, offset: int) -> bytes:
        if failures:
            raise failures.pop()
        return real(fd, count, offset)

    monkeypatch.setattr(os, "pread", fail)
    still.tail.poll(CONFIG)
    assert still.seen.transcript.turns == 2  # nothing is taken back for a moment's trouble
    still.tail.poll(CONFIG)
    assert (still.seen.transcript.turns, still.seen.transcript.session_id) == (3, "")
    assert still.seen.transcript.bytes == still.path.stat().st_size


@pytest.mark.parametrize("expected", [None, len(INIT)])
def test_a_log_that_can_never_be_read_is_as_good_as_missing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, expected: int | None
) -> None:
    """It is there, but every read fails: the pod's own log is asked, not an empty state taken for the truth."""

    def fail(fd: int, count: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "pread", fail)
    tailer = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 0.1}))
    place = Place(tailer, tmp_path)
    place.write(INIT)
    seen = place.drain(expected)
    tailer.close()
    assert (seen.drained, seen.found, seen.transcript.bytes) == (True, False, 0)


@pytest.mark.parametrize(("expected", "found"), [(None, True), (0, True), (100, False)])
def test_an_empty_log_is_the_truth_unless_the_pod_says_otherwise(
    tmp_path: pathlib.Path, expected: int | None, *, found: bool
) -> None:
    """A log that somebody has emptied must not hide what the pod's own log still has."""
    tailer = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 0.1}))
    place = Place(tailer, tmp_path)
    place.write(b"")
    assert place.drain(expected).found is found
    tailer.close()


def test_a_log_whose_folder_was_replaced_by_a_file_is_missing(place: Place) -> None:
    """No error either."""
    place.path = place.path.parent / "folder" / "log"
    place.path.parent.write_bytes(b"")
    assert place.drain().found is False


def test_a_size_that_is_out_of_date_does_not_end_the_drain(still: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system shows the size of a while ago; the read itself is asked, on a fresh descriptor."""
    still.write(INIT)
    still.tail.poll(CONFIG)
    real, old = os.lstat, still.path.stat()
    monkeypatch.setattr(os, "lstat", lambda path: old if path == str(still.path) else real(path))
    still.write(RESULT)
    still.tail.poll(CONFIG)
    assert not still.seen.transcript.result_seen
    still.tail.drain(len(INIT + RESULT))
    assert still.tail.poll(CONFIG) is None
    assert still.seen.transcript.result_seen


# --------------------------------------------------------------------------------------------------- what is in it


def test_every_character_may_be_cut_anywhere(still: Place) -> None:
    """Read byte by byte, characters of two, three and four bytes come out whole, with either line end."""
    words = "é€\u2028😀"
    line = json.dumps({"type": "system", "subtype": "init", "model": words}, ensure_ascii=False).encode()
    for byte in line + b"\r\n" + f"ça {words}\r\n".encode():
        still.write(bytes([byte]))
        still.tail.poll(CONFIG)
    seen = still.seen.transcript
    assert (seen.model, seen.first_plain_text, seen.events, seen.non_json_lines) == (words, f"ça {words}", 1, 1)


def test_plain_text_and_broken_lines_do_not_hide_events(place: Place) -> None:
    """Words of other programs, blank lines, CRLF, half JSON, bytes that are no text: counted, and on it goes."""
    place.write(b"npm warn\n" + INIT.replace(b"\n", b"\r\n") + b'\r\n\n{"type":"assist\n\xff\xfe\n[1]\n' + turn(1))
    place.write(b"Killed\r\n" + RESULT)
    seen = place.drain(place.path.stat().st_size).transcript
    assert (seen.session_id, seen.turns, seen.result_seen, seen.events) == ("s-1", 1, True, 3)
    assert (seen.non_json_lines, seen.first_plain_text) == (5, "npm warn")


def test_a_line_of_fifty_megabytes_is_counted_and_passed_over(tailer: tail.Tailer, tmp_path: pathlib.Path) -> None:
    """It is not kept in memory, the run goes on, and other runs do not notice."""
    large, small = (Place(tailer, tmp_path / name) for name in ("large", "small"))
    for place in (large, small):
        place.path.parent.mkdir()
    with large.path.open("wb") as file:
        file.write(INIT + b'{"type":"user","x":"')
        for _ in range(50):
            file.write(b"x" * (1024 * 1024))
        file.write(b'"}\n' + turn(1) + RESULT)
    small.write(INIT + RESULT)
    tracemalloc.start()
    large.tail.drain(large.path.stat().st_size)
    assert small.drain(len(INIT + RESULT)).transcript.result_seen
    assert large.drained.wait(30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seen = large.seen.transcript
    assert (seen.oversized_lines, seen.turns, seen.result_seen, seen.non_json_lines) == (1, 1, True, 0)
    assert seen.bytes == large.path.stat().st_size
    assert peak < 20 * 1024 * 1024


def test_a_hole_is_waited_for(still: Place) -> None:
    """A later write was seen before an earlier one: the NUL bytes between them become an event in time."""
    with still.path.open("r+b" if still.path.exists() else "w+b", buffering=0) as file:
        file.write(INIT)
        file.seek(len(INIT + turn(1)))
        file.write(RESULT)
        still.tail.poll(CONFIG)
        still.tail.drain(None)
        assert still.tail.poll(CONFIG) is not None
        assert still.seen.transcript.bytes == len(INIT)
        file.seek(len(INIT))
        file.write(turn(1))
    still.tail.poll(CONFIG)
    seen = still.seen.transcript
    assert (seen.bytes, seen.turns, seen.result_seen) == (len(INIT + turn(1) + RESULT), 1, True)


def test_a_hole_that_stays_is_waited_for_once(still: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints NUL bytes does not hold its log up with each of them."""
    monkeypatch.setattr(logfile, "_HOLE_SECONDS", 0)
    still.write(b"\0\0" + INIT + b"a\0b\n\0\n" + turn(1) + b"\0" + RESULT + b"\0")
    still.tail.poll(CONFIG)
    seen = still.seen.transcript
    assert (seen.bytes, seen.events, seen.non_json_lines) == (still.path.stat().st_size, 3, 1)


@pytest.mark.parametrize("expected", [None, 10_000])
def test_a_hole_that_stays_does_not_end_the_drain_before_the_result(
    tmp_path: pathlib.Path, expected: int | None
) -> None:
    """The drain's own limit is the limit for holes, too; what is behind them is read before it ends."""
    tailer = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 0.1}))
    place = Place(tailer, tmp_path)
    place.write(INIT + b"\0" * 10 + RESULT)
    assert place.drain(expected).transcript.result_seen
    tailer.close()


# ---------------------------------------------------------------------------------------------- after a restart


def test_a_restarted_operator_never_shows_less_than_the_one_before(
    still: Place, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read from its beginning; numbers are shown when all that was there is read, at once."""
    monkeypatch.setattr(logfile, "_TURN_BYTES", 4096)
    monkeypatch.setattr(logfile, "_CHUNK_BYTES", 512)
    still.write(INIT + b"".join(turn(n) for n in range(1000)))
    while still.seen.transcript.turns < 1000:
        still.tail.poll(CONFIG)
    before = still.seen.transcript
    again = Place(still._tailer, tmp_path)  # noqa: SLF001 - the same folder, followed anew
    polls, shown = 0, []
    while again.seen.transcript.turns < 1000:
        pause = again.tail.poll(CONFIG)
        polls += 1
        shown.append(again.seen)
        assert pause == 0 or again.seen.transcript.events  # not a moment is lost until it is back
        if polls == 3:
            still.write(turn(1000))
    again.tail.poll(CONFIG)
    assert polls > 10
    assert {seen.transcript.events for seen in shown[:-1]} == {0}  # which takes back nothing that the status says
    assert all(seen.found and seen.last_growth for seen in shown)  # but there is life
    assert shown[-1].transcript.events >= before.events
    assert (again.seen.transcript.turns, again.seen.transcript.events) == (1001, 1002)
    again.tail.close()
    again.tail.poll(CONFIG)


def test_an_end_that_moves_nearer_while_catching_up_is_the_end(still: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file cut short meanwhile, but not below what was read, shows what it has."""
    monkeypatch.setattr(logfile, "_TURN_BYTES", 1000)
    monkeypatch.setattr(logfile, "_CHUNK_BYTES", 1000)
    still.write(b"x" * 99 + b"\n")
    still.write(b"y" * 9899 + b"\n")
    still.tail.poll(CONFIG)
    assert still.seen.transcript.bytes == 0
    os.truncate(still.path, 1000)
    still.tail.poll(CONFIG)
    assert still.seen.transcript.bytes == 1000


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
    monkeypatch.setattr(followed, "_RESULT_QUIET_SECONDS", 0.01)
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
    until(lambda: str(place.path) not in open_files())
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
        if self.path.endswith("broken"):
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


# ---------------------------------------------------------------------------------- a file server that does not answer


class Server:
    """Some files below a folder do not answer: whoever looks at them hangs until ``answer``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._silent: set[str] = set()
        self._gate = threading.Event()
        self._gate.set()
        real = os.lstat

        def look(path: str) -> os.stat_result:
            if str(path) in self._silent:
                self.asked.append(str(path))
                self._gate.wait(30)
            return real(path)

        monkeypatch.setattr(os, "lstat", look)

    def silence(self, *places: Place) -> None:
        """Let these hang from now on."""
        self._gate.clear()
        self._silent |= {str(place.path) for place in places}

    def answer(self) -> None:
        """All is well again."""
        self._silent.clear()
        self._gate.set()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and a Tailer that takes a tenth of a second for a hang."""
    monkeypatch.setattr(tail, "_HANG_SECONDS", 0.1)
    monkeypatch.setattr(tail, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(tail, "_WAIT_SECONDS", 0.01)
    made = Server(monkeypatch)
    yield made
    made.answer()
    until(lambda: not readers())


@pytest.fixture
def quick(server: Server) -> Iterator[tail.Tailer]:
    """A Tailer whose drains give up soon."""
    made = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 0.2}))
    yield made
    made.close()


def readers() -> list[threading.Thread]:
    """Threads that read logs."""
    return [thread for thread in threading.enumerate() if thread.name == "tail"]


def make_places(tailer: tail.Tailer, folder: pathlib.Path, count: int) -> list[Place]:
    """Followed logs that hold something already."""
    places = []
    for number in range(count):
        (folder / str(number)).mkdir(parents=True)
        places.append(Place(tailer, folder / str(number)))
        places[-1].write(INIT)
        places[-1].wait_bytes(len(INIT))
    return places


def mount(monkeypatch: pytest.MonkeyPatch, *points: pathlib.Path) -> None:
    """Let these folders be mounts of their own for the next Tailer."""
    lines = [f"{number} 1 0:{number} / {point} rw - nfs server:/ rw" for number, point in enumerate([*points, "/"], 30)]
    monkeypatch.setattr(mounts, "read", lambda: mounts.Mounts("\n".join(lines)))


def grow(*places: Place) -> None:
    """One more answer in each of them, and wait until it is seen."""
    for place in places:
        count = place.path.stat().st_size + len(turn(1))
        place.write(turn(1))
        place.wait_bytes(count)


def test_a_file_that_hangs_stalls_no_other(quick: tail.Tailer, server: Server, tmp_path: pathlib.Path) -> None:
    """It is said to be stuck and nothing is concluded; when the server answers, it is read on, nothing twice."""
    hanging, *others = make_places(quick, tmp_path, 4)
    server.silence(hanging)
    until(lambda: hanging.seen.stuck)
    hanging.write(turn(1) + RESULT)
    grow(*others)
    grow(*others)
    assert (hanging.seen.found, hanging.seen.drained, hanging.seen.transcript.bytes) == (True, False, len(INIT))
    assert not any(place.seen.stuck for place in others)
    server.answer()
    seen = hanging.wait_bytes(len(INIT + turn(1) + RESULT))
    assert (seen.transcript.turns, seen.transcript.result_seen, seen.stuck) == (1, True, False)
    until(lambda: len(readers()) == 1)
    grow(hanging, *others)


def test_a_drain_of_a_file_that_hangs_ends(quick: tail.Tailer, server: Server, tmp_path: pathlib.Path) -> None:
    """As not found, so that the pod's log is read; what the thread finds out later changes nothing any more."""
    (place,) = make_places(quick, tmp_path, 1)
    server.silence(place)
    until(lambda: place.seen.stuck)
    place.write(RESULT)
    seen = place.drain(len(INIT + RESULT))
    assert (seen.drained, seen.found, seen.stuck) == (True, False, True)
    assert seen.transcript.session_id == "s-1"
    place.drained.clear()
    server.answer()
    until(lambda: str(place.path) not in open_files())
    until(lambda: len(readers()) == 1)
    assert place.seen == seen
    assert not place.drained.is_set()


def test_a_file_that_hangs_during_its_drain_is_read_if_it_answers_in_time(
    server: Server, tmp_path: pathlib.Path
) -> None:
    """A short hang costs nothing but time."""
    tailer = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 30}))
    (place,) = make_places(tailer, tmp_path, 1)
    server.silence(place)
    until(lambda: place.seen.stuck)
    place.write(RESULT)
    place.tail.drain(len(INIT + RESULT))
    server.answer()
    assert place.drained.wait(10)
    assert (place.seen.found, place.seen.stuck, place.seen.transcript.result_seen) == (True, False, True)
    tailer.close()


def test_a_log_that_is_read_counts_even_if_stderr_hangs(
    quick: tail.Tailer, server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is known; nobody has to look for it in the pod's log."""
    gate, real = threading.Event(), logfile.read_tail

    def hang(path: str, limit: int) -> str:
        gate.wait(30)
        return real(path, limit)

    monkeypatch.setattr(logfile, "read_tail", hang)
    (place,) = make_places(quick, tmp_path, 1)
    place.stderr.write_bytes(b"boom")
    place.write(RESULT)
    seen = place.drain(len(INIT + RESULT))
    gate.set()
    assert (seen.drained, seen.found, seen.transcript.result_seen, seen.stderr_tail) == (True, True, True, "")
    until(lambda: len(readers()) == 1)
    assert place.seen == seen


def test_no_two_threads_read_one_file(
    quick: tail.Tailer, server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wanted of a file that hangs waits for the thread that is in it."""
    poll, inside, most = tail.LogTail.poll, [], []

    def count(self: tail.LogTail, config: settings.Settings) -> float | None:
        inside.append(self.path)
        most.append(inside.count(self.path))
        try:
            return poll(self, config)
        finally:
            inside.remove(self.path)

    monkeypatch.setattr(tail.LogTail, "poll", count)
    hanging, other = make_places(quick, tmp_path, 2)
    server.silence(hanging)
    until(lambda: hanging.seen.stuck)
    hanging.tail.drain(None)
    hanging.tail.close()
    grow(other)
    assert server.asked == [str(hanging.path)]
    server.answer()
    until(lambda: str(hanging.path) not in open_files())
    grow(other)
    assert set(most) == {1}


def test_a_hung_mount_stalls_no_other_and_takes_few_threads(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hangs are enough to know; its other runs wait and say so, new ones too, and all are read afterwards."""
    mount(monkeypatch, tmp_path / "far")
    tailer = tail.Tailer(CONFIG)
    far, near = make_places(tailer, tmp_path / "far", 30), make_places(tailer, tmp_path / "near", 5)
    server.silence(*far)
    until(lambda: all(place.seen.stuck for place in far))
    late = Place(tailer, tmp_path / "far")
    until(lambda: late.seen.stuck)
    late.write(INIT)
    for _ in range(3):
        grow(*near)
    assert len(server.asked) == 3
    assert len(readers()) == 4
    server.answer()
    grow(*far, *near)
    late.wait_bytes(len(INIT))
    until(lambda: len(readers()) == 1)
    assert not any(place.seen.stuck for place in [*far, *near, late])
    tailer.close()


def test_a_hung_mount_is_tried_again_but_never_with_the_last_thread(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that hang for ever must not bar the others on their mount, nor other mounts."""
    monkeypatch.setattr(tail, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(tail, "_LONGEST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(tail, "_MOST_ASIDE", 6)
    mount(monkeypatch, tmp_path / "far")
    tailer = tail.Tailer(CONFIG)
    far, near = make_places(tailer, tmp_path / "far", 10), make_places(tailer, tmp_path / "near", 2)
    server.silence(*far)
    until(lambda: len(server.asked) == 5)
    grow(*near)
    until(lambda: all(place.seen.stuck for place in far))
    grow(*near)
    assert (len(server.asked), len(readers())) == (5, 6)
    server.answer()
    grow(*far)
    tailer.close()


def test_one_that_answers_opens_its_mount_again(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few files that hang are no hung mount: one try that succeeds, and the others are read as ever."""
    monkeypatch.setattr(tail, "_RETRY_SECONDS", 0.05)
    tailer = tail.Tailer(CONFIG.model_copy(update={"idle_poll_seconds": 0.1}))
    places = make_places(tailer, tmp_path, 12)
    server.silence(*places[:5])
    until(lambda: len(server.asked) == 5)
    grow(*places[5:])
    until(lambda: not any(place.seen.stuck for place in places[5:]))
    assert all(place.seen.stuck for place in places[:5])
    tailer.close()


def test_when_no_thread_may_be_spent_all_wait_and_drains_still_end(
    server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads until one thread comes back, which then is the reader; those who wait are seen to be stuck."""
    monkeypatch.setattr(tail, "_MOST_ASIDE", 2)
    mount(monkeypatch, *(tmp_path / str(number) for number in range(4)))
    tailer = tail.Tailer(CONFIG.model_copy(update={"drain_seconds": 0.2}))
    places = make_places(tailer, tmp_path, 4)
    server.silence(*places[:2])
    until(lambda: all(place.seen.stuck for place in places))
    assert len(readers()) == 2
    places[2].write(RESULT)
    seen = places[2].drain(len(INIT + RESULT))
    assert (seen.found, seen.drained, seen.stuck) == (False, True, True)
    server.answer()
    grow(places[0], places[1], places[3])
    until(lambda: len(readers()) == 1)
    assert places[2].seen == seen
    tailer.close()


def test_closing_waits_for_no_thread_that_hangs(server: Server, tmp_path: pathlib.Path) -> None:
    """The operator ends at once, and the thread with its process, or when the server answers."""
    tailer = tail.Tailer(CONFIG)
    (place,) = make_places(tailer, tmp_path, 1)
    server.silence(place)
    until(lambda: place.seen.stuck)
    started = time.monotonic()
    tailer.close()
    assert time.monotonic() - started < 5
    assert [thread.daemon for thread in readers()] == [True]


def test_a_thread_that_cannot_be_started_is_tried_again(
    quick: tail.Tailer, server: Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment without threads or memory must not be the end of all reading."""
    start, failures = threading.Thread.start, [RuntimeError("can't start new thread")] * 3

    def fail(self: threading.Thread) -> None:
        if self.name == "tail" and failures:
            raise failures.pop()
        start(self)

    hanging, other = make_places(quick, tmp_path, 2)
    monkeypatch.setattr(threading.Thread, "start", fail)
    server.silence(hanging)
    until(lambda: hanging.seen.stuck)
    grow(other)
    assert failures == []


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/data/far/a/b.log", "/data/far"),
        ("/data/farther/b.log", "/data"),
        ("/data/far", "/data/far"),
        ("/elsewhere", "/"),
        ("/with space\\/x", "/with space\\"),
        ("relative", ""),
    ],
)
def test_a_path_is_on_the_innermost_mount(path: str, point: str) -> None:
    """By the kernel's table alone, in which odd characters are written as numbers."""
    points = ["/", "/data", "/data/far", "/with\\040space\\134"]
    table = "".join(
        f"{number} 1 0:5 / {point} rw,relatime shared:1 - nfs a:/b rw\n" for number, point in enumerate(points)
    )
    assert mounts.Mounts(table).of(path) == point


def test_the_table_of_mounts_is_the_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Without one, all paths are of one mount."""
    assert mounts.read().of("/proc/self") == "/proc"
    monkeypatch.setattr(mounts, "_TABLE", tmp_path / "missing")
    assert mounts.read().of("/proc/self") == ""
