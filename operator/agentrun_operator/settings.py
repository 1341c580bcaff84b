"""The operator's settings: for each its meaning, its unit and what the extremes do.

Every setting is read once, at start, from the environment variable ``AGENTRUN_<NAME>``; the settings are frozen and
passed down, so nothing in the package reads the environment a second time.
"""

import posixpath
from collections.abc import Mapping
from typing import Annotated

import pydantic

from agentrun_operator import errors

PREFIX = "AGENTRUN_"

_AbsolutePath = Annotated[str, pydantic.Field(pattern=r"^/[^\x00]*$")]
_Seconds = Annotated[float, pydantic.Field(ge=0, le=86_400)]


class Settings(pydantic.BaseModel):
    """All settings with their defaults. Durations are seconds."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    namespaces: str = pydantic.Field(
        "", description="Namespaces to watch, comma-separated. Empty: all namespaces (needs a ClusterRole)."
    )
    image: str = pydantic.Field(
        "", description="Image for runs that name none in spec.job.image. Empty: such runs fail."
    )
    pvc_name: str = pydantic.Field(
        "paperclip-data",
        min_length=1,
        description="PersistentVolumeClaim, in the run's namespace, that holds workspaces, sessions and logs.",
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

    @property
    def log_root(self) -> str:
        """Absolute folder of run logs as agents see it."""
        return posixpath.join(self.instance_root, self.log_subpath)

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        """Namespaces to watch; empty means all."""
        return tuple(n.strip() for n in self.namespaces.split(",") if n.strip())

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
    try:
        return Settings.model_validate(given)
    except pydantic.ValidationError as e:
        raise errors.SettingsError("; ".join(_sentence(str(item["loc"][0]), item) for item in e.errors())) from e


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none: worth a warning, for one may be misspelt.

    No error, because Kubernetes itself sets such variables in a pod: a Service named ``agentrun`` is enough.
    """
    known = {_variable(name) for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _sentence(field: str, item: Mapping[str, object]) -> str:
    meaning = Settings.model_fields[field].description
    return f"{_variable(field)}={item['input']!r}: {item['msg']}. It means: {meaning}"
