"""What objects of the cluster say about themselves, in the words of the suite."""

from collections.abc import Mapping
from typing import Any

HELD = "paperclip.io/held"
FINAL = frozenset({"Succeeded", "Failed", "Cancelled"})


def owner(body: Mapping[str, Any]) -> str:
    """The uid of the AgentRun that an object belongs to."""
    refs = body["metadata"].get("ownerReferences") or ()
    return next((str(ref["uid"]) for ref in refs if ref["kind"] == "AgentRun"), "")


def job_of(pod: Mapping[str, Any]) -> str:
    """The uid of a pod's Job, also when somebody has cut the pod loose from it."""
    return str((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/controller-uid", ""))


def agent_of(body: Mapping[str, Any]) -> str:
    """The agent of a Job."""
    labels = body["metadata"].get("labels") or {}
    return f"{labels.get('paperclip.io/company-id')}/{labels.get('paperclip.io/agent-id')}"


def attempt_of(job: Mapping[str, Any]) -> int:
    """The number of the attempt that a Job is for."""
    return int((job["metadata"].get("labels") or {}).get("paperclip.io/attempt") or 0)


def is_held(job: Mapping[str, Any]) -> bool:
    """Whether the Job waits to be started by the operator, and so has no pod."""
    return bool(job["spec"].get("suspend") and (job["metadata"].get("annotations") or {}).get(HELD))


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether the Job has ended."""
    conditions = job["status"].get("conditions") or ()
    return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)


def is_live(job: Mapping[str, Any]) -> bool:
    """Whether an agent runs, or may run, under it."""
    return not is_held(job) and not is_finished(job)


def is_deleted(body: Mapping[str, Any]) -> bool:
    """Whether somebody has asked for the end of the object."""
    return bool(body["metadata"].get("deletionTimestamp"))


def phase(run: Mapping[str, Any]) -> str:
    """Phase of a run; "" before the first."""
    return str(run["status"].get("phase") or "")


def completed(run: Mapping[str, Any]) -> tuple[str, str]:
    """Status and reason of the Completed condition."""
    conditions = run["status"].get("conditions") or ()
    found: Mapping[str, Any] = next((c for c in conditions if c["type"] == "Completed"), {})
    return str(found.get("status", "")), str(found.get("reason", ""))
