"""Where the load is measured: a cluster of fake nodes, fresh namespaces on it, and the operator as a real process.

Nothing is mounted into a fake pod, so whoever measures writes the log files itself, as the agents would. The operator
has the rights of its service account; the bench has those of the administrator.

A namespace with everything in it is left to the end of the cluster, since removing a thousand runs is work for the
control plane that would disturb what is measured next. Where the cluster stays (``KEEP_TEST_CLUSTER``), it is emptied.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import ssl
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp

from agentrun_operator import models, names, settings
from hack import cluster, playground
from hack.bench import stages, watch

KEEP_CLUSTER = "KEEP_TEST_CLUSTER"
STATE = playground.ROOT / ".local" / "bench"
NODES = 8
RUNS = f"{names.PLURAL}.{names.GROUP}"
RESOURCES = {"agentruns": f"/apis/{names.GROUP}/{names.VERSION}", "jobs": "/apis/batch/v1"}  # others: the core group
IMAGE = "agent.invalid/claude:1"  # no fake node ever pulls it

_UP_SECONDS = 60
_UP = "Initial authentication has finished"  # kopf, once the start-up handlers, which list what there is, are through
_REQUEST_SECONDS = 60.0
_PROMPT = "You are {{agent.id}}. The login page answers 500 since yesterday. Find out why, mend it, and say how. " * 4

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A cluster and how to talk to it. ``folder`` is for files of the measurement, empty at the beginning."""

    kubectl: playground.Kubectl
    server: str
    authority: pathlib.Path
    token: str = dataclasses.field(repr=False)
    folder: pathlib.Path
    audit_log: pathlib.Path
    kubeconfig: pathlib.Path  # with the rights of the operator's service account

    def session(self, token: str = "") -> aiohttp.ClientSession:
        """A client of the API server without a limit of connections, which is given paths only.

        It has the administrator's rights, whom the server never lets wait, or those of ``token``.
        """
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=self.authority), limit=0)
        return aiohttp.ClientSession(
            base_url=self.server,
            connector=connector,
            headers={"Authorization": f"Bearer {token or self.token}"},
            timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
        )

    @contextlib.contextmanager
    def namespace(self, prefix: str) -> Iterator["Place"]:
        """A fresh namespace with its volume. Operators that were started in it are ended, whatever happens."""
        name = f"{prefix}-{uuid.uuid4().hex[:6]}"
        folder = self.folder / name
        playground.make_namespace(self.kubectl, name, playground.host_volume(folder / "volume"))
        place = Place(lab=self, namespace=name, folder=folder)
        try:
            playground.wait_until(
                lambda: self._claim_is_bound(name), seconds=_UP_SECONDS, what="the volume claim to be bound", every=0.2
            )
            yield place
        finally:
            for process in place.operators:
                process.stop()
            if KEEP_CLUSTER in os.environ:
                self._remove(name)

    def _claim_is_bound(self, namespace: str) -> bool:
        claim = self.kubectl.get("persistentvolumeclaim", playground.CLAIM, "-n", namespace)
        return bool(claim["status"].get("phase") == "Bound")

    def _remove(self, namespace: str) -> None:
        """Empty a namespace of a cluster that lives on, also of what a dead operator has left behind."""
        api = watch.Api.of(self.kubectl)
        path = f"{RESOURCES['agentruns']}/namespaces/{namespace}/agentruns"
        with contextlib.closing(api.connect()) as connection:
            for run in json.load(api.call(connection, "GET", path))["items"]:
                patch = {"metadata": {"finalizers": None}}
                api.call(connection, "PATCH", f"{path}/{run['metadata']['name']}", patch).read()
        self.kubectl.run("delete", "namespace", namespace, "--wait=false")
        self.kubectl.run("delete", "persistentvolume", f"{namespace}-{playground.CLAIM}", "--wait=false")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A namespace, its volume on this machine, and the operators that work there."""

    lab: Lab
    namespace: str
    folder: pathlib.Path
    operators: list[playground.Process] = dataclasses.field(default_factory=list)

    @property
    def volume(self) -> pathlib.Path:
        """The root of the shared volume, which agents see at ``/paperclip``."""
        return self.folder / "volume"

    @property
    def operator_log(self) -> pathlib.Path:
        """The log of the operator that was started last."""
        return self.folder / f"operator-{len(self.operators)}.log"

    @property
    def environment(self) -> dict[str, str]:
        """The operator's settings, without their prefix."""
        return {"NAMESPACES": self.namespace, "DATA_PATH": str(self.volume), "IMAGE": IMAGE}

    @property
    def config(self) -> settings.Settings:
        """The operator's settings as it reads them."""
        return _parse_settings(tuple(sorted(self.environment.items())))

    def path(self, resource: str, name: str = "", sub: str = "") -> str:
        """The API path of a namespaced resource (agentruns, jobs, pods, secrets), of one object, or of a part of it."""
        group = RESOURCES.get(resource, "/api/v1")
        return "/".join(filter(None, (f"{group}/namespaces/{self.namespace}/{resource}", name, sub)))

    def session(self) -> aiohttp.ClientSession:
        """See ``Lab.session``."""
        return self.lab.session()

    def agent_run(
        self, name: str, *, company: str = "acme", agent: str = "", job: Mapping[str, Any] | None = None, **spec: Any
    ) -> Json:
        """An AgentRun of ``agent`` (its name: one of its own). Its run id is its name, so its log's path is known.

        ``job`` and ``spec`` are further fields of ``spec.job`` and ``spec``; annotations of ``stages`` belong into the
        former.
        """
        return {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "companyId": company,
                "agent": {"id": agent or name},
                "runId": name,
                "prompt": {"text": _PROMPT},
                **({"job": dict(job)} if job else {}),
                **spec,
            },
        }

    def parse(self, body: Mapping[str, Any], *, uid: str = "") -> models.AgentRun:
        """The AgentRun as the operator would see it."""
        metadata = {**body["metadata"], "uid": uid or body["metadata"].get("uid") or str(uuid.uuid4())}
        return models.AgentRun.parse({**body, "metadata": metadata})

    def log_file(self, body: Mapping[str, Any]) -> pathlib.Path:
        """The log of the AgentRun's first attempt, as this machine sees it; it is there only once somebody makes it."""
        spec, config = body["spec"], self.config
        path = names.log_path(
            root=config.log_root,
            company_id=spec["companyId"],
            agent_id=spec["agent"]["id"],
            run_id=spec["runId"],
        )
        return pathlib.Path(str(config.local_path(path)))

    def touch_log(self, body: Mapping[str, Any]) -> pathlib.Path:
        """Make the empty log of the AgentRun, as its init container does, and return its path."""
        file = self.log_file(body)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file

    def start_operator(self, *, wait: bool = True, **wishes: object) -> playground.Process:
        """Start the operator; with ``wait`` return when it is up. ``wishes`` are settings by their names.

        For example ``heartbeat_seconds=5``. It is ended with the namespace, or earlier by its ``stop``.
        """
        environment = {**self.environment, **{key.upper(): str(value) for key, value in wishes.items()}}
        log = self.folder / f"operator-{len(self.operators) + 1}.log"
        process = playground.start_operator(self.lab.kubeconfig, log=log, settings=environment)
        self.operators.append(process)
        if wait:
            self.wait_until_up(process)
        return process

    def wait_until_up(self, process: playground.Process) -> None:
        """Wait until the operator that was started last is up. Raises PlaygroundError with the end of its log."""

        def is_up() -> bool:
            if not process.alive:
                raise playground.PlaygroundError(f"the operator has ended: {self.operator_log.read_text()[-2000:]}")
            return _UP in self.operator_log.read_text()

        playground.wait_until(is_up, seconds=_UP_SECONDS, what="the operator to be up", every=0.02)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, its threads included, in steps of 10 ms."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@functools.lru_cache(maxsize=4)
