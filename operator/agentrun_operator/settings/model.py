"""The settings themselves; each says what it means in the words that the help and the errors show."""

import json
import posixpath
from collections.abc import Mapping
from typing import Annotated

import pydantic

from agentrun_operator import names
from agentrun_operator.settings import parsing

DEFAULT_CLAIM = "paperclip-data"  # where neither a setting nor the operator's own pod names a claim
INHERITABLE_PARTS = ("image", "claim", "imagePullSecrets", "dnsConfig")
METRIC_LABELS = ("company", "agent", "model")

_AbsolutePath = Annotated[str, pydantic.Field(pattern=r"^/[^\x00]*$")]
_Seconds = Annotated[float, pydantic.Field(ge=0, le=86_400)]

# Labels of the operator itself and of the Job controller: another value would hide a Job or its pod from them.
_RESERVED_PREFIXES = (f"{names.GROUP}/", "batch.kubernetes.io/")
_RESERVED_LABELS = frozenset({names.LABEL_MANAGED_BY, names.LABEL_COMPONENT, "controller-uid", "job-name"})


class Settings(pydantic.BaseModel):
    """All settings with their defaults. Durations are seconds."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    namespaces: str = pydantic.Field(
        "", description="Namespaces to watch, comma-separated. Empty: all namespaces (needs a ClusterRole)."
    )
    image: str = pydantic.Field(
        "", description="Image for runs that name none in spec.job.image. Empty: such runs fail."
    )
    job_labels: str = pydantic.Field(
        "",
        description="Labels for every Job and its pod: a JSON object or lines key=value; a run's own labels win. "
        "Empty: none.",
    )
    node_selector: str = pydantic.Field(
        "",
        description="Node labels that every agent's pod asks for: a JSON object or lines key=value; a run's own node "
        "selector wins. Empty: any node.",
    )
    api_url: str = pydantic.Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="PAPERCLIP_API_URL for agents; one inherited from the operator's own pod wins. Empty: none.",
    )
    pvc_name: str = pydantic.Field(
        "",
        description="PersistentVolumeClaim, in the run's namespace, that holds workspaces, sessions and logs. "
        f"Empty: the claim that the operator's own pod mounts (see inherit), else {DEFAULT_CLAIM}.",
    )
    data_mount: _AbsolutePath = pydantic.Field(
        "/paperclip", description="Where agents see the shared volume; also their HOME."
    )
    data_path: str = pydantic.Field(
        "/paperclip",
        description="Where the operator itself sees the shared volume. Empty: it does not, and every log is read once "
        "from the pod when the run ends, so there is no live progress.",
    )
    instance_root: _AbsolutePath = pydantic.Field(
        "/paperclip/instances/default",
        description="Root of the Paperclip instance as agents see it; must be below data_mount.",
    )
    log_subpath: str = pydantic.Field(
        "run-logs",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$",
        description="Folder of run logs below instance_root. Paperclip servers since April 2026 read data/run-logs.",
    )
    bundle_retention_days: int = pydantic.Field(
        30,
        ge=0,
        le=3650,
        description="Prompt bundles on the shared volume that no run used for so many days are removed. 0: never.",
    )
    history_limit: int = pydantic.Field(
        0,
        ge=0,
        le=1_000_000,
        description="Finished AgentRuns kept per agent: those that ended first are deleted. 0: all are kept.",
    )
    pod_name: str = pydantic.Field(
        "",
        description="Name of the operator's own pod (downward API: metadata.name). Empty: the operator runs outside a "
        "cluster and agents inherit nothing.",
    )
    pod_namespace: str = pydantic.Field(
        "",
        validate_default=True,
        description="Namespace of the operator's own pod (downward API: metadata.namespace). Empty only without "
        "pod_name.",
    )
    pod_container: str = pydantic.Field(
        "operator",
        description="Container of the operator's own pod whose image, environment and mounts are inherited. Empty, or "
        "none of that name: the first container.",
    )
    own_pod_seconds: float = pydantic.Field(
        60,
        gt=0,
        le=3600,
        description="How often the operator looks whether its own pod changed. Smaller: new runs follow a change "
        "sooner, more API requests.",
    )
    leader_election_lease: str = pydantic.Field(
        "",
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$",
        description="Name of the Lease, in pod_namespace, by which several replicas agree on the one that works while "
        "the others stand by. Empty: no election; then never run two replicas. The Role of "
        "deploy/components/leader-election allows the name agentrun-operator.",
    )
    leader_election_seconds: int = pydantic.Field(
        8,
        ge=4,
        le=3600,
        description="How long the Lease of a leader that fell silent keeps the others waiting. A leader ends itself "
        "after two thirds of it without a renewal. Smaller: faster hand-over, but an API server that is slow for some "
        "seconds ends the leader.",
    )
    inherit: str = pydantic.Field(
        "claim,imagePullSecrets,dnsConfig",
        description="Parts of the operator's own pod that agents' pods take over where settings and run say nothing, "
        f"comma-separated: any of {', '.join(INHERITABLE_PARTS)}. Empty: none.",
    )
    inherit_env: str = pydantic.Field(
        "PAPERCLIP_API_URL,ANTHROPIC_*,CLAUDE_CODE_*,AWS_*,GOOGLE_CLOUD_*,VERTEX_*,CLOUD_ML_REGION,"
        "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy,NODE_EXTRA_CA_CERTS",
        description="Environment variables of the operator's own container that agents inherit, comma-separated names "
        "or patterns with *. Empty: none. *: all. Never the operator's own: AGENTRUN_*, "
        "KUBERNETES_*, POD_*, HOSTNAME, HOME, PATH, PWD, AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CONTAINER_*, "
        "GOOGLE_APPLICATION_CREDENTIALS.",
    )
    inherit_env_from: str = pydantic.Field(
        "",
        description="Secrets and ConfigMaps in envFrom of the operator's own container that agents inherit with all "
        "their keys, comma-separated names or patterns with *. Empty: none. *: all, so every agent can read them.",
    )
    inherit_secret_volumes: str = pydantic.Field(
        "",
        description="Secret volumes of the operator's own container that agents mount too, read-only, comma-separated "
        "volume names or patterns with *. Empty: none. *: all, so every agent can read them.",
    )
    progress_interval_seconds: _Seconds = pydantic.Field(
        5, description="Least time between two status writes of live progress. 0: every change is written at once."
    )
    progress_writes_per_second: float = pydantic.Field(
        10,
        gt=0,
        le=1000,
        description="Most status writes of live progress per second, of all runs together: with more live runs than "
        "this times the interval above, each is written less often. Verdicts and phases are never held back.",
    )
    heartbeat_seconds: _Seconds = pydantic.Field(
        150,
        description="heartbeatTime is refreshed this often while the Job is live. Orchestrators reap after 300.",
    )
    log_appear_seconds: _Seconds = pydantic.Field(
        30, description="How long after the end of the container its log file may still be absent."
    )
    drain_seconds: _Seconds = pydantic.Field(
        30, description="How long the end of a log is waited for without a byte coming (NFS shows it up to 30 s late)."
    )
    quiet_seconds: _Seconds = pydantic.Field(
        3, description="A log without a known length is complete when it did not grow for this long."
    )
    stall_report_seconds: float = pydantic.Field(
        300,
        ge=1,
        le=604_800,
        description="The Stalled condition becomes true when an agent has printed nothing for so long; ten minutes "
        "more are allowed while a tool is at work. Nothing is stopped for it, see spec.timeouts.stallSeconds.",
    )
    start_confirm_seconds: _Seconds = pydantic.Field(
        15, description="How long an image or configuration error of a pod must last before it ends the run."
    )
    poll_seconds: float = pydantic.Field(
        0.25, gt=0, le=60, description="How often a growing log file is read. Smaller: fresher progress, more CPU."
    )
    idle_poll_seconds: float = pydantic.Field(
        1.0, gt=0, le=60, description="How often a log file that stopped growing is looked at."
    )
    request_timeout_seconds: float = pydantic.Field(
        30, gt=0, le=600, description="Limit for one request to the Kubernetes API."
    )
    liveness_endpoint: str = pydantic.Field(
        "", description="URL that answers liveness probes, for example http://0.0.0.0:8080/healthz. Empty: none."
    )
    metrics_port: int = pydantic.Field(
        0,
        ge=0,
        le=65_535,
        description="Port that answers Prometheus on /metrics, without a password, on all interfaces. 0: none. "
        "deploy/monitoring expects 9090.",
    )
    metrics_labels: str = pydantic.Field(
        "company,model",
        description="Labels of metrics whose values come from users, comma-separated: any of "
        f"{', '.join(METRIC_LABELS)}. Each combination is a time series for as long as the operator runs; a metric "
        "takes 500 and counts the rest as other. Empty: none.",
    )
    telemetry_endpoint: str = pydantic.Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="OTLP endpoint to which the Claude Code CLI of every agent sends telemetry of its own, for example "
        "http://collector.monitoring:4317, with run, agent and company as resource attributes. A run's own environment "
        "wins. Empty: none.",
    )
    telemetry_protocol: str = pydantic.Field(
        "grpc",
        pattern="^(grpc|http/protobuf|http/json)$",
        description="How telemetry is sent: grpc (mostly port 4317), http/protobuf or http/json (4318).",
    )
    traces: bool = pydantic.Field(
        default=False,
        description="Send a trace of each attempt by OTLP over HTTP to where the standard variables of OpenTelemetry "
        "say: OTEL_EXPORTER_OTLP_ENDPOINT, or else http://localhost:4318. Needs the packages of the extra otel, which "
        "the image has. With telemetry_endpoint, what an agent's CLI sends belongs to the trace. false: none.",
    )
    events: bool = pydantic.Field(
        default=True, description="Post Kubernetes Events on AgentRuns, three for a run that succeeds. false: none."
    )
    log_level: str = pydantic.Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severity logged."
    )
    shard: str = pydantic.Field(
        "0/1",
        pattern=r"^[0-9]{1,3}/[1-9][0-9]{0,2}$",
        description="Which part of the agents is this operator's, as number/count: 0/3, 1/3 and 2/3 are three that "
        "share the agents by a hash of namespace, company and agent. Each needs its own Lease, if any.",
    )
    log_format: str = pydantic.Field(
        "json", pattern="^(json|console)$", description="json: one object a line. console: for people."
    )

    @pydantic.field_validator("instance_root")
    @classmethod
    def _below_mount(cls, value: str, info: pydantic.ValidationInfo) -> str:
        mount = info.data.get("data_mount", "")
        if posixpath.commonpath([mount or "/", posixpath.normpath(value)]) != posixpath.normpath(mount or "/"):
            raise ValueError(f"must be below data_mount ({mount})")
        return value

    @pydantic.field_validator("pod_namespace")
    @classmethod
    def _with_pod_name(cls, value: str, info: pydantic.ValidationInfo) -> str:
        pod = info.data.get("pod_name", "")
        if pod and not value:
            raise ValueError(f"must be given together with {parsing.variable('pod_name')} ({pod})")
        return value

    @pydantic.field_validator("leader_election_lease")
    @classmethod
    def _in_a_namespace(cls, value: str, info: pydantic.ValidationInfo) -> str:
        if value and not info.data.get("pod_namespace", "wrong itself"):
            raise ValueError(f"must be given together with {parsing.variable('pod_namespace')}")
        return value

    @pydantic.field_validator("shard")
    @classmethod
    def _one_of_them(cls, value: str) -> str:
        index, count = map(int, value.split("/"))
        if index >= count:
            raise ValueError(f"there is no shard {index} of {count}; they are numbered from 0")
        return value

    @pydantic.field_validator("inherit")
    @classmethod
    def _known_parts(cls, value: str) -> str:
        if strange := [part for part in parsing.parse_list(value) if part not in INHERITABLE_PARTS]:
            raise ValueError(f"unknown: {', '.join(strange)}; known are {', '.join(INHERITABLE_PARTS)}")
        return value

    @pydantic.field_validator("metrics_labels")
    @classmethod
    def _known_labels(cls, value: str) -> str:
        if strange := [label for label in parsing.parse_list(value) if label not in METRIC_LABELS]:
            raise ValueError(f"unknown: {', '.join(strange)}; known are {', '.join(METRIC_LABELS)}")
        return value

    @pydantic.field_validator("inherit_env", "inherit_env_from", "inherit_secret_volumes")
    @classmethod
    def _commas_between(cls, value: str) -> str:
        if strange := [item for item in parsing.parse_list(value) if len(item.split()) > 1]:
            raise ValueError(f"{strange[0]!r} is not one name; put commas between names")
        return value

    @pydantic.field_validator("node_selector", "job_labels", mode="before")
    @classmethod
    def _pairs_as_text(cls, value: object) -> object:
        return (
            json.dumps(parsing.unique(("", *pair) for pair in value.items())) if isinstance(value, Mapping) else value
        )

    @pydantic.field_validator("node_selector", "job_labels")
    @classmethod
    def _labels(cls, value: str, info: pydantic.ValidationInfo) -> str:
        for key, content in parsing.parse_pairs(value).items():
            if info.field_name == "job_labels" and (key in _RESERVED_LABELS or key.startswith(_RESERVED_PREFIXES)):
                raise ValueError(f"the label {key} is reserved; leave it out")
            parsing.check_label(key, content)
        return value

    @property
    def inherited_parts(self) -> frozenset[str]:
        """Which parts of the operator's own pod agents' pods take over; a subset of ``INHERITABLE_PARTS``."""
        return frozenset(parsing.parse_list(self.inherit))

    @property
    def shown_labels(self) -> frozenset[str]:
        """Which labels metrics have; a subset of ``METRIC_LABELS``."""
        return frozenset(parsing.parse_list(self.metrics_labels))

    def owns(self, agent_key: str) -> bool:
        """Whether the agent's runs are this shard's (``names.agent_key``)."""
        index, count = map(int, self.shard.split("/"))
        return count == 1 or names.shard_of(agent_key, count) == index

    @property
    def default_node_selector(self) -> dict[str, str]:
        """The node selector of runs, below their own."""
        return parsing.parse_pairs(self.node_selector)

    @property
    def default_labels(self) -> dict[str, str]:
        """The labels of every Job, below the run's own."""
        return parsing.parse_pairs(self.job_labels)

    @property
    def log_root(self) -> str:
        """Absolute folder of run logs as agents see it."""
        return posixpath.join(self.instance_root, self.log_subpath)

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """Namespaces to watch; empty means all."""
        return parsing.parse_list(self.namespaces)

    def local_path(self, path: str) -> str | None:
        """Where the operator finds what agents see at ``path``; None if it has no view of the shared volume.

        Raises ValueError for a path outside ``data_mount``: such a path never came from this operator.
        """
        if not self.data_path:
            return None
        clean = posixpath.normpath(path)
        if posixpath.commonpath([self.data_mount, clean]) != posixpath.normpath(self.data_mount):
            raise ValueError(f"{path} is not below the shared volume {self.data_mount}")
        return posixpath.join(self.data_path, posixpath.relpath(clean, self.data_mount))
