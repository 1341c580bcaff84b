"""``status.conditions``: found, aged and set, and what the ones about the log say."""

import datetime
from collections.abc import Mapping
from typing import Any

from agentrun_operator import models
from agentrun_operator.status.observed import LogSeen, Observed


def set_condition(
    status: dict[str, Any], seen: Observed, kind: models.ConditionType, value: str, reason: str, message: str
) -> None:
    """Set one condition; its time moves only when status or reason differ from what is on record."""
    entry = {
        "type": kind.value,
        "status": value,
        "reason": str(reason),
        "message": message,
        "lastTransitionTime": rfc3339(seen.now),
        "observedGeneration": status["observedGeneration"],
    }
    before = find(seen.written, kind)
    if before is not None and (before["status"], before["reason"]) == (value, reason):
        entry["lastTransitionTime"] = before["lastTransitionTime"]
    old = find(status, kind)
    if old is None:
        status["conditions"].append(entry)
    else:
        status["conditions"][status["conditions"].index(old)] = entry


def find(status: Mapping[str, Any], kind: models.ConditionType) -> Mapping[str, Any] | None:
    """The condition of that type, None if there is none."""
    return next((c for c in status.get("conditions", ()) if c.get("type") == kind.value), None)


def condition_age(written: Mapping[str, Any], kind: models.ConditionType, reason: str, now: datetime.datetime) -> float:
    """For how many seconds the condition has had this reason; 0 if it has another."""
    entry = find(written, kind)
    if entry is None or entry.get("reason") != reason:
        return 0
    return (now - datetime.datetime.fromisoformat(entry["lastTransitionTime"])).total_seconds()


def rfc3339(moment: datetime.datetime) -> str:
    """A time as the Kubernetes API writes it: UTC, whole seconds."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def describe_log(log: LogSeen, written: Mapping[str, Any]) -> tuple[str, str, str]:
    """Status, reason and message of LogStreaming."""
    before = find(written, models.ConditionType.LOG_STREAMING) or {}
    if before.get("reason") == "Following" and log.unread and not log.stuck:
        return "True", "Following", ""  # an operator that was started again has not looked yet
    if not log.followed:
        return "False", "NoVolume", "The operator does not see the shared volume; it reads the pod's log at the end."
    if log.stuck:
        return "False", "Stuck", "The shared volume does not answer; reading goes on when it does."
    return ("True", "Following", "") if log.found else ("False", "WaitingForLog", "")


def describe_stall(seen: Observed, *, stalled: bool) -> tuple[str, str, str]:
    """Status, reason and message of Stalled."""
    if not stalled:
        return "False", "Active", ""
    since = f" since {rfc3339(seen.log.last_growth)}" if seen.log.last_growth else ""
    tool = seen.log.transcript.last_tool
    at_work = f"; its tool {tool} is at work" if tool and seen.log.transcript.open_tool else ""
    return "True", "NoOutput", f"The agent has printed nothing{since}{at_work}."
