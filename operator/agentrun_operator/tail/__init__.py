"""Follow the log files of all live runs, in one thread, and fold each into a small state.

Why a thread of its own: a read on a network file system may block, and the event loop must not. Why one for all: a run
costs an entry in a schedule and an open file here, not a thread. The constants come from the run-log design: poll every
250 ms, every second after 5 polls without growth, back to 250 ms on growth; with more than 750 files the pauses grow
with their number. Files that are due within 20 ms are looked at together. There is no inotify on NFS, so there is none
here. What is read is folded at once (``progress``) and forgotten; memory per run is constant.

What happens to a file is answered in ``logfile``, how its end is told in ``followed``, who reads when is said here.

A restarted operator reads every file from its beginning: the only position that cannot be wrong. That costs its length
once, at 40 to 90 MB/s for all files together, and is not seen: numbers are published from when all was read that the
file held at first sight, so they never fall behind those of the operator before. Until then only growth is told.

A read that hangs (its file server is away) cannot be interrupted. A watchdog looks at the reading thread twice a
second; when one poll has lasted for two seconds, the file is set aside together with its thread, and a new thread takes
over the rest. The run's view says ``stuck``. When the lost thread comes back, it puts its file back into the schedule
and ends, or becomes the reader if there is none. It can do no harm: it alone still owns its file, a file that is being
polled is never scheduled, and an end that the watchdog has told meanwhile (a drain whose file did not answer for
``drain_seconds``) stays told.

Threads are not spent without limit. After three polls in a row that hung, a mount counts as hung: its files wait, and
one of them is tried later and later (30 s, 1 min, 2 min, ...), until any poll on the mount comes back. At most 16
threads are set aside; mounts on trial leave the last one to the others. Then everybody waits for one to come back.
"""

import dataclasses
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable

import structlog

from agentrun_operator import settings
from agentrun_operator.tail import mounts
from agentrun_operator.tail.followed import LogTail

__all__ = ["LogTail", "Tailer"]

_log = structlog.get_logger(__name__)

_MOST_POLLS = 3000  # per second, of all files that are followed: with more of them, each is looked at less often
_SLACK_SECONDS = 0.02  # waiting for each file by itself would take more time than looking at it
_WATCH_SECONDS = 0.5
_HANG_SECONDS = 2.0
_CLOSE_SECONDS = 1.0
_MOST_ASIDE = 16
_HANGS_OF_A_MOUNT = 3
_WAIT_SECONDS = 1.0  # how often a file on a hung mount asks whether it is its turn
_RETRY_SECONDS = 30.0
_LONGEST_RETRY_SECONDS = 3600.0


@dataclasses.dataclass(eq=False, slots=True)
class _Reader:
    """A thread that polls, the file it is at, and since when."""

    tail: LogTail | None = None
    since: float = 0.0
    thread: threading.Thread | None = None


@dataclasses.dataclass(slots=True)
class _Hung:
    """A mount on which polls hang: how many since one came back, and when the next may be tried."""

    count: int = 0
    retry_at: float = 0.0


