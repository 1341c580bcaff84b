"""Bytes → lines."""

# Twice the longest line that is known and wanted: results of 4 MB are real. What is longer (a file that a tool has
# read) tells nothing that is folded. Parsing lets nobody else in this process run, the event loop included: an honest
# line of 8 MiB takes 0.04 s and 30 MB, one made to hurt (millions of empty objects) a second or two and 320 MB; both
# grow with the limit.
DEFAULT_MAX_LINE_BYTES = 8 * 1024 * 1024


class LineDecoder:
    """Cuts a stream of chunks into lines without their line end; keeps at most one unfinished line.

    A line longer than ``max_line_bytes`` is dropped as soon as that is known, and counted in ``oversized_lines``; the
    next line is read normally. Bytes are never decoded here, so no character can be cut in two.
    """

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.oversized_lines = 0
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def decode(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, in order."""
        *ended, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for part in ended:
            self._append(part)
            lines += self.flush()
        self._append(rest)
        return lines

    def flush(self) -> list[bytes]:
        """The unfinished line, if there is one; call it at the end of the stream, it may lack its line end."""
        lines = [b"".join(self._parts).removesuffix(b"\r")] if self._parts else []
        self._parts, self._size, self._skipping = [], 0, False
        return lines

    def _append(self, part: bytes) -> None:
        if not part or self._skipping:
            return
        self._size += len(part)
        if self._size > self._max:
            self._parts = []
            self._skipping = True
            self.oversized_lines += 1
        else:
            self._parts.append(part)
