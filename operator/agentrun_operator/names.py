"""Names, labels and paths: how ids of the orchestrator become names that Kubernetes and the file system accept.

Invariants, each with a table test: the same run always gets the same Job name; two different (agent, run) pairs
get different names even if their slugs are equal; every name is a DNS label of at most 63 characters; no id can
climb out of its folder.
"""

import hashlib
import posixpath
import re

GROUP = "paperclip.io"
VERSION = "v1alpha1"
PLURAL = "agentruns"
KIND = "AgentRun"

MANAGED_BY = "agentrun-operator"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_AGENT_ID = f"{GROUP}/agent-id"
LABEL_COMPANY_ID = f"{GROUP}/company-id"
LABEL_RUN_ID = f"{GROUP}/run-id"
LABEL_TASK_ID = f"{GROUP}/task-id"
LABEL_SESSION_ID = f"{GROUP}/session-id"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_ADAPTER_TYPE = f"{GROUP}/adapter-type"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
AGENT_LABELS = (LABEL_COMPANY_ID, LABEL_AGENT_ID)
OWN_LABELS = (
    LABEL_MANAGED_BY,
    LABEL_COMPONENT,
    LABEL_ADAPTER_TYPE,
    *AGENT_LABELS,
    LABEL_RUN_ID,
    LABEL_TASK_ID,
    LABEL_SESSION_ID,
    LABEL_ATTEMPT,
)
ADAPTER_TYPE = "claude_k8s"  # the described system's word for "Claude Code as a Kubernetes Job"
ANNOTATION_LOG_PATH = f"{GROUP}/log-path"
ANNOTATION_ADAPTER_TYPE = f"{GROUP}/adapter-type"
ANNOTATION_PROMPT_METRICS = f"{GROUP}/prompt-metrics"
ANNOTATION_AGENT_NAME = f"{GROUP}/agent-name"
ANNOTATION_RUN = f"{GROUP}/agentrun"  # the AgentRun that a Job was made for
ANNOTATION_HELD = (
    f"{GROUP}/held"  # on a Job that waits at the gate; its value is HELD or the uid of the Job ahead of it
)
ANNOTATION_REATTACHED_FROM = f"{GROUP}/reattached-from"  # on a Job that was adopted: the AgentRun it was made for
ANNOTATION_REPLACED_BY = f"{GROUP}/replaced-by"  # on an AgentRun that another one had cancelled
HELD = "true"
FINALIZER = f"{GROUP}/agentrun-operator"
ADOPTION_FINALIZER = f"{GROUP}/adoption"  # on a Job that was adopted, until the AgentRun's status names it

# The one pattern of ids that become parts of paths and names (seeds: run-log design).
ID_PATTERN = r"^[a-zA-Z0-9-]+$"
MAX_ID_LENGTH = 63

# The files of a run, beside each other.
LOG_SUFFIX = ".pod.ndjson"
STDERR_SUFFIX = ".pod.stderr"
OWNER_SUFFIX = ".pod.owner"
LOG_SUFFIXES = (LOG_SUFFIX, STDERR_SUFFIX)

# The parts of an attempt's trace, in their order; the first is around all others.
SPAN_ATTEMPT = "agentrun"
SPAN_QUEUED = "Queued"
SPAN_STARTING = "Starting"
SPAN_PENDING = "Pending"
SPAN_RUNNING = "Running"
SPAN_FINISHING = "Finishing"

_SLUG_LENGTH = 16
_HASH_LENGTH = 6
_UUID_LENGTH = 36
_ID = re.compile(ID_PATTERN)
_NOT_SLUG = re.compile(r"[^a-z0-9-]")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9_.-]")


def job_name(*, agent_id: str, run_id: str, attempt: int = 0) -> str:
    """Name of the Job of one attempt: ``ac-<agent slug>-<run slug>-<6 hex>``, at most 63 characters.

    The hash is over the raw ids, and the number of a further attempt, so slugs that collide after cutting still give
    different names.
    """
    identity = f"{agent_id}:{run_id}" + (f":{attempt}" if attempt else "")
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_HASH_LENGTH]
    return "-".join(part for part in ("ac", _slug(agent_id), _slug(run_id), digest) if part)


def run_name(*, company_id: str, agent_id: str, run_id: str) -> str:
    """Name of the AgentRun for an orchestrator's run id: the same for the same ids, at most 63 characters.

    ``<agent slug>-<run slug>-<8 hex>``; the hash is over the raw ids, so ids that differ give names that differ.
    """
    digest = hashlib.sha256(f"{company_id}:{agent_id}:{run_id}".encode()).hexdigest()[:8]
    run = _NOT_SLUG.sub("", run_id.lower())[:_UUID_LENGTH].strip("-")
    return "-".join(part for part in (_slug(agent_id), run, digest) if part)


def prompt_secret_name(job: str) -> str:
    """Name of the Secret that carries the prompt of the Job ``job``."""
    return f"{job}-prompt"


def label_value(text: str) -> str:
    """``text`` as a label value: at most 63 of ``[A-Za-z0-9_.-]``, beginning and ending alphanumeric; may be empty."""
    return _NOT_LABEL.sub("-", text)[:63].strip("-_.")


def agent_key(namespace: str, company_id: str, agent_id: str) -> str:
    """The identity that at most one live run may have; ids are compared as their label values."""
    return f"{namespace}/{label_value(company_id)}/{label_value(agent_id)}"


def shard_of(key: str, count: int) -> int:
    """Which of ``count`` shards an agent belongs to, by its ``agent_key``; 0 to ``count`` - 1, the same for ever."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count


def log_path(*, root: str, company_id: str, agent_id: str, run_id: str, attempt: int = 0) -> str:
    """Path of the log as the agent's pod sees it: ``<root>/<company>/<agent>/<run>.pod.ndjson``.

    A further attempt has ``<run>.<attempt>.pod.ndjson``: no id holds a dot. ``root`` is absolute. Raises ValueError
    naming field and value for an id outside ``[a-zA-Z0-9-]``.
    """
    for field, value in (("companyId", company_id), ("agentId", agent_id), ("runId", run_id)):
        if not _ID.fullmatch(value):
            raise ValueError(f"Invalid {field} for log path: {value}")
    number = f".{attempt}" if attempt else ""
    return posixpath.join(root, company_id, agent_id, f"{run_id}{number}{LOG_SUFFIX}")


def stderr_path(log: str) -> str:
    """Path of the file that holds the agent's stderr, beside its log ``log``."""
    return log.removesuffix(LOG_SUFFIX) + STDERR_SUFFIX


def trace_id(uid: str, attempt: int) -> str:
    """The trace of one attempt of the run with this uid: 32 hex digits, the same for every operator that looks."""
    return hashlib.sha256(f"{uid}:{attempt}".encode()).hexdigest()[:32]


def span_id(uid: str, attempt: int, part: str) -> str:
    """The span of one part of an attempt, one of ``SPAN_…``: 16 hex digits, in the same way."""
    return hashlib.sha256(f"{uid}:{attempt}:{part}".encode()).hexdigest()[:16]


def traceparent(uid: str, attempt: int) -> str:
    """How what runs inside an attempt goes on in its trace: the header of W3C Trace Context, sampled."""
    return f"00-{trace_id(uid, attempt)}-{span_id(uid, attempt, SPAN_RUNNING)}-01"


def _slug(text: str) -> str:
    return _NOT_SLUG.sub("", text.lower())[:_SLUG_LENGTH].strip("-")
