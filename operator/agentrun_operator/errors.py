"""Everything that can go wrong, in one place: the error codes users read, and the exceptions code raises.

``ErrorCode`` is what ends up in ``status.error.code``: one code per cause, listed with its meaning in docs/errors.md.
Exceptions never end a run by themselves; the layer that catches one decides, and an unknown one means "keep going".

The tree::

    AgentRunError
    ├── SettingsError           a setting of the operator is missing or malformed (names setting, value, fix)
    ├── InvalidRunError         the AgentRun cannot be run as written (carries the ErrorCode)
    └── ApiError                the Kubernetes API refused or was out of reach (carries status, reason, its sentence)
        ├── NotFoundError       404 with the API's own reason NotFound (a proxy's 404 says nothing about the object)
        ├── AlreadyExistsError  409, reason AlreadyExists
        ├── ConflictError       409, any other reason
        ├── RejectedError       400, 403, 413, 422: the same request will be refused again
        │   └── ForbiddenError  403 by role; an API server that has just started does not know the roles yet
        └── UnavailableError    401, 429, 5xx, timeouts, connection trouble: the same request may succeed later
"""

import enum


class ErrorCode(enum.StrEnum):
    """``status.error.code``: one code per cause. Values are part of the API and never change meaning."""

    PROMPT_INVALID = "prompt_invalid"
    AGENT_ID_INVALID = "k8s_agent_id_invalid"

    CONCURRENCY_GUARD_UNREACHABLE = "k8s_concurrency_guard_unreachable"
    CONCURRENT_RUN_BLOCKED = "k8s_concurrent_run_blocked"
    ORPHAN_TASK_UNKNOWN = "k8s_orphan_task_unknown"
    ORPHAN_TASK_MISMATCH = "k8s_orphan_task_mismatch"
    ORPHAN_SESSION_MISMATCH = "k8s_orphan_session_mismatch"

    PROMPT_SECRET_CREATE_FAILED = "k8s_prompt_secret_create_failed"  # noqa: S105 - a code, not a password
    JOB_CREATE_FAILED = "k8s_job_create_failed"
    QUOTA_EXCEEDED = "k8s_quota_exceeded"
    IMAGE_PULL_FAILED = "k8s_image_pull_failed"
    UNSCHEDULABLE = "k8s_unschedulable"
    POD_CONFIG_ERROR = "k8s_pod_config_error"
    INIT_FAILED = "k8s_init_failed"
    POD_SCHEDULE_FAILED = "k8s_pod_schedule_failed"
    CLAUDE_STARTUP_FAILED = "claude_startup_failed"
    CLAUDE_INIT_FAILED = "claude_init_failed"

    OOM_KILLED = "k8s_oom_killed"
    POD_EVICTED = "k8s_pod_evicted"
    NODE_LOST = "k8s_node_lost"
    JOB_DELETED_EXTERNALLY = "k8s_job_deleted_externally"
    JOB_STATE_MISMATCH = "k8s_job_state_mismatch"
    POD_LOG_FILE_MISSING = "k8s_pod_log_file_missing"

    TIMEOUT = "timeout"
    RUN_STALLED = "run_stalled"
    CANCELLED = "cancelled"

    AUTH_REQUIRED = "claude_auth_required"
    BILLING_ERROR = "claude_billing_error"
    RATE_LIMITED = "claude_rate_limited"
    USAGE_LIMITED = "claude_usage_limited"
    OVERLOADED = "claude_overloaded"
    INVALID_MODEL = "claude_invalid_model"
    PROMPT_TOO_LONG = "claude_prompt_too_long"
    LLM_API_ERROR = "llm_api_error"
    LLM_UNREACHABLE = "llm_unreachable"

    MAX_TURNS = "claude_max_turns"
    BUDGET_EXCEEDED = "claude_budget_exceeded"
    OUTPUT_LIMIT = "claude_output_limit"
    REFUSAL = "claude_refusal"
    SESSION_UNAVAILABLE = "session_unavailable"
    TRUNCATED = "claude_truncated"
    EMPTY_RESULT = "claude_empty_result"
    RESULT_ERROR = "claude_result_error"
    ADAPTER_FAILED = "adapter_failed"


class AgentRunError(Exception):
    """Base of every exception that this package raises on purpose."""


class SettingsError(AgentRunError):
    """A setting of the operator is missing or malformed; the text names the setting, its value and the fix."""


class InvalidRunError(AgentRunError):
    """The AgentRun cannot be run as written; nothing was created for it.

    ``code`` becomes ``status.error.code`` and the text ``status.error.message``.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiError(AgentRunError):
    """The Kubernetes API refused a request or could not be reached.

    ``status`` is the HTTP status (0 = no answer), ``reason`` the API's CamelCase word (``""`` = none) and the text the
    API's own sentence.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFoundError(ApiError):
    """404: the object does not exist."""


class AlreadyExistsError(ApiError):
    """409 AlreadyExists: an object of that name is there."""


class ConflictError(ApiError):
    """409 with another reason: the object changed, or its precondition (uid, resourceVersion) does not hold."""


class RejectedError(ApiError):
    """400, 403, 413 or 422: the request is wrong or not allowed; repeating it will not help."""


class ForbiddenError(RejectedError):
    """403 by role: the operator may not do that, or the API server has just started and does not know its roles yet."""


class UnavailableError(ApiError):
    """401, 429, 5xx, a timeout or a broken connection: nothing can be concluded; the same request may succeed later.

    ``retry_after`` is for how long the server wants to be left alone: seconds, 0 = it did not say.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, status=status, reason=reason)
        self.retry_after = retry_after
