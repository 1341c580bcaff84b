"""``spec``: what users write."""

import enum
from typing import Annotated

import pydantic

from agentrun_operator.models import base


SessionId = Annotated[
    str,
    base.text(
        r"^[a-zA-Z0-9][a-zA-Z0-9-]*$",
        "must be a session id as status.session.id gives it: letters, digits and hyphens",
        most=128,
    ),
]
ModelId = Annotated[
    str,
    base.text(
        r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]*$",
        "must be a model id or alias such as sonnet: letters, digits and any of . _ : / @ [ ] -",
        most=256,
    ),
]


class Agent(base.Model):
    """The agent whose work this run is. At most one run of an agent is live at any time."""

    id: base.Id = pydantic.Field(description="The orchestrator's id of the agent: letters, digits and hyphens.")
    name: str | None = pydantic.Field(None, max_length=253, description="Display name of the agent, free text.")


class Session(base.Model):
    """The Claude session to continue. Left out: a new session is begun."""

    id: SessionId = pydantic.Field(
        description="Id of the session to resume, as status.session.id of an earlier run of the same agent gave it."
    )
    cwd: base.AbsolutePath | None = pydantic.Field(
        None, description="Working directory of that session; a session can only be resumed where it was begun."
    )


class Prompt(base.Model):
    """What the agent is told. It is stored in a Secret and reaches the CLI byte for byte on its standard input."""

    text: str = pydantic.Field(
        min_length=1, max_length=base.MAX_PROMPT_CHARACTERS, description="The prompt, up to about 1 MiB in UTF-8."
    )


class Effort(enum.StrEnum):
    """Reasoning effort levels of the CLI."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class Claude(base.Model):
    """How the Claude Code CLI is called."""

    model: ModelId | None = pydantic.Field(
        None, description="Model id or alias (--model). Left out: the CLI's own default."
    )
    effort: Effort | None = pydantic.Field(
        None, description="Reasoning effort (--effort). Left out: the CLI's default."
    )
    max_turns: int = pydantic.Field(1000, ge=1, le=100_000, description="Most agentic turns (--max-turns).")
    max_budget_usd: base.Decimal | None = pydantic.Field(
        None,
        alias="maxBudgetUSD",
        description="Spend limit in US dollars as a decimal string, for example '2.50' (--max-budget-usd). The CLI "
        "prices with its own table, so it is a guard rail and no invoice.",
    )
    max_retries: int | None = pydantic.Field(
        None,
        ge=0,
        le=100,
        description="Retries of a failing API request (CLAUDE_CODE_MAX_RETRIES). Left out: 10, which takes about three "
        "minutes before an error is reported.",
    )
    api_timeout_seconds: int | None = pydantic.Field(
        None,
        ge=1,
        le=86_400,
        description="Limit for one API request in seconds (API_TIMEOUT_MS). Left out: the CLI waits for up to ten "
        "minutes per attempt.",
    )
    skip_permissions: bool = pydantic.Field(
        default=True,
        description="Run tools without asking (--dangerously-skip-permissions). Nobody can answer a question in a Job, "
        "so with false every tool that needs permission is denied.",
    )


class ImagePullPolicy(enum.StrEnum):
    """When the image is pulled, as in a Pod."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Job(base.Model):
    """How the Job and its pod look where the operator's defaults do not fit."""

    image: Annotated[str, pydantic.Field(min_length=1, max_length=512)] | None = pydantic.Field(
        None, description="Image with the claude executable and a POSIX shell. Left out: the operator's default image."
    )
    image_pull_policy: ImagePullPolicy = pydantic.Field(
        ImagePullPolicy.IF_NOT_PRESENT, description="When the image is pulled."
    )
    image_pull_secrets: tuple[base.KubernetesObject, ...] = pydantic.Field(
        (), max_length=16, description="Secrets for pulling the image, as in a Pod: [{name: …}]."
    )
    service_account_name: Annotated[str, pydantic.Field(max_length=253)] | None = pydantic.Field(
        None, description="ServiceAccount of the pod. Its token is never mounted."
    )
    env: tuple[base.KubernetesObject, ...] = pydantic.Field(
        (),
        max_length=256,
        description="Environment variables as in a container: {name, value} or {name, valueFrom}. They win over the "
        "operator's, but for HOME and what keeps runs apart.",
    )
    env_from: tuple[base.KubernetesObject, ...] = pydantic.Field(
        (),
        max_length=64,
        description="Secrets and ConfigMaps whose keys become environment variables, as in a container.",
    )
    resources: base.KubernetesObject | None = pydantic.Field(
        None,
        description="Requests and limits of the agent's container. Left out: requests 1 CPU and 2Gi, limits 4 CPU and "
        "8Gi.",
    )
    node_selector: dict[str, str] = pydantic.Field({}, max_length=64, description="Labels a node must have.")
    tolerations: tuple[base.KubernetesObject, ...] = pydantic.Field(
        (), max_length=64, description="Taints that are tolerated, as in a Pod."
    )
    working_dir: base.AbsolutePath | None = pydantic.Field(
        None, description="Directory the agent starts in. Left out: spec.session.cwd, else the shared volume's mount."
    )
    pod_template: base.KubernetesObject | None = pydantic.Field(
        None,
        description="Strategic-merge patch for the pod template: {metadata: …, spec: …}, for all that has no field of "
        "its own. It cannot change the agent's command, its prompt volume or the operator's labels.",
    )