class Tailer:
    """The threads that read. ``follow`` a file from any thread; ``close`` ends them.

    ``read`` is told, in a thread, how many bytes were.
    """

    def __init__(self, config: settings.Settings, read: Callable[[int], None] = lambda _bytes: None) -> None:
        self._config = config
        self._was_read = read
        self._mounts = mounts.read()
        self._changed = threading.Condition()
        # All below belongs to whoever holds the lock, which nobody does while he touches a file or writes a log.
        self._due: list[tuple[float, int, LogTail]] = []
        self._tickets = itertools.count(1)
        self._draining: set[LogTail] = set()
        self._hung: dict[str, _Hung] = {}
        self._aside: set[_Reader] = set()
        self._reader: _Reader | None = None
        self._closed = False
        with self._changed:
            self._start_reader()
        self._ended = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="tail-watchdog", daemon=True)
        self._watchdog.start()

    def follow(
        self,
        path: str,
        *,
        stderr_path: str,
        on_drained: Callable[[], None],
        on_read: Callable[[], None] = lambda: None,
    ) -> LogTail:
        """Start reading ``path`` from its beginning.

        ``on_drained`` is called in a thread at the end of a drain, and ``on_read`` in one when everything has been read
        that the file already held, or else the first of it.
        """
        mount = self._mounts.of(path)
        tail = LogTail(
            path, stderr_path=stderr_path, on_drained=on_drained, on_read=on_read, wake=self._wake, mount=mount
        )
        self._wake(tail)
        return tail

    def lag(self) -> float:
        """For how many seconds the file has been due that waits longest for its turn."""
        with self._changed:
            return max(0.0, time.monotonic() - self._due[0][0]) if self._due else 0.0

    def threads_aside(self) -> int:
        """How many threads hang in a file that does not answer."""
        return len(self._aside)

    def close(self) -> None:
        """End the threads, without waiting for one that hangs; files stay as they are."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            reader = self._reader
        self._ended.set()
        self._watchdog.join(timeout=_CLOSE_SECONDS)
        if reader is not None and reader.thread is not None:
            reader.thread.join(timeout=_CLOSE_SECONDS)

    # --- the schedule; all but _wake under the lock --------------------------------------------------------------

    def _wake(self, tail: LogTail) -> None:
        """Have ``tail`` polled now, or once more if a thread is at it."""
        with self._changed:
            if tail.draining:
                self._draining.add(tail)
            if tail.place.polled:
                tail.place.woken = True
            else:
                self._push(tail, 0)

    def _push(self, tail: LogTail, delay: float) -> None:
        if delay and not tail.draining:
            delay = max(delay, len(self._due) / _MOST_POLLS)
        tail.place.ticket = next(self._tickets)
        due = time.monotonic() + delay
        if delay:
            due = math.ceil(due / _SLACK_SECONDS) * _SLACK_SECONDS
        heapq.heappush(self._due, (due, tail.place.ticket, tail))
        self._changed.notify()

    def _take(self, now: float) -> LogTail | None:
        """The file that is due, None if its entry is outdated or its mount is hung."""
        _, ticket, tail = heapq.heappop(self._due)
        place = tail.place
        if ticket != place.ticket:
            return None
        hung = self._hung.get(place.mount)
        if hung is not None and hung.count >= _HANGS_OF_A_MOUNT:
            if now < hung.retry_at or len(self._aside) >= _MOST_ASIDE - 1:
                place.stuck = True
                self._push(tail, _WAIT_SECONDS)
                return None
        place.polled, place.woken = True, False
        return tail

    def _put_back(self, reader: _Reader, delay: float | None) -> None:
        tail, reader.tail = reader.tail, None
        if tail is None:
            return
        self._hung.pop(tail.place.mount, None)
        tail.place.polled = tail.place.stuck = False
        if delay is not None:
            self._push(tail, 0 if tail.place.woken else delay)
        if reader in self._aside:
            self._aside.discard(reader)
            self._reader = self._reader or reader

    # --- reading -------------------------------------------------------------------------------------------------

    def _start_reader(self) -> None:
        reader = _Reader()
        reader.thread = threading.Thread(target=self._read, args=(reader,), name="tail", daemon=True)
        reader.thread.start()
        self._reader = reader

    def _read(self, reader: _Reader) -> None:
        delay: float | None = None
        while (tail := self._next(reader, delay)) is not None:
            try:
                delay = tail.poll(self._config)
                if tail.last_read:
                    self._was_read(tail.last_read)
            except Exception as e:  # noqa: BLE001 - one run's trouble must not end the thread that serves all
                _log.exception("log_unreadable", **tail.whose, error=type(e).__name__)
                tail.give_up()
                delay = None
            lasted = time.monotonic() - reader.since
            if lasted >= _HANG_SECONDS:
                _log.info("log_answers_again", **tail.whose, path=tail.path, seconds=round(lasted, 1))

    def _next(self, reader: _Reader, delay: float | None) -> LogTail | None:
        """Put the file back that was read, to be polled in ``delay`` seconds, and wait for the next."""
        with self._changed:
            self._put_back(reader, delay)
            while not self._closed and reader is self._reader:
                now = time.monotonic()
                wait = self._due[0][0] - now if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                elif (tail := self._take(now)) is not None:
                    reader.tail, reader.since = tail, now
                    return tail
        return None

    # --- hangs ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_SECONDS):
            try:
                self._look_after()
            except Exception as e:  # noqa: BLE001 - without the watchdog, the next hang would stall all runs
                _log.exception("tail_watchdog_failed", error=type(e).__name__)

    def _look_after(self) -> None:
        limit = max(self._config.drain_seconds, _HANG_SECONDS)
        with self._changed:
            stuck, aside = self._set_aside(), len(self._aside)
            if self._reader is None and aside < _MOST_ASIDE and not self._closed:
                self._start_reader()
            if self._reader is None:
                for _, _, waiting in self._due:
                    waiting.place.stuck = True
            self._draining = {tail for tail in self._draining if tail.draining}
            overdue = [tail for tail in self._draining if tail.place.stuck and tail.is_overdue(limit)]
        if stuck is not None:
            _log.warning("log_hangs", **stuck.whose, path=stuck.path, mount=stuck.place.mount, threads_aside=aside)
        for tail in overdue:
            _log.warning("log_given_up", **tail.whose, path=tail.path, seconds=limit)
            tail.abandon()

    def _set_aside(self) -> LogTail | None:
        """Take the reader for lost if its poll lasts too long; its file."""
        reader, now = self._reader, time.monotonic()
        if reader is None or reader.tail is None or now - reader.since < _HANG_SECONDS:
            return None
        self._aside.add(reader)
        self._reader = None
        reader.tail.place.stuck = True
        hung = self._hung.setdefault(reader.tail.place.mount, _Hung())
        hung.count += 1
        later = _RETRY_SECONDS * 2 ** max(0, hung.count - _HANGS_OF_A_MOUNT)
        hung.retry_at = now + min(later, _LONGEST_RETRY_SECONDS)
        return reader.tail
