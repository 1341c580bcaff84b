"""Refuse large files: what is large is built or recorded elsewhere, and git keeps it for ever.

Called with paths, by pre-commit with those of a commit, and by the project's tests with all tracked ones.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

LIMIT = 500_000
"""Bytes that one file may have."""


def find_large(paths: Iterable[Path]) -> list[str]:
    """Return a sentence for each existing file over the limit."""
    return [
        f"{path} has {path.stat().st_size:,} bytes; {LIMIT:,} is the limit"
        for path in paths
        if path.is_file() and path.stat().st_size > LIMIT
    ]


if __name__ == "__main__":
    sys.exit("\n".join(find_large(map(Path, sys.argv[1:]))) or 0)
