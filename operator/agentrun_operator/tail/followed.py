"""One run's log as others see it: what is known, the wish to read it to its end, and the end itself."""

import dataclasses
import datetime
import threading
import time
from collections.abc import Callable

import structlog

from agentrun_operator import settings, status
from agentrun_operator.tail import logfile

_IDLE_POLLS = 5
_STDERR_TAIL_BYTES = 8 * 1024
_RESULT_QUIET_SECONDS = 0.5  # after a result event nothing more is expected
_DRAIN_POLL_SECONDS = 0.05


@dataclasses.dataclass(slots=True)
class Place:
    """Where a tail stands in the Tailer's schedule; written by the Tailer alone, under its lock.

    ``ticket``: the entry of the schedule that counts. ``polled``: a thread is at it. ``woken``: wanted meanwhile.
    ``stuck``: its file, or all of its mount, does not answer.
    """

    mount: str
    ticket: int = 0
    polled: bool = False
    woken: bool = False
    stuck: bool = False


class LogTail:
    """One followed file. ``view``, ``drain`` and ``close`` are for any thread and never wait; ``poll`` reads.

    A read may hang for as long as a file server does, so no lock is held during one. The thread that polls owns the
    file and publishes what it knows as one value; others leave wishes (``drain``, ``close``). The end is published
    once, by whoever is first: the thread that has read all, or the watchdog that has waited for it long enough.
    """

    def __init__(
        self,
        path: str,
        *,
        stderr_path: str,
        on_drained: Callable[[], None],
        on_read: Callable[[], None],
        wake: Callable[["LogTail"], None],
        mount: str,
    ) -> None:
        self.path = path
        self.whose = structlog.contextvars.get_contextvars()  # for log lines: the threads work for many runs
        self.place = Place(mount)
        self.last_read = 0  # bytes, at the last poll
        self._stderr_path = stderr_path
        self._on_drained = on_drained
        self._on_read: Callable[[], None] | None = on_read
        self._wake = wake
        self._file = logfile.LogFile(path)
        self._idle_polls = 0
        self._grown_at = self._looked_at = time.monotonic()
        self._withheld = False
        self._view = status.LogSeen(unread=True)
        self._whole = False
        self._drain: _Drain | None = None
        self._closed = False
        self._ending = threading.Lock()
        self._end: status.LogSeen | None = None

    def view(self) -> status.LogSeen:
        """What was known after the last read."""
        if self._end is not None:
            return self._end
        return dataclasses.replace(self._view, stuck=True) if self.place.stuck else self._view

    def drain(self, expected_bytes: int | None) -> None:
        """Nothing writes the file any more: read to its end. ``expected_bytes``: its length, if the pod told it."""
        if self._drain is None and not self._closed:
            self._drain = _Drain(started=time.monotonic(), expected=expected_bytes)
            self._wake(self)

    def close(self) -> None:
        """Stop reading; the thread lets the file go."""
        self._closed = True
        self._wake(self)

    @property
    def draining(self) -> bool:
        """Whether somebody waits for the end."""
        return self._drain is not None and self._end is None and not self._closed

    def is_overdue(self, seconds: float) -> bool:
        """Whether the file could not be looked at for so long, since the drain began."""
        return self._drain is not None and time.monotonic() - max(self._drain.started, self._looked_at) >= seconds

    def abandon(self) -> None:
        """End without the thread that is stuck in the file: as not found, so that the pod's own log is read instead."""
        whole = self._whole  # the log is read, what hangs is the end of stderr
        self._publish_end(dataclasses.replace(self._view, found=self._view.found and whole, drained=True, stuck=True))

    def give_up(self) -> None:
        """This file cannot be followed: report it as not there, so that the pod's own log is read in the end."""
        self._file.close()
        self._publish_end(dataclasses.replace(self._view, found=False, drained=True))

    def poll(self, config: settings.Settings) -> float | None:
        """Read what is new. Returns the seconds until the next look, None when there is none."""
        self.last_read = 0
        if self._closed or self._end is not None:
            self._file.close()
            return None
        drain = self._drain
        if drain is not None and not drain.reopened:
            drain.reopened = True
            self._file.reopen()
        self.last_read = self._file.read()
        grown = self.last_read > 0
        self._looked_at = time.monotonic()
        if grown:
            self._grown_at = self._looked_at
        self._publish(grown=grown)
        self._idle_polls = 0 if grown else self._idle_polls + 1
        if drain is not None and self._complete(drain, config):
            self._finish(drain)
            return None
        return self._pause(config)

    def _pause(self, config: settings.Settings) -> float:
        if self._file.more and (self._drain is not None or not self._file.caught_up):
            return (
                0  # behind those whose turn it is; nobody but a writer in full flood is kept waiting for its own sake
            )
        if self._drain is not None:
            return min(config.poll_seconds, _DRAIN_POLL_SECONDS)
        return config.poll_seconds if self._idle_polls < _IDLE_POLLS else config.idle_poll_seconds

    def _publish(self, *, grown: bool) -> None:
        """Tell what is new. A file that was found long, after a restart, shows numbers only when all of it was read."""
        file = self._file
        overtaken = self._withheld and file.caught_up
        if not (grown or overtaken or self._view.unread) and file.found == self._view.found:
            return
        self._withheld = not file.caught_up
        self._view = status.LogSeen(
            transcript=self._view.transcript if self._withheld else file.progress.snapshot(),
            found=file.found,
            last_growth=datetime.datetime.now(datetime.UTC) if grown else self._view.last_growth,
            unread=self._view.unread and file.failed,
        )
        if self._on_read is not None and file.offset and not self._withheld:
            on_read, self._on_read = self._on_read, None
            on_read()

    def _complete(self, drain: "_Drain", config: settings.Settings) -> bool:
        now, file = time.monotonic(), self._file
        if not file.found:
            return now - drain.started >= config.log_appear_seconds
        if drain.expected is not None and file.offset >= drain.expected:
            return True
        if file.more:
            return False
        waited = now - max(self._grown_at, drain.started)
        if waited >= config.drain_seconds and file.waits_for_hole:
            file.trust_nuls()
            return False
        if waited >= config.drain_seconds:
            return True
        if drain.expected is not None or file.waits_for_hole:
            return False
        quiet = _RESULT_QUIET_SECONDS if self._view.transcript.result_seen else config.quiet_seconds
        return waited >= quiet

    def _finish(self, drain: "_Drain") -> None:
        file = self._file
        file.progress.finish()
        file.close()
        # Nothing could be read although there is something: the pod's own log may have it.
        unread = file.offset == 0 and (file.failed or bool(drain.expected))
        self._view = dataclasses.replace(
            self._view, transcript=file.progress.snapshot(), found=file.found and not unread
        )
        self._whole = True
        stderr_tail = logfile.read_tail(self._stderr_path, _STDERR_TAIL_BYTES)
        self._publish_end(dataclasses.replace(self._view, stderr_tail=stderr_tail, drained=True))

    def _publish_end(self, seen: status.LogSeen) -> None:
        with self._ending:
            if self._end is not None:
                return
            self._end = seen
        self._on_drained()


@dataclasses.dataclass(slots=True)
class _Drain:
    started: float
    expected: int | None
    reopened: bool = False
