"""Whether a running agent has gone silent, and for how long.

The log is the only sign of life there is. An open tool call is allowed more: a command that compiles or tests prints
nothing to the log until it has ended.
"""

import datetime

from agentrun_operator.status.observed import Observed

# The longest that the CLI lets one command run in the foreground (its Bash tool: at most ten minutes).
TOOL_SECONDS = 600


def silence(seen: Observed) -> float | None:
    """Seconds since the agent last printed anything; None if it does not run, or nobody can say."""
    main = seen.pod.main if seen.pod else None
    if main is None or not main.running or not seen.log.followed or nobody_can_say(seen):
        return None
    since = seen.log.last_growth
    if since is None:
        since = datetime.datetime.fromisoformat(main.started_at) if main.started_at else seen.now
    return (seen.now - since).total_seconds()


def nobody_can_say(seen: Observed) -> bool:
    """Whether what is known of the log says nothing about the agent.

    A volume that does not answer, a log that nobody has looked at yet, or one that is on record and not to be found.
    """
    log = seen.log
    return log.stuck or log.unread or (not log.found and bool(seen.written.get("logBytes")))


def exceeds(seen: Observed, limit: float) -> bool:
    """Whether the agent has been silent for ``limit`` seconds, or for ten minutes more while a tool is at work."""
    quiet = silence(seen)
    if quiet is None:
        return False
    return quiet >= limit + (TOOL_SECONDS if seen.log.transcript.open_tool else 0)
