"""One log file, read from its beginning as far as it goes, and what can happen to it meanwhile.

* Not there yet: nothing to read. Gone again (deleted, renamed, its folder replaced): its writer goes on writing what it
  has open, and so do we reading it.
* Another file at its place, or a shorter one, which is noticed within two seconds: begin again with an empty state. The
  state always describes the file as it is, so nothing counts twice. A stale handle means that too: a server gives the
  number of a removed file to another.
* An agent owns its folder and may put anything at the path: only a regular file is read, never through a symbolic link
  (the operator may read what the agent may not), never a pipe (it would block everybody).
* NUL bytes: a network file system may show a later write before an earlier one, and the gap reads as NULs until it is
  filled. An agent's JSON has none, so the first NUL is waited for like an end of file, a few seconds long; if it stays,
  the writer meant it, and the rest of the file is read as it is.
"""

import contextlib
import errno
import os
import stat
import time

from agentrun_operator import progress

_CHUNK_BYTES = 64 * 1024
# What one file may take before the others get their turn. Bytes alone are no limit: two million lines of one letter
# take ten seconds to parse, and the event loop may be waiting for the same lock.
_TURN_BYTES = 4 * 1024 * 1024
_TURN_SECONDS = 0.1
_HOLE_SECONDS = 5
_TRUST_SECONDS = 2.0  # asking what is at the path takes three times as long as reading what is open


class LogFile:
    """A file being read, by one thread. ``read`` and ``close`` may hang for as long as a file server does.

    ``found``: there is such a file and it may be read. ``failed``: the last look met an error. ``more``: it ended only
    because its turn was over. ``caught_up``: all was read that the file held when it was first seen, so ``progress`` is
    no older than what anybody knew before.
    """

    def __init__(self, path: str) -> None:
        self.progress = progress.Progress()
        self.offset = 0
        self.found = False
        self.failed = False
        self.more = False
        self._path = path
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None
        self._trusted_until = 0.0  # so long what is open is taken for what is at the path
        self._reopen = False
        self._believes_size = True
        self._first_size = 0
        self._hole_since: float | None = None
        self._trusts_nuls = False

    @property
    def caught_up(self) -> bool:
        """See the class."""
        return self.offset >= self._first_size

    @property
    def waits_for_hole(self) -> bool:
        """Whether the next bytes are NULs that may still become something else."""
        return self._hole_since is not None

    def trust_nuls(self) -> None:
        """Wait for no hole any more: what reads as NULs is NULs."""
        self._hole_since, self._trusts_nuls = None, True

    def reopen(self) -> None:
        """Open the file anew and read whatever its size is said to be: NFS may know the size of a while ago."""
        self._reopen, self._believes_size = True, False

    def read(self) -> int:
        """Read at most one turn's worth. Returns how many bytes there were."""
        read, now = 0, time.monotonic()
        until = now + _TURN_SECONDS
        self.failed = self.more = False
        try:
            fd = self._open(now)
            while fd is not None and read < _TURN_BYTES and (not read or time.monotonic() < until):
                chunk, is_last = self._chunk(fd)
                if not chunk:
                    self._first_size = 0  # the end, even if the file was longer once
                    break
                self.progress.feed(chunk)
                self.offset += len(chunk)
                read += len(chunk)
                if is_last and self.caught_up:
                    break
            else:
                self.more = fd is not None
        except PermissionError:  # as good as not there: whoever asks will turn to the pod's own log
            self.found, self._identity = False, None
        except OSError as e:  # stale handle, server away: the file is opened anew at the next look
            self.close()
            self.failed = True
            if e.errno == errno.ESTALE:
                self._identity = None
        return read

    def close(self) -> None:
        """Let the file go; a later look opens it again."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):  # the server may be gone; the descriptor is released all the same
                os.close(fd)

    def _open(self, now: float) -> int | None:
        """A descriptor to read from, or None if there is nothing new to read."""
        if self._fd is not None and not self._reopen and now < self._trusted_until:
            return self._fd
        try:
            seen = os.lstat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return self._fd
        if not stat.S_ISREG(seen.st_mode):
            return self._fd
        identity = (seen.st_dev, seen.st_ino)
        if identity != self._identity or seen.st_size < self.offset:
            self._begin(identity, seen.st_size)
        self._trusted_until = now + _TRUST_SECONDS
        if seen.st_size <= self.offset and self._believes_size:
            self._first_size = 0
            return None
        if self._fd is None or self._reopen:
            # NONBLOCK: should the file have become a pipe since, the open returns and the read fails.
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            self.close()
            self._fd, self._reopen = fd, False
        return self._fd

    def _begin(self, identity: tuple[int, int], size: int) -> None:
        self.close()
        self.progress = progress.Progress()
        self.offset, self._first_size = 0, size
        self.found, self._identity = True, identity
        self._hole_since, self._trusts_nuls = None, False

    def _chunk(self, fd: int) -> tuple[bytes, bool]:
        """The next bytes, up to a hole that may still be filled, and whether the file ended behind them."""
        chunk = os.pread(fd, _CHUNK_BYTES, self.offset)
        if self._trusts_nuls or b"\0" not in chunk:
            self._hole_since = None
            return chunk, len(chunk) < _CHUNK_BYTES
        before = chunk[: chunk.index(b"\0")]
        if before:
            return before, False
        now = time.monotonic()
        if self._hole_since is None:
            self._hole_since = now
        if now - self._hole_since < _HOLE_SECONDS:
            self._reopen = True  # the gap may be in this machine's cache only
            return b"", False
        self.trust_nuls()
        return chunk, False


def read_tail(path: str, limit: int) -> str:
    """The last ``limit`` bytes of a file as text; "" if it cannot be read. The rules of a log file hold."""
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
