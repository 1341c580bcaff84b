"""Causes that Kubernetes knows: the pod could not start, or something took it away."""

import datetime
from collections.abc import Callable, Iterator

from agentrun_operator import errors, facts
from agentrun_operator.forensics import case, messages

_Code = errors.ErrorCode

_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
        "RegistryUnavailable",
    }
)  # fmt: skip
_CONFIG_REASONS = frozenset(
    {
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError",
        "PreStartHookError", "PostStartHookError", "StartError", "ContainerCannotRun",
    }
)  # fmt: skip
_KILLED_BY_KERNEL = 137


def find_oom(known: case.Facts) -> case.Failure | None:
    """The kernel killed the agent for memory.

    The runtime reports OOMKilled for *any* process of the container: with another exit code it was a child of the agent
    (a test run, say), and what the agent itself said about its end counts.
    """
    ended = known.agent
    if ended is None or ended.reason != "OOMKilled":
        return None
    if known.exit_code != _KILLED_BY_KERNEL and (known.exit_code == 0 or known.transcript.result is not None):
        return None
    text = messages.sentence(
        f"The agent was killed because it ran out of memory ({messages.exit_words(known.exit_code)}, OOMKilled).",
        "Raise spec.job.resources.limits.memory, or give the agent less to do at once.",
    )
    return case.Failure(code=_Code.OOM_KILLED, message=text)


def find_cause(known: case.Facts) -> case.Failure | None:
    """Any other cause that Job and pod show, the most telling first."""
    return next(filter(None, (look(known) for look in _LOOKS)), None)


def _node_lost(known: case.Facts) -> case.Failure | None:
    pod = known.pod
    if pod is None:
        return None
    disruption = _condition(pod, "DisruptionTarget")
    lost = disruption is not None and (
        disruption.reason == "DeletionByPodGC"
        or (disruption.reason == "DeletionByTaintManager" and known.exit_code is None)
    )
    forgotten = known.agent is not None and known.agent.reason == "ContainerStatusUnknown" and disruption is None
    if not (lost or forgotten or pod.reason == "NodeLost"):
        return None
    text = messages.sentence(
        f"The node {pod.node or '(unknown)'} was lost while the agent ran on it; how the agent ended is not known.",
        _said(pod.message or (disruption.message if disruption else "")),
        "Look at the node's events; the run can be started again.",
    )
    return case.Failure(code=_Code.NODE_LOST, message=text)


def _evicted(known: case.Facts) -> case.Failure | None:
    pod = known.pod
    if pod is None:
        return None
    disruption = _condition(pod, "DisruptionTarget")
    if disruption is None and pod.reason not in {"Evicted", "Preempting", "Terminated", "NodeShutdown"}:
        return None
    why = (disruption.reason if disruption else "") or pod.reason
    text = messages.sentence(
        f"The pod {pod.name} was evicted from node {pod.node or '(unknown)'} ({why}).",
        _said(pod.message or (disruption.message if disruption else "")),
        "The run can be started again; a priority class or larger resource requests make this rarer.",
    )
    return case.Failure(code=_Code.POD_EVICTED, message=text)


def _deadline(known: case.Facts) -> case.Failure | None:
    failure = known.job.failure if known.job else None
    if failure is None or (failure.reason != "DeadlineExceeded" and not _was_cut_at_the_limit(known)):
        return None
    text = messages.sentence(
        "Kubernetes stopped the Job because it ran longer than its limit"
        + (f" of {known.limit_seconds} s (spec.timeouts.timeoutSeconds)." if known.limit_seconds else "."),
        "Raise the limit if the work needs more time; the session can be resumed.",
    )
    return case.Failure(code=_Code.TIMEOUT, message=text)


def _was_cut_at_the_limit(known: case.Facts) -> bool:
    """Whether the agent was killed with its pod when the Job's time was up.

    The Job controller deletes the pod and then writes down why. When that write fails, it finds a failed pod the next
    time, and says BackoffLimitExceeded. Nobody may have seen that pod.
    """
    job, pod, agent = known.job, known.pod, known.agent
    if job is None or job.failure is None or not known.limit_seconds:
        return False
    if pod is None or pod.unseen:
        return _seconds(job.started_at, job.failure.since) >= known.limit_seconds
    if agent is None or not (known.killed and pod.deleting):
        return False
    return _seconds(job.started_at, agent.finished_at) >= known.limit_seconds


def _seconds(began: str, ended: str) -> float:
    """From one time to the other; 0 where one of them is not known."""
    if not (began and ended):
        return 0
    return (datetime.datetime.fromisoformat(ended) - datetime.datetime.fromisoformat(began)).total_seconds()


