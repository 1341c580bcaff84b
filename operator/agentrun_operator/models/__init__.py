"""The AgentRun API as types: the single source of the CRD, of ``kubectl explain`` and of what the operator reads.

Field names are camelCase on the wire (Kubernetes API conventions) and snake_case here. ``hack/generate`` turns these
models into ``crds/``: descriptions, defaults, bounds, patterns and enums come from the fields, cross-field rules from
``json_schema_extra`` under the key ``x-kubernetes-validations`` (CEL, checked by the API server itself).

Models never contact anything and never fix an object up: what does not validate is refused with field, value and fix.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pydantic

from agentrun_operator import errors, names
from agentrun_operator.models import base
from agentrun_operator.models.execution import (
    Claude,
    ConcurrencyPolicy,
    ConfigDir,
    EnvVar,
    Job,
    LogRetention,
    Retention,
    Retry,
    Timeouts,
)
from agentrun_operator.models.inputs import (
    Agent,
    Approval,
    Bundle,
    ConfigMapFiles,
    KeyRef,
    Prompt,
    Session,
    Skill,
    Wake,
    Workspace,
)
from agentrun_operator.models.sharing import share
from agentrun_operator.models.spec import AgentRunSpec
from agentrun_operator.models.status import (
    AgentRunStatus,
    AttemptStatus,
    Condition,
    ConditionType,
    ErrorStatus,
    EventReason,
    ExitStatus,
    JobStatus,
    Phase,
    PromptMetrics,
    Reason,
    ResultStatus,
    SessionStatus,
    Usage,
)

__all__ = [
    "Agent",
    "AgentRun",
    "AgentRunSpec",
    "AgentRunStatus",
    "Approval",
    "AttemptStatus",
    "Bundle",
    "Claude",
    "ConcurrencyPolicy",
    "Condition",
    "ConditionType",
    "ConfigDir",
    "ConfigMapFiles",
    "EnvVar",
    "ErrorStatus",
    "EventReason",
    "ExitStatus",
    "Job",
    "JobStatus",
    "KeyRef",
    "LogRetention",
    "ObjectMeta",
    "Phase",
    "Prompt",
    "PromptMetrics",
    "Reason",
    "ResultStatus",
    "Retention",
    "Retry",
    "Session",
    "SessionStatus",
    "Skill",
    "Timeouts",
    "Usage",
    "Wake",
    "Workspace",
    "problems",
    "share",
]


def problems(body: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with an AgentRun object (as JSON): ``path: sentence`` each; [] if it is fine.

    Unlike ``AgentRun.parse`` it also names fields that the API does not have, as kubectl does.
    """
    found = [f"{path}: there is no such field" for path in base.unknown_fields(AgentRunSpec, body.get("spec"), "spec")]
    try:
        AgentRun.model_validate(body)
    except pydantic.ValidationError as e:
        found += base.sentences(e)
    return found


class ObjectMeta(base.Model):
    """The part of an object's metadata that decisions need."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    resource_version: str = ""
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()


class AgentRun(base.Model):
    """One run of the Claude Code CLI by one agent: a prompt Secret and one Job, watched to its end."""

    API_VERSION: ClassVar[str] = f"{names.GROUP}/{names.VERSION}"

    metadata: ObjectMeta
    spec: AgentRunSpec
    status: AgentRunStatus = AgentRunStatus()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Read an AgentRun object (as JSON).

        Raises InvalidRunError naming field, value and reason: the API server lets nothing of the kind through, so it
        means that the CRD on the cluster is not the one of this operator.
        """
        try:
            return cls.model_validate(body)
        except pydantic.ValidationError as e:
            raise errors.InvalidRunError(
                errors.ErrorCode.ADAPTER_FAILED,
                f"{base.sentences(e)[0]}. The API server should have refused this: install the CRD of this operator's "
                "version.",
            ) from e

    @property
    def run_id(self) -> str:
        """The orchestrator's id of this run, or the object's UID."""
        return self.spec.run_id or self.metadata.uid

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 0."""
        return self.status.attempt or 0

    @functools.cached_property
    def agent_key(self) -> str:
        """Identity of the agent for "at most one live run"."""
        return sys.intern(names.agent_key(self.metadata.namespace, self.spec.company_id, self.spec.agent.id))

    @property
    def is_final(self) -> bool:
        """Whether the run has ended; nothing about it changes any more."""
        return self.status.phase is not None and self.status.phase.final

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody asked for the end of this run, by spec.cancel or by deleting the object."""
        return self.spec.cancel or self.metadata.deletion_timestamp is not None

    @property
    def lets_go(self) -> bool:
        """Whether the object is being deleted in such a way that its Job stays (``--cascade=orphan``)."""
        return self.metadata.deletion_timestamp is not None and "orphan" in self.metadata.finalizers

    @property
    def replaced_by(self) -> str:
        """The AgentRun that had this one cancelled to take its place; "" if none did."""
        return self.metadata.annotations.get(names.ANNOTATION_REPLACED_BY, "") if self.spec.cancel else ""

    @property
    def retry_codes(self) -> frozenset[errors.ErrorCode] | None:
        """The error codes after which the run is tried again; None: those that may pass by themselves."""
        return frozenset(self.spec.retry.on) or None
