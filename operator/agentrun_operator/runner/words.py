"""What has an agent, in the words of the runs that wait for it."""

from agentrun_operator import facts, models


def describe(job: facts.JobFacts, *, of: models.AgentRun) -> str:
    """A Job in the words of those who wait for it."""
    if job.owner_uid == of.metadata.uid:
        return f"Job {job.name} of an earlier attempt"
    return f"AgentRun {job.owner_name}" if job.owner_name else f"Job {job.name}, which has no AgentRun"


def describe_stray(pod: facts.PodFacts) -> str:
    """A pod that outlived its Job, in the words of those who wait for it."""
    node = f" on node {pod.node}" if pod.node else ""
    return f"pod {pod.name}, which is still there{node} although its Job is over"


def describe_fading(pod: facts.PodFacts) -> str:
    """A pod that was taken away by force, in the same way."""
    seconds = pod.grace_seconds
    return f"pod {pod.name}, which was removed by force; its agent may go on for up to {seconds} s on node {pod.node}"