def _init_failed(known: case.Facts) -> case.Failure | None:
    if known.pod is None or known.started:
        return None
    failed = next((c for c in known.pod.init if c.terminated and c.exit_code not in {0, None}), None)
    if failed is None:
        return None
    text = messages.sentence(
        f"The init container {failed.name} failed with {messages.exit_words(failed.exit_code)}",
        f"({failed.reason})." if failed.reason else "and gave no reason.",
        _said(failed.message),
        f"The agent was never started. See its output: kubectl logs {known.pod.name} -c {failed.name}.",
    )
    return case.Failure(code=_Code.INIT_FAILED, message=text)


def _image_pull(known: case.Facts) -> case.Failure | None:
    stuck = next((c for c in find_waiting(known) if c.waiting_reason in _IMAGE_REASONS), None)
    if stuck is None:
        return None
    text = messages.sentence(
        f"The image of container {stuck.name} could not be pulled ({stuck.waiting_reason}).",
        _said(stuck.waiting_message),
        "Check the image's name and tag, and spec.job.imagePullSecrets.",
    )
    # A name that is not valid stays so; a registry may come back.
    return case.Failure(
        code=_Code.IMAGE_PULL_FAILED, message=text, retryable=stuck.waiting_reason != "InvalidImageName"
    )


def _pod_config(known: case.Facts) -> case.Failure | None:
    for container in find_waiting(known):
        if container.waiting_reason in _CONFIG_REASONS:
            return _config_failure(container.name, container.waiting_reason, container.waiting_message)
    ended = known.agent
    if ended is not None and ended.terminated and ended.reason in _CONFIG_REASONS:
        return _config_failure(ended.name, ended.reason, ended.message)
    return None


def _config_failure(name: str, reason: str, message: str) -> case.Failure:
    text = messages.sentence(
        f"The container {name} could not be created or started ({reason}).",
        _said(message),
        "Check that every Secret, ConfigMap and volume that the run names exists, and the image's command.",
    )
    return case.Failure(code=_Code.POD_CONFIG_ERROR, message=text)


def _quota(known: case.Facts) -> case.Failure | None:
    found = next(
        (c for c in _conditions(known) if c.reason == "QuotaExceeded" or "exceeded quota" in c.message.lower()), None
    )
    if found is None or known.started:
        return None
    text = messages.sentence(
        "The namespace's quota does not allow this pod.",
        _said(found.message),
        "Wait for other pods to end, or raise the ResourceQuota.",
    )
    return case.Failure(code=_Code.QUOTA_EXCEEDED, message=text)


def _unschedulable(known: case.Facts) -> case.Failure | None:
    scheduled = _condition(known.pod, "PodScheduled", status="False") if known.pod else None
    if scheduled is None or known.started or scheduled.reason not in {"Unschedulable", "SchedulingGated"}:
        return None
    text = messages.sentence(
        f"No node could take the pod ({scheduled.reason}).",
        _said(scheduled.message),
        "Check resource requests, node selector, tolerations and volumes against the nodes there are.",
    )
    return case.Failure(code=_Code.UNSCHEDULABLE, message=text)


def _not_admitted(known: case.Facts) -> case.Failure | None:
    pod = known.pod
    if pod is None or pod.phase != "Failed" or known.started:
        return None
    text = messages.sentence(
        f"The pod {pod.name} failed before the agent was started ({pod.reason or 'no reason given'}).",
        _said(pod.message),
        "See: kubectl describe pod.",
    )
    return case.Failure(code=_Code.POD_SCHEDULE_FAILED, message=text)


_LOOKS: tuple[Callable[[case.Facts], case.Failure | None], ...] = (
    _node_lost,
    _evicted,
    _deadline,
    _init_failed,
    _image_pull,
    _pod_config,
    _quota,
    _unschedulable,
    _not_admitted,
)


def find_waiting(known: case.Facts) -> Iterator[facts.ContainerFacts]:
    """The containers that keep the agent from starting."""
    if not known.started and known.pod is not None:
        main = (known.pod.main,) if known.pod.main else ()
        yield from (c for c in (*known.pod.init, *main) if c.waiting_reason)


def _conditions(known: case.Facts) -> Iterator[facts.Condition]:
    yield from known.pod.conditions if known.pod else ()
    yield from known.job.conditions if known.job else ()


def _condition(pod: facts.PodFacts, kind: str, *, status: str = "True") -> facts.Condition | None:
    return next((c for c in pod.conditions if c.type == kind and c.status == status), None)


def _said(message: str) -> str:
    quoted = messages.quote(message)
    return messages.full_stop(f"Kubernetes says: {quoted}") if quoted else ""
