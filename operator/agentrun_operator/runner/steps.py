"""The step boundaries of a run, by name: where an operator can die between one lasting effect and the next.

The chaos suite (tests/chaos) kills the operator at each of them. In production nobody listens: ``Deps.reached`` does
nothing.
"""

import enum


class Step(enum.StrEnum):
    """What has just been done, and is now on record in the cluster."""

    SECRET_CREATED = "secret-created"  # noqa: S105 - a name, not a password
    JOB_HELD = "job-held"  # the Job is there, suspended
    GUARD_PASSED = "guard-passed"  # no other Job of the agent is live
    JOB_RECORDED = "job-recorded"  # the status names the Job
    JOB_STARTED = "job-started"  # the Job may make its pod
    JOB_ADOPTED = "job-adopted"
    ADOPTION_RECORDED = "adoption-recorded"  # the status names the adopted Job
    RIVAL_CANCELLED = "rival-cancelled"
    STATUS_WRITTEN = "status-written"  # live progress
    STOP_RECORDED = "stop-recorded"  # the status says why the Job will be deleted
    JOB_DELETED = "job-deleted"
    LOG_DRAINED = "log-drained"
    SECRET_DELETED = "secret-deleted"  # noqa: S105 - a name, not a password
    ATTEMPT_ENDED = "attempt-ended"  # the status tells of the next attempt
    RUN_ENDED = "run-ended"  # the final status is written
