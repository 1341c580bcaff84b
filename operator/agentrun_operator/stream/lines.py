"""Bytes → lines."""

import io

# Twice the longest line that is known and wanted: results of 4 MB are real. What is longer (a file that a tool has
# read) tells nothing that is folded. Parsing lets nobody else in this process run, the event loop included: an honest
# line of 8 MiB takes 0.02 s and 25 MB, one made to hurt (millions of empty objects) a second and 280 MB, and if a field
# is of the wrong type besides, 4 s and 460 MB; all of that grows with the limit.
DEFAULT_MAX_LINE_BYTES = 8 * 1024 * 1024


class LineDecoder:
    """Cuts a stream of chunks into lines without their line end; keeps at most one unfinished line.

    A line longer than ``max_line_bytes`` is dropped as soon as that is known, and counted in ``oversized_lines``; the
    next line is read normally. Bytes are never decoded here, so no character can be cut in two.
    """

    __slots__ = ("_max", "_parts", "_size", "_skipping", "oversized_lines")

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.oversized_lines = 0
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def decode(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, in order."""
        return [without_end(line) for line in self.cut(chunk) if line != b"\n"]

    def cut(self, chunk: bytes) -> list[bytes]:
        """The same as fast as may be: empty lines are there, and the lines have their line end, but for the first one.

        JSON readers do not mind; for others there is ``without_end``.
        """
        start, end = 0, chunk.rfind(b"\n") + 1
        lines: list[bytes] = []
        if self._size and end:
            start = chunk.index(b"\n") + 1
            self._append(chunk[: start - 1])
            lines = self.flush()
        if end < len(chunk):
            self._append(chunk[end:])
        whole = io.BytesIO(chunk[start:end]).readlines()  # faster than a loop
        if end - start > self._max:
            whole = [line for line in whole if self._fits(len(line) - 1)]
        return lines + whole if lines else whole

    def flush(self) -> list[bytes]:
        """The unfinished line, if there is one; call it at the end of the stream, it may lack its line end."""
        lines = [b"".join(self._parts).removesuffix(b"\r")] if self._parts else []
        self._parts, self._size, self._skipping = [], 0, False
        return lines

    def _append(self, part: bytes) -> None:
        if self._skipping:
            return
        self._size += len(part)
        if self._fits(self._size):
            self._parts.append(part)
        else:
            self._parts, self._skipping = [], True

    def _fits(self, size: int) -> bool:
        fits = size <= self._max
        self.oversized_lines += not fits
        return fits


def without_end(line: bytes) -> bytes:
    """A line of ``LineDecoder.cut`` without its line end, if it has one."""
    return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line
