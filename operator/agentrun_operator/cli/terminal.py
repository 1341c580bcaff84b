"""What is known of where the output goes."""

import dataclasses
import os
import shutil
from typing import TextIO


@dataclasses.dataclass(frozen=True, slots=True)
class Terminal:
    """``color``: it shows colours, and nobody minds. ``width`` in columns; None: lines may have any length."""

    color: bool
    width: int | None


def find(stream: TextIO) -> Terminal:
    """The terminal behind ``stream``, or what stands for one in a file or pipe."""
    if not stream.isatty():
        return Terminal(color=False, width=None)
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return Terminal(color=not plain, width=shutil.get_terminal_size().columns)
