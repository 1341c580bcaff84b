"""The operator's settings: for each its meaning, its unit and what the extremes do.

Every setting is read once, at start, from the environment variable ``AGENTRUN_<NAME>`` or a settings file; the settings
are frozen and passed down, so nothing in the package reads the environment a second time.
"""

import difflib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import pydantic

from agentrun_operator import errors, names

PREFIX = "AGENTRUN_"
DEFAULT_CLAIM = "paperclip-data"  # where neither a setting nor the operator's own pod names a claim
INHERITABLE_PARTS = ("image", "claim", "imagePullSecrets", "dnsConfig")

_AbsolutePath = Annotated[str, pydantic.Field(pattern=r"^/[^\x00]*$")]
_Seconds = Annotated[float, pydantic.Field(ge=0, le=86_400)]

# Labels of the operator itself and of the Job controller: another value would hide a Job or its pod from them.
_RESERVED_PREFIXES = (f"{names.GROUP}/", "batch.kubernetes.io/")
_RESERVED_LABELS = frozenset({names.LABEL_MANAGED_BY, names.LABEL_COMPONENT, "controller-uid", "job-name"})

# What the API server demands of a label; a node selector's keys and values are labels too.
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"((?=[^/]{{1,253}}/){_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_LABEL_NAME}")
_LABEL_VALUE = re.compile(rf"({_LABEL_NAME})?")


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
    events: bool = pydantic.Field(
        default=True, description="Post Kubernetes Events on AgentRuns, about four for a run. false: none."
    )
    log_level: str = pydantic.Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severity logged."
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
            raise ValueError(f"must be given together with {_variable('pod_name')} ({pod})")
        return value

    @pydantic.field_validator("inherit")
    @classmethod
    def _known_parts(cls, value: str) -> str:
        if strange := [part for part in parse_list(value) if part not in INHERITABLE_PARTS]:
            raise ValueError(f"unknown: {', '.join(strange)}; known are {', '.join(INHERITABLE_PARTS)}")
        return value

    @pydantic.field_validator("inherit_env", "inherit_env_from", "inherit_secret_volumes")
    @classmethod
    def _commas_between(cls, value: str) -> str:
        if strange := [item for item in parse_list(value) if len(item.split()) > 1]:
            raise ValueError(f"{strange[0]!r} is not one name; put commas between names")
        return value

    @pydantic.field_validator("node_selector", "job_labels", mode="before")
    @classmethod
    def _pairs_as_text(cls, value: object) -> object:
        return json.dumps(_unique(("", *pair) for pair in value.items())) if isinstance(value, Mapping) else value

    @pydantic.field_validator("node_selector", "job_labels")
    @classmethod
    def _labels(cls, value: str, info: pydantic.ValidationInfo) -> str:
        for key, content in parse_pairs(value).items():
            if info.field_name == "job_labels" and (key in _RESERVED_LABELS or key.startswith(_RESERVED_PREFIXES)):
                raise ValueError(f"the label {key} is reserved; leave it out")
            if not _LABEL_KEY.fullmatch(key):
                raise ValueError(f"{key!r} is no label key; Kubernetes wants [prefix/]name, with a name like a value")
            if not _LABEL_VALUE.fullmatch(content):
                raise ValueError(
                    f"{key}={content!r}: no label value; Kubernetes wants at most 63 letters, digits, '-', '_', '.', "
                    "with a letter or digit at both ends"
                )
        return value

    @property
    def inherited_parts(self) -> frozenset[str]:
        """Which parts of the operator's own pod agents' pods take over; a subset of ``INHERITABLE_PARTS``."""
        return frozenset(parse_list(self.inherit))

    @property
    def default_node_selector(self) -> dict[str, str]:
        """The node selector of runs, below their own."""
        return parse_pairs(self.node_selector)

    @property
    def default_labels(self) -> dict[str, str]:
        """The labels of every Job, below the run's own."""
        return parse_pairs(self.job_labels)

    @property
    def log_root(self) -> str:
        """Absolute folder of run logs as agents see it."""
        return posixpath.join(self.instance_root, self.log_subpath)

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """Namespaces to watch; empty means all."""
        return parse_list(self.namespaces)

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