class Timeouts(base.Model):
    """How long a run may take. All values are seconds."""

    timeout_seconds: int = pydantic.Field(
        0, ge=0, le=31_536_000, description="Limit for the whole run from the start of its Job. 0: none."
    )
    pending_seconds: int = pydantic.Field(
        600, ge=1, le=604_800, description="How long the pod may take to start before the run fails."
    )
    result_grace_seconds: int = pydantic.Field(
        30, ge=1, le=86_400, description="How long the CLI may keep running after it printed its result."
    )


class Retention(base.Model):
    """What is kept after the end."""

    job_ttl_seconds_after_finished: int = pydantic.Field(
        300,
        ge=0,
        le=31_536_000,
        alias="jobTTLSecondsAfterFinished",
        description="The Job and its pod are deleted this long after they finished.",
    )
    retain_job: bool = pydantic.Field(
        default=False, description="Keep the Job and its pod until the AgentRun is deleted."
    )


_FIXED = ("companyId", "agent", "runId", "taskId", "session", "prompt", "claude", "job", "timeouts")
_SPEC_RULES: list[pydantic.JsonValue] = [
    *(base.immutable(field) for field in _FIXED),
    base.rule(
        "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
        "spec.cancel cannot be taken back; create a new AgentRun instead",
    ),
]


class AgentRunSpec(base.Model):
    """What to run. Everything but cancel and retention is fixed once the object is created."""

    model_config = pydantic.ConfigDict(json_schema_extra={"x-kubernetes-validations": _SPEC_RULES})

    company_id: base.Id = pydantic.Field(description="The company (tenant) the agent belongs to.")
    agent: Agent = pydantic.Field(description="The agent whose work this run is.")
    run_id: base.Id | None = pydantic.Field(
        None,
        description="The orchestrator's id of this run, part of the Job's name and of the log's path. Left out: the "
        "object's UID.",
    )
    task_id: base.Id | None = pydantic.Field(None, description="Task or issue that the run works on.")
    session: Session | None = pydantic.Field(None, description="The Claude session to continue.")
    prompt: Prompt = pydantic.Field(description="What the agent is told.")
    claude: Claude = pydantic.Field(Claude(), description="How the Claude Code CLI is called.")
    job: Job = pydantic.Field(Job(), description="How the Job and its pod look.")
    timeouts: Timeouts = pydantic.Field(Timeouts(), description="How long a run may take.")
    retention: Retention = pydantic.Field(Retention(), description="What is kept after the end.")
    cancel: bool = pydantic.Field(
        default=False,
        description="Set to true to stop the run: its Job is gone within 15 seconds. Cannot be taken back.",
    )
