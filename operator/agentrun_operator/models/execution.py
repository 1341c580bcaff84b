"""How it is run: the CLI, the Job and its pod, limits, retries, and what is kept."""

import enum
import re
from collections.abc import Iterable
from typing import Annotated, ClassVar

import pydantic

from agentrun_operator import errors, names
from agentrun_operator.models import base

_ModelId = Annotated[
    str,
    base.text(
        r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]*$",
        "must be a model id or alias such as sonnet: letters, digits and any of . _ : / @ [ ] -",
        most=256,
    ),
]
_Argument = Annotated[str, base.text(*base.NO_NUL, most=8000)]
_Image = Annotated[str, base.text(r"^[!-~]+$", "must be the name of an image, without any space", least=1, most=512)]
_VariableName = Annotated[
    str,
    base.text(
        r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
        "must be the name of an environment variable: letters, digits and any of - _ . and no digit first",
        most=253,
    ),
]
_QueueName = Annotated[
    str,
    base.text(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "must be the name of a LocalQueue: small letters, digits and hyphens",
        most=63,
    ),
]
_LabelValue = Annotated[
    str,
    base.text(
        r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        "must be a label value: at most 63 letters, digits and any of - _ . with a letter or digit at both ends",
        most=63,
    ),
]
_AnnotationValue = Annotated[str, pydantic.Field(max_length=65_536)]

# What would change what the operator reads, or stands for a field of its own. The CLI takes short options in clusters.
_TAKEN_OPTIONS = (
    "output-format|input-format|print|help|version|resume|continue|session-id|model|effort|max-turns|max-budget-usd"
    "|dangerously-skip-permissions"
)
_TAKEN_LONG = rf"(?s)^--(({_TAKEN_OPTIONS})(=.*)?)?$"
_TAKEN_SHORT = r"^-[a-zA-Z]*[chprv]"
_KEY = (
    r"^([a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?)*/)?"
    r"[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?$"
)
_LONGEST_KEY = 253 + 1 + 63  # asked first, because an expression on a longer one may cost too much
_RESERVED_KEY = (
    rf"^({names.GROUP}/.*|.*batch\.kubernetes\.io/.*|app\.kubernetes\.io/(managed-by|component)"
    r"|controller-uid|job-name|kueue\.x-k8s\.io/queue-name)$"
)


def _cel(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


class Effort(enum.StrEnum):
    """Reasoning effort levels of the CLI."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class ConfigDir(enum.StrEnum):
    """Where the CLI keeps its state."""

    PER_AGENT = "PerAgent"
    SHARED = "Shared"


class Claude(base.Model):
    """How the Claude Code CLI is called."""

    RULES: ClassVar = (
        base.Rule(
            "!has(self.extraArgs) || self.extraArgs.size() == 0 || self.extraArgs[0].matches('^--?[a-zA-Z]')",
            "extraArgs has to begin with an option: a bare word would become part of the prompt",
            lambda self: not self.extra_args or re.match("--?[a-zA-Z]", self.extra_args[0]) is not None,
        ),
        base.Rule(
            # Only the beginning, longer than any of the names: a long expression on a long text costs too much.
            f"!has(self.extraArgs) || !self.extraArgs.exists(a, a.matches('{_TAKEN_SHORT}') || "
            f"(a.size() > 40 ? a.substring(0, 40) : a).matches('{_TAKEN_LONG}'))",
            "extraArgs must not contain options that the operator sets itself or that end or change its output: "
            "output-format, input-format, print, help, version, resume, continue, session-id (use spec.session), "
            "model, effort, max-turns, max-budget-usd, dangerously-skip-permissions (use spec.claude), nor -c -h -p -r "
            "-v, nor --, behind which everything is prompt",
            lambda self: (
                not any(
                    re.match(_TAKEN_SHORT, argument) or re.fullmatch(_TAKEN_LONG, argument)
                    for argument in self.extra_args
                )
            ),
        ),
    )

    model: _ModelId | None = pydantic.Field(
        None, description="Model id or alias (--model). Left out: the CLI's own default."
    )
    effort: Effort | None = pydantic.Field(
        None, description="Reasoning effort (--effort). Left out: the CLI's default."
    )
    max_turns: base.Integer = pydantic.Field(1000, ge=1, le=100_000, description="Most agentic turns (--max-turns).")
    max_budget_usd: base.Decimal | None = pydantic.Field(
        None,
        alias="maxBudgetUSD",
        description="Spend limit in US dollars as a decimal string, for example '2.50' (--max-budget-usd). The CLI "
        "prices with its own table, so it is a guard rail and no invoice.",
    )
    max_retries: Annotated[int, pydantic.Field(ge=0, le=100), base.NUMBER] | None = pydantic.Field(
        None,
        description="Retries of a failing API request (CLAUDE_CODE_MAX_RETRIES). Left out: 10, which takes about three "
        "minutes before an error is reported.",
    )
    api_timeout_seconds: Annotated[int, pydantic.Field(ge=1, le=86_400), base.NUMBER] | None = pydantic.Field(
        None,
        description="Limit for one API request in seconds (API_TIMEOUT_MS). Left out: the CLI waits for up to ten "
        "minutes per attempt.",
    )
    skip_permissions: base.Flag = pydantic.Field(
        default=True,
        description="Run tools without asking (--dangerously-skip-permissions). Nobody can answer a question in a Job, "
        "so with false every tool that needs permission is denied.",
    )
    extra_args: tuple[_Argument, ...] = pydantic.Field(
        (),
        max_length=64,
        description="Further arguments of the CLI, put last. They are passed as they are: no shell reads them.",
    )
    config_dir: ConfigDir = pydantic.Field(
        ConfigDir.PER_AGENT,
        description="PerAgent: each agent has its own CLAUDE_CONFIG_DIR. Shared: all use ~/.claude on the shared "
        "volume, where agents that run at the same time may damage each other's configuration.",
    )


class ImagePullPolicy(enum.StrEnum):
    """When the image is pulled, as in a Pod."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class EnvVar(base.Model):
    """An environment variable, as in a container."""

    RULES: ClassVar = (
        base.Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "value and valueFrom cannot both be given",
            lambda self: self.value is None or self.value_from is None,
        ),
    )

    name: _VariableName = pydantic.Field(description="Name of the variable.")
    # No base.text: its rule, on 256 long values, would cost more than the API server lets a CRD have.
    value: Annotated[str, pydantic.Field(pattern=base.NO_NUL[0], max_length=base.MAX_ARGUMENT_BYTES)] | None = (
        pydantic.Field(None, description="Its value; $(NAME) stands for an earlier variable, as in a container.")
    )
    value_from: base.JsonObject | None = pydantic.Field(
        None, description="Where its value comes from, as in a container: {secretKeyRef: {name, key}} and so on."
    )


