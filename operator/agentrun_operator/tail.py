"""Follow the log files of all live runs, in one thread, and fold each into a small state.

Why a thread of its own: a read on a network file system may block, and the event loop must not. Why one for all: a run
costs a heap entry and an open file here, not a thread. The constants come from the run-log design: poll every 250 ms,
every second after 5 polls without growth, back to 250 ms on growth. There is no inotify on NFS, so there is none here.

What is read is folded at once (``progress``) and forgotten; memory per run is constant. Races and their answers:

* The file is not there yet: keep looking; it is the reader's caller who knows how long is too long.
* The file is replaced or truncated (other inode, smaller size): begin again with an empty state. The state always
  describes the file as it is, so nothing is counted twice.
* An agent owns its folder and may put anything at the path: only a regular file is read, never through a symbolic link
  (the operator may read what the agent may not), never a pipe (it would block everybody).
* The end: the file is opened anew and read until the length that the pod reported, or until it stays quiet, or until
  the time is up; only then the last line without a newline counts.
"""

import contextlib
import dataclasses
import datetime
import heapq
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable

import structlog

from agentrun_operator import progress, settings, status

_log = structlog.get_logger(__name__)

_IDLE_POLLS = 5
_CHUNK_BYTES = 64 * 1024
# What one file may take before the others get their turn. Bytes alone are no limit: two million lines of one letter
# take ten seconds to parse, and the event loop may be waiting for the same lock.
_TURN_BYTES = 4 * 1024 * 1024
_TURN_SECONDS = 0.1
_STDERR_TAIL_BYTES = 8 * 1024
_RESULT_QUIET_SECONDS = 0.5  # after a result event nothing more is expected


