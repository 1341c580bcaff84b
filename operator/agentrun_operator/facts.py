"""What can be seen of a run from outside: frozen values read off Job and Pod objects.

Everything that decides (``status``, ``forensics``) reads these and never a raw Kubernetes object, so a decision can be
tested with a few words instead of a manifest. Parsing is total: whatever is missing in the object is empty here. A run
keeps two such values, so they hold a few hundred bytes, never the object itself (``managedFields`` alone is larger).
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping
from typing import Any

from agentrun_operator import names, shapes

MAIN_CONTAINER = "claude"
GRACE_SECONDS = 30  # between SIGTERM and SIGKILL, where a pod does not say: the API's default
_ENDED = frozenset({"Succeeded", "Failed"})  # phases of a pod
_LABEL_JOB_UID = "batch.kubernetes.io/controller-uid"  # set by the Job controller


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One entry of ``status.conditions`` of a Job or a Pod; ``status`` is ``True``, ``False`` or ``Unknown``.

    ``since`` (RFC 3339) is kept of a Job's ``Failed`` only.
    """

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container's state. Exactly one of waiting (``waiting_reason``), ``running`` and ``terminated`` holds.

    ``exit_code`` is 0-255 and only present when terminated; ``signal`` is what the runtime reported (0 = none).
    ``reason``, ``message`` and ``finished_at`` (RFC 3339, UTC) belong to the terminated state.
    """

    name: str
    running: bool = False
    terminated: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    exit_code: int | None = None
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""

    @property
    def has_started(self) -> bool:
        """Whether the container's process was ever started."""
        return self.running or self.terminated


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """The one pod of a Job. ``gone`` means that the object no longer exists.

    ``unseen``: it went between two lists, and what became of it after these facts was not shown.
    ``deletion_time`` (RFC 3339, "" = nobody deletes it) is when it should be gone: it includes the pod's grace period,
    ``grace_seconds``.
    """

    name: str
    uid: str
    namespace: str = ""
    version: str = ""
    job_uid: str = ""
    agent_key: str = ""
    phase: str = "Pending"
    node: str = ""
    reason: str = ""
    message: str = ""
    deletion_time: str = ""
    grace_seconds: int = GRACE_SECONDS
    gone: bool = False
    unseen: bool = False
    conditions: tuple[Condition, ...] = ()
    init: tuple[ContainerFacts, ...] = ()
    main: ContainerFacts | None = None

    @property
    def deleting(self) -> bool:
        """Whether the pod is being stopped."""
        return bool(self.deletion_time)

    @property
    def finished(self) -> bool:
        """Whether the pod is over: it has ended, or nothing more will be heard of it."""
        return self.gone or self.phase in _ENDED

    @property
    def vanished(self) -> bool:
        """Whether it was taken away before it had ended, by force; its node may not have stopped its processes yet."""
        return self.gone and self.phase not in _ENDED and bool(self.node)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """One Job. ``owner_uid`` is the uid of the AgentRun that controls it; ``log_path`` is what *this* Job writes.

    ``created_at`` and ``started_at`` are RFC 3339; it starts anew whenever it is no longer ``suspended``.
    ``gate`` is the value of its annotation *held*: such a Job waits at the gate and never had a pod ("" = it passed).
    ``task`` and ``session`` are the labels of what it works on. ``made_for`` names the AgentRun that it was made for,
    and so does ``reattached_from`` if it was adopted by another one. ``prompt_metrics`` are the characters of each part
    of its prompt.
    """

    name: str
    namespace: str
    uid: str
    owner_uid: str = ""
    owner_name: str = ""
    agent_key: str = ""
    version: str = ""
    attempt: int = 0
    made_for: str = ""
    task: str = ""
    session: str = ""
    gate: str = ""
    reattached_from: str = ""
    log_path: str = ""
    created_at: str = ""
    started_at: str = ""
    suspended: bool = False
    prompt_metrics: Mapping[str, int] | None = None
    deleting: bool = False
    gone: bool = False
    finalizers: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def adopting(self) -> bool:
        """Whether the Job was adopted and must not vanish before the status of its AgentRun names it."""
        return not self.gone and names.ADOPTION_FINALIZER in self.finalizers

    @property
    def held(self) -> bool:
        """Whether the Job waits at the gate: it is there, and cannot have a pod."""
        return self.suspended and bool(self.gate)

    @property
    def live(self) -> bool:
        """Whether an agent runs, may run, or is about to run under it."""
        return not self.finished and not self.held

    @property
    def complete(self) -> bool:
        """Whether the Job ended with success."""
        return any(c.type == "Complete" and c.status == "True" for c in self.conditions)

    @property
    def failure(self) -> Condition | None:
        """The condition that says why the Job failed, or None."""
        return next((c for c in self.conditions if c.type == "Failed" and c.status == "True"), None)

    @property
    def finished(self) -> bool:
        """Whether the Job has ended, one way or the other (a Job that is gone has ended too)."""
        return self.gone or self.complete or self.failure is not None