def _keys_rules(field: str, attribute: str) -> tuple[base.Rule, ...]:
    """Rules for the keys of labels or annotations."""

    def keys(job: "Job") -> Iterable[str]:
        return getattr(job, attribute)  # type: ignore[no-any-return]

    return (
        base.Rule(
            f"!has(self.{field}) || self.{field}.all(k, k.size() <= {_LONGEST_KEY} && k.matches('{_cel(_KEY)}'))",
            f"the keys of {field} have to be of the form name or prefix/name: a name of at most 63 letters, digits and "
            "any of - _ . behind a prefix of at most 253",
            lambda self: all(re.fullmatch(_KEY, key) for key in keys(self)),
        ),
        base.Rule(
            f"!has(self.{field}) || "
            f"!self.{field}.exists(k, k.size() <= {_LONGEST_KEY} && k.matches('{_cel(_RESERVED_KEY)}'))",
            f"{field} must not contain keys that belong to the operator or to Kubernetes: {names.GROUP}/…, "
            "batch.kubernetes.io/…, app.kubernetes.io/managed-by and component, controller-uid, job-name, "
            "kueue.x-k8s.io/queue-name (use queueName)",
            lambda self: not any(re.fullmatch(_RESERVED_KEY, key) for key in keys(self)),
        ),
    )


class Job(base.Model):
    """How the Job and its pod look where the operator's defaults do not fit."""

    RULES: ClassVar = (*_keys_rules("labels", "labels"), *_keys_rules("annotations", "annotations"))

    image: _Image | None = pydantic.Field(
        None, description="Image with the claude executable and a POSIX shell. Left out: the operator's default image."
    )
    image_pull_policy: ImagePullPolicy = pydantic.Field(
        ImagePullPolicy.IF_NOT_PRESENT, description="When the image is pulled."
    )
    image_pull_secrets: tuple[base.JsonObject, ...] = pydantic.Field(
        (), max_length=16, description="Secrets for pulling the image, as in a Pod: [{name: …}]."
    )
    service_account_name: base.ObjectName | None = pydantic.Field(
        None, description="ServiceAccount of the pod. Its token is never mounted."
    )
    env: tuple[EnvVar, ...] = pydantic.Field(
        (),
        max_length=256,
        description="Environment variables as in a container: {name, value} or {name, valueFrom}. They win over the "
        "operator's, but for HOME and what keeps agents apart.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    env_from: tuple[base.JsonObject, ...] = pydantic.Field(
        (),
        max_length=64,
        description="Secrets and ConfigMaps whose keys become environment variables, as in a container.",
    )
    resources: base.JsonObject | None = pydantic.Field(
        None,
        description="Requests and limits of the agent's container. What is named here is taken as it is; of cpu and "
        "memory, one that is not named has requests of 1 CPU and 2Gi, limits of 4 CPU and 8Gi.",
    )
    node_selector: Annotated[dict[str, str], base.NO_NULLS] = pydantic.Field(
        {}, max_length=64, description="Labels a node must have."
    )
    tolerations: tuple[base.JsonObject, ...] = pydantic.Field(
        (), max_length=64, description="Taints that are tolerated, as in a Pod."
    )
    labels: Annotated[dict[str, _LabelValue], base.NO_NULLS] = pydantic.Field(
        {}, max_length=64, description="Further labels of the Job and its pod."
    )
    annotations: Annotated[dict[str, _AnnotationValue], base.NO_NULLS] = pydantic.Field(
        {}, max_length=64, description="Further annotations of the Job and its pod."
    )
    priority_class_name: base.ObjectName | None = pydantic.Field(None, description="PriorityClass of the pod.")
    queue_name: _QueueName | None = pydantic.Field(
        None,
        description="LocalQueue of Kueue: the Job is created suspended, with Kueue's label, and Kueue starts it when "
        "there is room.",
    )
    working_dir: base.AbsolutePath | None = pydantic.Field(
        None,
        description="Directory the agent starts in, unless spec.workspace.cwd names one. Left out: spec.session.cwd, "
        "else the shared volume's mount.",
    )
    inherit_from_operator: base.Flag = pydantic.Field(
        default=True,
        description="Take over from the operator's own pod what the operator's settings allow: environment, secret "
        "volumes, image, volume claim, pull secrets, DNS.",
    )
    pod_template: base.JsonObject | None = pydantic.Field(
        None,
        description="Strategic-merge patch for the pod template: {metadata: …, spec: …}, for all that has no field of "
        "its own. It cannot change the agent's command, its prompt volume or the operator's labels.",
    )

    @pydantic.field_validator("env")
    @classmethod
    def _once_each(cls, env: tuple[EnvVar, ...]) -> tuple[EnvVar, ...]:
        return base.once_each(env, "name")


