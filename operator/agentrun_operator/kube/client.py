"""The seam to the Kubernetes API: what the operator asks of it, and nothing else."""

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from agentrun_operator import facts
from agentrun_operator.kube.reflector import Source


@dataclasses.dataclass(frozen=True, slots=True)
class Ref:
    """Where an AgentRun is, and which one: a later object of the same name has another uid."""

    namespace: str
    name: str
    uid: str


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event: ``kind`` is Normal or Warning, ``at`` an RFC 3339 time in whole seconds."""

    kind: str
    reason: str
    message: str
    at: str


class KubeClient(Protocol):
    """What the operator asks of the Kubernetes API. Every method raises ``errors.ApiError`` subclasses only."""

    async def close(self) -> None:
        """Close all connections."""

    def all_jobs(self, namespace: str = "") -> Source[facts.JobFacts]:
        """This operator's Jobs in ``namespace`` ("" = everywhere), to be mirrored."""

    def all_pods(self, namespace: str = "") -> Source[facts.PodFacts]:
        """Pods of this operator's Jobs in ``namespace`` ("" = everywhere), to be mirrored."""

    async def list_jobs(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.JobFacts]:
        """This operator's Jobs in ``namespace`` ("" = everywhere) that carry ``labels``, from etcd and not a cache."""

    async def list_pods(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.PodFacts]:
        """Pods of this operator's Jobs in ``namespace`` ("" = everywhere) that carry ``labels``."""

    async def get_job(self, namespace: str, name: str) -> facts.JobFacts:
        """One Job. Raises NotFoundError."""

    async def create_job(self, job: Mapping[str, Any]) -> facts.JobFacts:
        """Create a Job. Raises AlreadyExistsError, RejectedError, UnavailableError."""

    async def start_job(self, job: facts.JobFacts, *, queue: str | None) -> facts.JobFacts:
        """Let a held Job go, or hand it to the ``queue`` that will. Raises NotFoundError, ConflictError.

        It is a conflict when its mark is not the one that ``job`` shows.
        """

    async def mark_job(self, job: facts.JobFacts, mark: str) -> facts.JobFacts:
        """Put ``mark`` on a held Job. Raises NotFoundError; ConflictError when its mark is not that of ``job``."""

    async def adopt_job(self, job: facts.JobFacts, metadata: Mapping[str, Any]) -> facts.JobFacts:
        """Merge into the metadata of exactly this Job, as it is in ``job``. Raises NotFoundError, ConflictError."""

    async def let_job_go(self, job: facts.JobFacts) -> facts.JobFacts:
        """Take the finalizer of an adoption off exactly this Job. Raises NotFoundError, ConflictError.

        It is a conflict when its finalizers are not those of ``job`` any more.
        """

    async def delete_job(self, job: facts.JobFacts) -> None:
        """Delete exactly this Job (by uid) after its pod has ended. A Job that is not there is no error."""

    async def delete_pod(self, namespace: str, pod: facts.PodFacts) -> None:
        """Delete exactly this pod (by uid), within its grace period. One that is not there is no error."""

    async def create_secret(self, secret: Mapping[str, Any]) -> None:
        """Create a Secret. Raises AlreadyExistsError, RejectedError, UnavailableError."""

    async def adopt_secret(self, namespace: str, name: str, owner: Mapping[str, Any]) -> None:
        """Make ``owner`` the only owner of a Secret. One that is not there is no error."""

    async def get_secret_owner(self, namespace: str, name: str) -> str:
        """The uid of the object that controls the Secret; "" if none. Raises NotFoundError."""

    async def get_secret_data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """What a Secret holds, by key. Raises NotFoundError."""

    async def get_config_map_data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """What a ConfigMap holds, by key. Raises NotFoundError."""

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret. One that is not there is no error."""

    async def get_pod(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One pod as JSON. Raises NotFoundError."""

    async def write_run_status(self, run: Ref, status: Mapping[str, Any], *, version: str) -> str:
        """Replace the status of exactly this run as it was at ``version``; returns its new version.

        Raises NotFoundError, ConflictError when the object has another version or another uid by now.
        """

    async def write_run_finalizers(self, run: Ref, finalizers: Sequence[str], *, version: str) -> None:
        """Replace the finalizers of exactly this run as it was at ``version``. Raises NotFoundError, ConflictError."""

    async def list_run_uids(self, namespace: str = "") -> set[str]:
        """The uids of all AgentRuns in ``namespace`` ("" = everywhere); nothing else of them is asked for."""

    async def delete_run(self, run: Ref) -> None:
        """Delete exactly this AgentRun. One that is not there, or is another by now, is no error."""

    async def cancel_run(self, run: Ref, *, replaced_by: str = "") -> None:
        """Set spec.cancel of exactly this run and note for whom, if for anybody.

        One that is not there, or is cancelled, is no error.

        Raises ConflictError when somebody else changed it at the same moment.
        """

    async def create_event(self, run: Ref, event: Event) -> None:
        """Post a Kubernetes Event on an AgentRun."""

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One AgentRun as JSON. Raises NotFoundError."""

    def read_pod_log(self, namespace: str, pod: str, container: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The container's log in chunks. Raises NotFoundError, UnavailableError."""
