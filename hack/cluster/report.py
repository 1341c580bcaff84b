"""Progress lines on stderr, so that stdout stays free for results that scripts read."""

import collections.abc
import contextlib
import sys
import time

# A step shorter than this is not worth a line of its own, in seconds.
_WORTH_A_LINE = 1.0


def report(message: str) -> None:
    """Show one line of progress to a person."""
    sys.stderr.write(f"cluster: {message}\n")
    sys.stderr.flush()


def elapsed(seconds: float) -> str:
    """Render a duration as a person says it: `4.2 s` or `3 min 07 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


@contextlib.contextmanager
def step(message: str) -> collections.abc.Iterator[None]:
    """Time the body and report it afterwards if it took long enough to be noticed."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    if took >= _WORTH_A_LINE:
        report(f"{message}: {elapsed(took)}")
