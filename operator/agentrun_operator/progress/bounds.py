"""How much is kept of a text: a run may last for days and print gigabytes."""

MAX_RESULT_BYTES = 4096
CUT_MARK = "…"
MAX_WORD = 300  # characters: names, ids, one line
MAX_TEXT = 2000  # characters: what a person has to read


def cut_text(text: str, limit: int = MAX_RESULT_BYTES) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8, with a mark where it was cut; no character is cut in two."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return text
    return text.encode()[: limit - len(CUT_MARK.encode())].decode(errors="ignore") + CUT_MARK


def cut(text: str | None, limit: int = MAX_WORD) -> str | None:
    """``text`` in at most ``limit`` characters."""
    return text if text is None or len(text) <= limit else text[:limit]