def parse_job(body: Mapping[str, Any]) -> JobFacts:
    """Reduce a Job object (as JSON) to what decisions need."""
    meta = shapes.mapping(body.get("metadata"))
    labels = shapes.mapping(meta.get("labels"))
    owner = _controller(meta)
    annotations = shapes.mapping(meta.get("annotations"))
    status = shapes.mapping(body.get("status"))
    namespace = shapes.word(meta.get("namespace"))
    return JobFacts(
        name=shapes.word(meta.get("name")),
        namespace=namespace,
        uid=shapes.word(meta.get("uid")),
        owner_uid=shapes.word(owner.get("uid")),
        owner_name=shapes.word(owner.get("name")),
        agent_key=_agent_key(namespace, labels),
        version=shapes.text(meta.get("resourceVersion")),
        attempt=_attempt(shapes.text(labels.get(names.LABEL_ATTEMPT))),
        made_for=shapes.word(annotations.get(names.ANNOTATION_RUN)),
        task=shapes.word(labels.get(names.LABEL_TASK_ID)),
        session=shapes.word(labels.get(names.LABEL_SESSION_ID)),
        gate=shapes.word(annotations.get(names.ANNOTATION_HELD)),
        reattached_from=shapes.word(annotations.get(names.ANNOTATION_REATTACHED_FROM)),
        log_path=shapes.word(annotations.get(names.ANNOTATION_LOG_PATH)),
        created_at=shapes.word(meta.get("creationTimestamp")),
        started_at=shapes.word(status.get("startTime")),
        suspended=shapes.mapping(body.get("spec")).get("suspend") is True,
        prompt_metrics=_counts(shapes.text(annotations.get(names.ANNOTATION_PROMPT_METRICS))),
        deleting=bool(meta.get("deletionTimestamp")),
        finalizers=tuple(shapes.word(entry) for entry in shapes.sequence(meta.get("finalizers"))),
        conditions=_conditions(status),
    )


def parse_pod(body: Mapping[str, Any]) -> PodFacts:
    """Reduce a Pod object (as JSON) to what decisions need."""
    meta = shapes.mapping(body.get("metadata"))
    labels = shapes.mapping(meta.get("labels"))
    status = shapes.mapping(body.get("status"))
    namespace = shapes.word(meta.get("namespace"))
    containers = [_container(shapes.mapping(c)) for c in shapes.sequence(status.get("containerStatuses"))]
    spec = shapes.mapping(body.get("spec"))
    grace = shapes.number(spec.get("terminationGracePeriodSeconds"))
    return PodFacts(
        name=shapes.word(meta.get("name")),
        uid=shapes.word(meta.get("uid")),
        namespace=namespace,
        version=shapes.text(meta.get("resourceVersion")),
        # The label stays when the Job is deleted in such a way that its pod loses its owner.
        job_uid=shapes.word(_controller(meta).get("uid")) or shapes.word(labels.get(_LABEL_JOB_UID)),
        agent_key=_agent_key(namespace, labels),
        phase=shapes.word(status.get("phase")) or "Pending",
        node=shapes.word(spec.get("nodeName")),
        reason=shapes.word(status.get("reason")),
        message=shapes.text(status.get("message")),
        deletion_time=shapes.word(meta.get("deletionTimestamp")),
        grace_seconds=GRACE_SECONDS if grace is None else grace,
        conditions=_conditions(status),
        init=tuple(_container(shapes.mapping(c)) for c in shapes.sequence(status.get("initContainerStatuses"))),
        main=next((c for c in containers if c.name == MAIN_CONTAINER), None),
    )


def _agent_key(namespace: str, labels: Mapping[str, Any]) -> str:
    company, agent = (shapes.text(labels.get(key)) for key in names.AGENT_LABELS)
    return sys.intern(names.agent_key(namespace, company, agent))


def _attempt(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _counts(text: str) -> dict[str, int] | None:
    try:
        counts = json.loads(text)
    except ValueError:
        return None
    return {key: value for key, value in shapes.mapping(counts).items() if isinstance(value, int)}


def _container(status: Mapping[str, Any]) -> ContainerFacts:
    state = shapes.mapping(status.get("state"))
    waiting = shapes.mapping(state.get("waiting"))
    ended = shapes.mapping(state.get("terminated"))
    return ContainerFacts(
        name=shapes.word(status.get("name")),
        running="running" in state,
        terminated="terminated" in state,
        waiting_reason=shapes.word(waiting.get("reason")),
        waiting_message=shapes.text(waiting.get("message")),
        exit_code=shapes.number(ended.get("exitCode")),
        signal=shapes.number(ended.get("signal")) or 0,
        reason=shapes.word(ended.get("reason")),
        message=shapes.text(ended.get("message")),
        started_at=shapes.word(ended.get("startedAt") or shapes.mapping(state.get("running")).get("startedAt")),
        finished_at=shapes.word(ended.get("finishedAt")),
    )


def _conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        _condition(
            shapes.text(c.get("type")),
            shapes.text(c.get("status")),
            shapes.text(c.get("reason")),
            shapes.text(c.get("message")),
            shapes.text(c.get("lastTransitionTime")) if c.get("type") == "Failed" else "",
        )
        for c in map(shapes.mapping, shapes.sequence(status.get("conditions")))
    )


@functools.lru_cache(maxsize=512)
def _condition(kind: str, status: str, reason: str, message: str, since: str) -> Condition:
    """A run's Job and pod have seven of them, which are the same as those of all other runs."""
    return Condition(type=kind, status=status, reason=reason, message=message, since=since)


def _controller(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    refs = map(shapes.mapping, shapes.sequence(meta.get("ownerReferences")))
    return next((r for r in refs if r.get("controller")), {})
