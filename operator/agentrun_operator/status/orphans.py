"""Whether a run may adopt a live Job whose AgentRun is gone: only if it surely is its own work that goes on there."""

from agentrun_operator import errors, facts, models, names


def find_mismatch(run: models.AgentRun, job: facts.JobFacts) -> errors.InvalidRunError | None:
    """Why the run must not take over this Job of its agent; None if it may.

    Ids are compared as their label values. The Job is never touched: its agent may be in the middle of something.
    """
    task = names.label_value(run.spec.task_id or "")
    session = names.label_value(run.spec.session.id if run.spec.session else "")
    what = f"Job {job.name} of the agent {run.spec.agent.id} is still running and its AgentRun is gone"
    if not task or not job.task:
        whose = "this run has no spec.taskId" if not task else "the Job has no task label"
        return _refusal(errors.ErrorCode.ORPHAN_TASK_UNKNOWN, f"{what}; {whose}, so nobody can say if it is this run's")
    if task != job.task:
        return _refusal(errors.ErrorCode.ORPHAN_TASK_MISMATCH, f"{what}; it works on task {job.task}, not on {task}")
    if session and job.session and session != job.session:
        return _refusal(
            errors.ErrorCode.ORPHAN_SESSION_MISMATCH,
            f"{what}; it continues the session {job.session}, this run asks for {session}",
        )
    return None


def _refusal(code: errors.ErrorCode, cause: str) -> errors.InvalidRunError:
    return errors.InvalidRunError(
        code,
        f"{cause}. Wait for its end or delete that Job, then create the run again, or with spec.reattach: false.",
    )