class Tailer:
    """The thread that reads. ``follow`` a file from any thread; ``close`` ends the thread."""

    def __init__(self, config: settings.Settings) -> None:
        self._config = config
        self._due: list[tuple[float, int, LogTail]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
        self._thread.start()

    def follow(self, path: str, *, stderr_path: str, on_drained: Callable[[], None]) -> "LogTail":
        """Start reading ``path`` from its beginning. ``on_drained`` is called in the thread at the end of a drain."""
        tail = LogTail(self, path, stderr_path, on_drained)
        self.schedule(tail, 0)
        return tail

    def close(self) -> None:
        """End the thread; files stay as they are."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=5)

    def schedule(self, tail: "LogTail", delay: float) -> None:
        """Have ``tail`` polled in ``delay`` seconds."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._order), tail))
            self._changed.notify()

    def _run(self) -> None:
        while (tail := self._next()) is not None:
            try:
                delay = tail.poll(self._config)
            except Exception as e:  # noqa: BLE001 - one run's trouble must not end the thread that serves all
                _log.exception("log_unreadable", error=type(e).__name__)
                tail.give_up()
                continue
            if delay is not None:
                self.schedule(tail, delay)

    def _next(self) -> "LogTail | None":
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None


class LogTail:
    """One followed file. ``view``, ``drain`` and ``close`` are for any thread, ``poll`` only for the Tailer's.

    There is no lock: a read may hang for as long as a file server does, and nobody may wait for it. The thread owns
    everything but the two wishes that others leave (``_drain``, ``_closed``) and publishes what it knows as one value.
    """

    def __init__(self, tailer: Tailer, path: str, stderr_path: str, on_drained: Callable[[], None]) -> None:
        self._tailer = tailer
        self._path = path
        self._stderr_path = stderr_path
        self._on_drained = on_drained
        self._progress = progress.Progress()
        self._fd: int | None = None
        self._inode = 0
        self._offset = 0
        self._idle_polls = 0
        self._grown_at = time.monotonic()
        self._reopened = False
        self._view = status.LogSeen()
        self._drain: _Drain | None = None
        self._closed = False

    def view(self) -> status.LogSeen:
        """What was known after the last read; never waits."""
        return self._view

    def drain(self, expected_bytes: int | None) -> None:
        """Nothing writes the file any more: read to its end. ``expected_bytes``: its length, if the pod told it."""
        if self._drain is None and not self._closed:
            self._drain = _Drain(started=time.monotonic(), expected=expected_bytes)
            self._tailer.schedule(self, 0)

    def close(self) -> None:
        """Stop reading; the thread lets the file go."""
        self._closed = True
        self._tailer.schedule(self, 0)

    def give_up(self) -> None:
        """This file cannot be followed: report it as not there, so that the pod's own log is read in the end."""
        self._release()
        self._view = dataclasses.replace(self._view, found=False, drained=True)
        self._on_drained()

    def poll(self, config: settings.Settings) -> float | None:
        """Read what is new. Returns the seconds until the next look, None when there is none."""
        if self._closed or self._view.drained:
            self._release()
            return None
        drain = self._drain
        if drain is not None and not self._reopened:
            self._reopened = True
            self._release()  # a fresh open makes NFS look at the file anew
        grown = self._read()
        self._publish(grown=grown)
        self._idle_polls = 0 if grown else self._idle_polls + 1
        if drain is None:
            return config.poll_seconds if self._idle_polls < _IDLE_POLLS else config.idle_poll_seconds
        if not self._complete(drain, config):
            return min(config.poll_seconds, 0.05)
        self._finish()
        self._on_drained()
        return None

    def _publish(self, *, grown: bool) -> None:
        found = self._inode != 0
        if not grown and found == self._view.found:
            return
        last_growth = datetime.datetime.now(datetime.UTC) if grown else self._view.last_growth
        self._view = status.LogSeen(transcript=self._progress.snapshot(), found=found, last_growth=last_growth)

    def _complete(self, drain: "_Drain", config: settings.Settings) -> bool:
        now = time.monotonic()
        if self._inode == 0:
            return now - drain.started >= config.log_appear_seconds
        waited = now - max(self._grown_at, drain.started)
        if drain.expected is not None and self._offset >= drain.expected:
            return True
        if waited >= config.drain_seconds:
            return True
        if drain.expected is not None:
            return False
        quiet = _RESULT_QUIET_SECONDS if self._view.transcript.result_seen else config.quiet_seconds
        return waited >= quiet

    def _finish(self) -> None:
        self._progress.finish()
        self._release()
        self._view = dataclasses.replace(
            self._view,
            transcript=self._progress.snapshot(),
            stderr_tail=_read_tail(self._stderr_path, _STDERR_TAIL_BYTES),
            drained=True,
        )

    def _read(self) -> bool:
        """Read at most one turn's worth; True if there was anything."""
        read, until = 0, time.monotonic() + _TURN_SECONDS
        try:
            fd = self._open()
            while fd is not None and read < _TURN_BYTES and (not read or time.monotonic() < until):
                chunk = os.pread(fd, _CHUNK_BYTES, self._offset)
                if not chunk:
                    break
                self._progress.feed(chunk)
                self._offset += len(chunk)
                read += len(chunk)
        except PermissionError:  # as good as not there: whoever asks will turn to the pod's own log
            self._inode = 0
        except OSError:  # stale handle, server away: the file is opened anew at the next poll
            self._release()
        if not read:
            return False
        self._grown_at = time.monotonic()
        return True

    def _open(self) -> int | None:
        """A descriptor to read from, or None if there is nothing new to read."""
        try:
            seen = os.lstat(self._path)
        except FileNotFoundError:
            self._release()
            return None
        if not stat.S_ISREG(seen.st_mode):
            return None
        if seen.st_ino != self._inode or seen.st_size < self._offset:
            self._release()
            self._inode, self._offset, self._progress = seen.st_ino, 0, progress.Progress()
        if seen.st_size <= self._offset and self._drain is None:
            return None
        if self._fd is None:
            # NONBLOCK: should the file have become a pipe since, the open returns and the read finds nothing.
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        return self._fd

    def _release(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):  # the server may be gone; the descriptor is released all the same
                os.close(self._fd)
            self._fd = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Drain:
    started: float
    expected: int | None


def _read_tail(path: str, limit: int) -> str:
    """The last ``limit`` bytes of a file as text; "" if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.pread(fd, limit, max(0, os.fstat(fd).st_size - limit)).decode(errors="replace")
    except OSError:  # a folder or a pipe
        return ""
    finally:
        os.close(fd)
