"""Errors that a person reads.

    ClusterError              one sentence (or a few) that says what is wrong and what to do
    ├── MissingPrerequisite   the machine lacks something: what, why, and the command that fixes it
    └── NotReady              a component did not become healthy in time; carries the end of its log

The command line prints the text of these and exits with 1; everything else is a bug and keeps its traceback.
"""


class ClusterError(Exception):
    """Something the caller can act on; its text is complete."""


class MissingPrerequisite(ClusterError):
    """The machine lacks something that the requested level needs."""

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        """Build the sentence from `what` is missing, `why` it is needed and the command or act that is the `fix`."""
        super().__init__(f"{what}: {why}. Fix: {fix}")
        self.what = what
        self.why = why
        self.fix = fix


class NotReady(ClusterError):
    """A component is not healthy after its time limit, or died while it was waited for."""

    def __init__(self, component: str, *, reason: str, log: str, tail: str) -> None:
        """Name the `component`, the `reason`, where its `log` is, and show the `tail` of that log."""
        super().__init__(f"{component} is not ready: {reason}\nlast lines of {log}:\n{tail or '(empty)'}")
        self.component = component