def from_environ(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables ``AGENTRUN_<NAME>``.

    Raises SettingsError naming every variable that is malformed, its value and what is expected.
    """
    given = {name: environ[variable] for name in Settings.model_fields if (variable := _variable(name)) in environ}
    return _validated(given, {name: _variable(name) for name in Settings.model_fields}, [])


def from_mapping(values: Mapping[str, object]) -> Settings:
    """Settings from the parsed content of a settings file: keys are setting names or AGENTRUN_ variables.

    ``node_selector`` and ``job_labels`` may also be mappings. Raises SettingsError naming every key that is unknown,
    given twice or has a malformed value, and what is expected.
    """
    fields = {key: name for name in Settings.model_fields for key in (name, _variable(name))}
    shown = {name: name for name in Settings.model_fields}
    given: dict[str, object] = {}
    faults = []
    for key, value in values.items():
        field = fields.get(key)
        if field is None:
            nearest = difflib.get_close_matches(str(key), fields, n=1, cutoff=0)[0]
            faults.append(f"{key}: there is no such setting; the nearest one is {nearest}")
        elif field in given:
            faults.append(f"{key}: {shown[field]} is given too and is the same setting; keep one of them")
        elif isinstance(value, bool):  # no setting is a switch, and pydantic would take true for the number 1
            faults.append(f"{key}={value}: a number or a text is wanted. {_meaning(field)}")
        else:
            given[field], shown[field] = value, key
    return _validated(given, shown, faults)


def parse_list(text: str) -> tuple[str, ...]:
    """The items of a comma-separated list, without spaces around them; empty items are ignored."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse_pairs(text: str) -> dict[str, str]:
    """Pairs from a JSON object of strings or from lines ``key=value``; blank lines and lines with # are ignored.

    Raises ValueError naming the line or key that is malformed or doubled; a pair left out would be missed late.
    """
    if text.lstrip().startswith(("{", "[")):
        try:
            parsed = json.loads(text, object_pairs_hook=tuple)  # keeps doubled keys; an array is a list
        except ValueError as e:
            raise ValueError(f"it begins like JSON but is none ({e}); write a JSON object or lines key=value") from e
        if not isinstance(parsed, tuple):
            raise ValueError("a JSON array has no keys; write a JSON object or lines key=value")
        return _unique(("", key, value) for key, value in parsed)
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if not key or not equals:
            raise ValueError(f"line {number} is {stripped!r}; write key=value, or # before a comment")
        pairs.append((f"line {number}: ", key, value))
    return _unique(pairs)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none: worth a warning, for one may be misspelt.

    No error, because Kubernetes itself sets such variables in a pod: a Service named ``agentrun`` is enough.
    """
    known = {_variable(name) for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _unique(pairs: Iterable[tuple[str, object, object]]) -> dict[str, str]:
    """Triples of place (how a sentence about the pair begins), key and value as a mapping of texts."""
    unique: dict[str, str] = {}
    for place, key, value in pairs:
        if not isinstance(key, str) or not key:
            raise ValueError(f"{place}the key {key!r} is not a text or is empty; write a name")
        if not isinstance(value, str):  # ValueError throughout, for pydantic makes a sentence of no other error
            raise ValueError(f"{place}the value of {key} is {value!r} and not a text; put it in quotes")  # noqa: TRY004 - see above
        if key in unique:
            raise ValueError(f"{place}{key} is given twice; keep one of them")
        unique[key] = value
    return unique


def _validated(given: Mapping[str, object], shown: Mapping[str, str], faults: list[str]) -> Settings:
    """``shown`` is the name of each setting that its reader knows, ``faults`` what was found wrong before."""
    cause = None
    try:
        config = Settings.model_validate(given)
        if not faults:
            return config
    except pydantic.ValidationError as e:
        cause = e
        faults = [*faults, *(_sentence(shown, item) for item in e.errors())]
    raise errors.SettingsError("; ".join(faults)) from cause


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _sentence(shown: Mapping[str, str], item: Mapping[str, Any]) -> str:
    field = str(item["loc"][0])
    return f"{shown[field]}={item['input']!r}: {item['msg']}. {_meaning(field)}"


def _meaning(field: str) -> str:
    return f"It means: {Settings.model_fields[field].description}"