class Timeouts(base.Model):
    """How long a run may take. All values are seconds."""

    timeout_seconds: base.Integer = pydantic.Field(
        0, ge=0, le=31_536_000, description="Limit for the whole run from the start of its Job. 0: none."
    )
    grace_seconds: base.Integer = pydantic.Field(
        60,
        ge=0,
        le=86_400,
        description="How long after timeoutSeconds Kubernetes may take to end the Job, before the operator does.",
    )
    pending_seconds: base.Integer = pydantic.Field(
        600, ge=1, le=604_800, description="How long the pod may take to start before the run fails."
    )
    stall_seconds: base.Integer = pydantic.Field(
        0,
        ge=0,
        le=604_800,
        description="Stop the run when it has printed nothing for this long. 0: silence is only reported.",
    )
    result_grace_seconds: base.Integer = pydantic.Field(
        30, ge=1, le=86_400, description="How long the CLI may keep running after it printed its result."
    )


class ConcurrencyPolicy(enum.StrEnum):
    """What happens while the agent has another live run."""

    QUEUE = "Queue"
    FORBID = "Forbid"
    REPLACE = "Replace"


class Retry(base.Model):
    """Whether a run that failed is tried again."""

    limit: base.Integer = pydantic.Field(0, ge=0, le=100, description="Most further attempts. 0: none.")
    on: tuple[errors.ErrorCode, ...] = pydantic.Field(
        (),
        max_length=64,
        description="Error codes after which it is tried again. Left out: those that docs/errors.md says may pass. In "
        "YAML the key needs quotes: 'on', because kubectl takes a bare on for true.",
    )
    backoff_seconds: base.Integer = pydantic.Field(
        30, ge=0, le=86_400, description="Pause before the first further attempt; it doubles with each one."
    )
    resume_session: base.Flag = pydantic.Field(
        default=True, description="Continue the session of the failed attempt, if it can be resumed."
    )


class LogRetention(enum.StrEnum):
    """When the log on the shared volume is removed."""

    WITH_RUN = "WithRun"
    AFTER_FINISHED = "AfterFinished"
    NEVER = "Never"


_Ttl = Annotated[int, pydantic.Field(ge=0, le=31_536_000), base.NUMBER]


class Retention(base.Model):
    """What is kept after the end."""

    job_ttl_seconds_after_finished: _Ttl = pydantic.Field(
        300,
        alias="jobTTLSecondsAfterFinished",
        description="The Job and its pod are deleted this long after they finished.",
    )
    retain_job: base.Flag = pydantic.Field(
        default=False, description="Keep the Job and its pod until the AgentRun is deleted."
    )
    log: LogRetention = pydantic.Field(
        LogRetention.WITH_RUN,
        description="WithRun: the log on the shared volume is removed with the AgentRun. AfterFinished: when the run "
        "has ended. Never: it stays.",
    )
    redact_log: base.Flag = pydantic.Field(
        default=False,
        description="When the run has ended, take the values of secret environment variables and well-known tokens out "
        "of the log on the shared volume. Otherwise the log stays as the agent wrote it.",
    )
    run_ttl_seconds_after_succeeded: _Ttl | None = pydantic.Field(
        None,
        alias="runTTLSecondsAfterSucceeded",
        description="The AgentRun is deleted this long after it succeeded. Left out: never.",
    )
    run_ttl_seconds_after_failed: _Ttl | None = pydantic.Field(
        None,
        alias="runTTLSecondsAfterFailed",
        description="The AgentRun is deleted this long after it failed or was cancelled. Left out: never.",
    )