def _parse_settings(environment: tuple[tuple[str, str], ...]) -> settings.Settings:
    return settings.from_environ({f"{settings.PREFIX}{key}": value for key, value in environment})


@contextlib.contextmanager
def ready(name: str = "bench-kwok", *, audit: bool = False, stage_file: pathlib.Path | None = None) -> Iterator[Lab]:
    """A cluster of fake nodes with the CRD and the operator's rights; stopped unless KEEP_TEST_CLUSTER is set.

    ``stage_file``: what its nodes do with pods, instead of ``stages``. Raises ClusterError, PlaygroundError.
    """
    folder = STATE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = stage_file or stages.write(folder / "stages.yaml")
    try:
        up = cluster.up(name, "kwok", audit=audit, kwok_nodes=NODES, kwok_config=config)
        kubectl = playground.Kubectl(kubeconfig=up.kubeconfig, binary=str(up.bin_dir / "kubectl"))
        playground.install(kubectl)
        playground.wait_until(lambda: _can_watch(kubectl), seconds=_UP_SECONDS, what="the new CRD to be served")
        yield _lab(kubectl, folder, up.state_dir / "audit.log")
    finally:
        if KEEP_CLUSTER not in os.environ:
            cluster.down(name)


def _can_watch(kubectl: playground.Kubectl) -> bool:
    """A CRD is established before its objects can be watched; until then the API server answers with 429."""
    try:
        kubectl.run("get", "--raw", f"{RESOURCES['agentruns']}/agentruns?watch=1&timeoutSeconds=1&resourceVersion=0")
    except playground.PlaygroundError:
        return False
    return True


def _lab(kubectl: playground.Kubectl, folder: pathlib.Path, audit_log: pathlib.Path) -> Lab:
    config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
    there = config["clusters"][0]["cluster"]
    return Lab(
        kubectl=kubectl,
        server=there["server"],
        authority=pathlib.Path(there["certificate-authority"]),
        token=config["users"][0]["user"]["token"],
        folder=folder,
        audit_log=audit_log,
        kubeconfig=playground.operator_kubeconfig(kubectl, folder / "operator.kubeconfig"),
    )
