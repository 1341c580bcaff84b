"""Why a pod has not started yet, in one word and one sentence."""

import dataclasses

from agentrun_operator import facts, models

# Reasons that do not heal by waiting for a node. Two words of the kubelet that alternate are one reason here, or the
# condition would change with every back-off and never be confirmed.
_SAME = {"ImagePullBackOff": "ErrImagePull", "ErrImageNeverPull": "ErrImagePull", "RegistryUnavailable": "ErrImagePull"}
_HOPELESS = frozenset(
    {
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
_ORDINARY = frozenset({"", "PodInitializing", "ContainerCreating"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """``ready``: the agent's process runs. ``hopeless``: waiting longer will hardly help."""

    ready: bool
    reason: str
    message: str
    hopeless: bool = False


def describe(pod: facts.PodFacts | None, *, suspended: bool = False) -> PodState:
    """The state of the run's pod as the PodReady condition tells it; ``suspended`` is its Job's."""
    if pod is None and suspended:
        return PodState(
            ready=False, reason=models.Reason.JOB_SUSPENDED, message="The Job waits for its queue to admit it."
        )
    if pod is None:
        return PodState(ready=False, reason=models.Reason.STARTING, message="The Job has not created its pod yet.")
    if pod.finished or (pod.main is not None and pod.main.terminated):
        return PodState(
            ready=False,
            reason=models.Reason.FINISHING,
            message="The agent has ended; the rest of its log is being read.",
        )
    if pod.deleting:
        return PodState(ready=False, reason=models.Reason.TERMINATING, message="The pod is being stopped.")
    if pod.main is not None and pod.main.running:
        return PodState(ready=True, reason=models.Reason.RUNNING, message="The agent is running.")
    return _pending(pod)


def _pending(pod: facts.PodFacts) -> PodState:
    scheduled = next((c for c in pod.conditions if c.type == "PodScheduled" and c.status == "False"), None)
    if scheduled is not None:
        return PodState(ready=False, reason=scheduled.reason or "Unschedulable", message=scheduled.message)
    for container in (*pod.init, *((pod.main,) if pod.main else ())):
        reason = _SAME.get(container.waiting_reason, container.waiting_reason)
        if reason not in _ORDINARY:
            return PodState(
                ready=False,
                reason=reason,
                message=f"Container {container.name}: {container.waiting_message or reason}",
                hopeless=reason in _HOPELESS,
            )
    preparing = next((c.name for c in pod.init if c.running), None)
    message = f"Init container {preparing} is running." if preparing else "The pod is starting."
    return PodState(ready=False, reason=models.Reason.STARTING, message=message)
