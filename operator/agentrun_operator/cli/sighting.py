"""Pod and Job of one run as somebody saw them in a cluster and saved them to a file."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from agentrun_operator.cli import documents

# What the Job controller says of a Job whose only pod has ended so.
_ENDS = {
    "Succeeded": {"type": "Complete", "status": "True"},
    "Failed": {
        "type": "Failed",
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "Job has reached the specified backoff limit",
    },
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The objects as JSON; ``pod`` is None and ``job`` empty if it was not seen."""

    pod: Mapping[str, Any] | None
    job: Mapping[str, Any]

    @property
    def job_status(self) -> Mapping[str, Any]:
        """The status of the Job, or else what it must be for that pod."""
        if self.job:
            return self.job.get("status") or {}
        phase = ((self.pod or {}).get("status") or {}).get("phase")
        return {"conditions": [_ENDS[phase]] if phase in _ENDS else []}


def read(option: str, path: str) -> Sighting:
    """The pod, the Job or both in a file that ``option`` named. Raises InputError for anything else."""
    bodies = [document.body for document in documents.read([path])]
    pods = [body for body in bodies if body.get("kind") == "Pod"]
    jobs = [body for body in bodies if body.get("kind") == "Job"]
    if not bodies or len(pods) > 1 or len(jobs) > 1 or len(pods) + len(jobs) < len(bodies):
        raise documents.InputError(f"{option} {path}: it has to hold one Pod, and at most one Job beside it")
    return Sighting(pod=pods[0] if pods else None, job=jobs[0] if jobs else {})
