"""The operator at work on a cluster: what the demo and the end-to-end tests set up and tear down.

Standard library only, so that ``make demo-down`` works without the virtual environment. The operator runs as a process
of this machine with the rights of its service account (``deploy/rights``), not with the administrator's.
"""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRD = ROOT / "crds" / "paperclip.io_agentruns.yaml"
RIGHTS = ROOT / "hack" / "playground" / "rights"  # a kustomization
CLAIM = "paperclip-data"
AGENT_UID = 1000

_KUBECTL_SECONDS = 120

_T = TypeVar("_T")


class PlaygroundError(Exception):
    """Something could not be set up; the text says what and what to do."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """kubectl for one cluster."""

    kubeconfig: pathlib.Path | None
    binary: str = "kubectl"

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of ``kubectl ARGUMENTS``. Raises PlaygroundError with kubectl's own words."""
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=_KUBECTL_SECONDS, check=False
        )
        if done.returncode:
            raise PlaygroundError(f"kubectl {' '.join(arguments[:4])}: {done.stderr.strip()}")
        return done.stdout

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``kubectl ARGUMENTS``."""
        return [self.binary, *([f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []), *arguments]

    def get(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """``kubectl get … -o json``, decoded."""
        return json.loads(self.run("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects."""
        self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def install(kubectl: Kubectl) -> None:
    """Install the CRD and the operator's rights."""
    kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    kubectl.run("apply", "-k", str(RIGHTS))
    kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "crd/agentruns.paperclip.io")


def make_namespace(kubectl: Kubectl, namespace: str, volume: Mapping[str, Any] | None) -> None:
    """A namespace with the shared volume of its agents; ``volume`` None: the cluster's default storage class."""
    size = {"requests": {"storage": "1Gi"}}
    objects: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}]
    claim: dict[str, Any] = {"accessModes": ["ReadWriteMany" if volume else "ReadWriteOnce"], "resources": size}
    if volume:
        bound = build_volume(namespace, volume)
        claim.update(storageClassName="", volumeName=bound["metadata"]["name"])
        objects.append(bound)
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": namespace},
            "spec": claim,
        }
    )
    kubectl.apply(*objects)


def build_volume(namespace: str, volume: Mapping[str, Any]) -> dict[str, Any]:
    """The volume that only the claim of the agents in this namespace can have."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": CLAIM},
        **volume,
    }
    name = f"{namespace}-{CLAIM}"
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def host_volume(folder: pathlib.Path) -> dict[str, Any]:
    """A volume on this machine, writable for agents."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, AGENT_UID, AGENT_UID)
    return {"hostPath": {"path": str(folder), "type": "Directory"}}


def operator_kubeconfig(kubectl: Kubectl, target: pathlib.Path) -> pathlib.Path:
    """A kubeconfig with the rights of the operator's service account, at ``target``; the token is good for a day."""
    token = kubectl.run("create", "token", "agentrun-operator", "-n", "agentrun-system", "--duration=24h").strip()
    config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
    for cluster in config["clusters"]:
        authority = cluster["cluster"].pop("certificate-authority", None)
        if authority:
            data = pathlib.Path(authority).read_bytes()
            cluster["cluster"]["certificate-authority-data"] = base64.b64encode(data).decode()
    config["users"] = [{"name": "operator", "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = "operator"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch(mode=0o600)
    target.write_text(json.dumps(config))
    return target


@dataclasses.dataclass(slots=True)
class Process:
    """A program in the background, known by its pid and start time, so that no other one is ever taken for it."""

    pid: int
    started: str

    @classmethod
    def load(cls, file: pathlib.Path) -> "Process | None":
        """The process that ``save`` wrote down, if it still runs."""
        try:
            process = cls(**json.loads(file.read_text()))
        except OSError:
            return None
        return process if process.alive else None

    def save(self, file: pathlib.Path) -> None:
        """Write down which process it is."""
        file.write_text(json.dumps({"pid": self.pid, "started": self.started}))

    @classmethod
    def start(cls, command: list[str], *, log: pathlib.Path, env: Mapping[str, str] | None = None) -> "Process":
        """Start ``command`` in its own session, with its output appended to ``log``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - the caller's own command
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        process = cls(pid=child.pid, started=_start_time(child.pid))
        _children[process.pid, process.started] = child
        return process

    @property
    def alive(self) -> bool:
        """Whether it is still the same program and runs."""
        child = _children.get((self.pid, self.started))
        if child is not None:  # asked of the system, and so taken leave of: no other process gets its number before
            return child.poll() is None
        return self.started != "" and _start_time(self.pid) == self.started

    def send(self, number: int) -> None:
        """Send a signal; nothing happens if it does not run any more."""
        if self.alive:
            os.kill(self.pid, number)

    def stop(self, *, seconds: float = 20) -> None:
        """End it with TERM, after ``seconds`` with KILL."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(PlaygroundError):
            wait_until(lambda: not self.alive, seconds=seconds, what="the process to end")
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.alive, seconds=5, what="a killed process to end")


_children: dict[tuple[int, str], subprocess.Popen[bytes]] = {}  # by pid and start time


def _start_time(pid: int) -> str:
    """When the process began, in clock ticks since boot; "" if there is none or only its corpse."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def start_operator(
    kubeconfig: pathlib.Path, *, log: pathlib.Path, settings: Mapping[str, str], agentrun: pathlib.Path | None = None
) -> Process:
    """Start the operator; ``settings`` are its environment variables without the prefix."""
    binary = agentrun or ROOT / ".venv" / "bin" / "agentrun"
    env = {"KUBECONFIG": str(kubeconfig), **{f"AGENTRUN_{name}": value for name, value in settings.items()}}
    return Process.start([str(binary), "operator"], log=log, env=env)


def run_agentrun(*arguments: str, env: Mapping[str, str]) -> str:
    """Standard output of ``agentrun ARGUMENTS``. Raises PlaygroundError with its own words."""
    done = subprocess.run(
        [str(ROOT / ".venv" / "bin" / "agentrun"), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=_KUBECTL_SECONDS,
        check=False,
    )
    if done.returncode:
        raise PlaygroundError(done.stderr.strip())
    return done.stdout


def start_mock(
    folder: pathlib.Path, *, scenario: str = "tools", bodies: pathlib.Path | None = None, within: Sequence[str] = ()
) -> tuple[Process, int]:
    """Start the scripted Messages API on loopback; returns it and its port. ``bodies`` gets what agents send.

    ``within`` is a command that starts another one elsewhere, such as in a node's network.
    """
    port_file = folder / "mock.port"
    port_file.unlink(missing_ok=True)
    command = [*within, "python3", "-m", "hack.mock_anthropic", "--port", "0", "--port-file", str(port_file)]
    log = folder / "mock.log"
    command += ["--scenario", scenario, "--log", str(folder / "mock-requests.ndjson")]
    mock = Process.start([*command, *(["--bodies", str(bodies)] if bodies else [])], log=log)
    wait_until(port_file.exists, seconds=10, what=f"the scripted Messages API to listen (see {log})")
    return mock, int(port_file.read_text())


def wait_until(condition: Callable[[], _T | None], *, seconds: float, what: str, every: float = 0.05) -> _T:
    """Wait until ``condition()`` is true and return it. Raises PlaygroundError naming ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise PlaygroundError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def changes(kubectl: Kubectl, namespace: str, name: str, *, seconds: float) -> Iterator[dict[str, Any]]:
    """The AgentRun each time its phase, reason or message changed, until it has ended."""
    last: tuple[str, ...] = ()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        run = kubectl.get("agentruns.paperclip.io", name, "-n", namespace)
        status = run.get("status", {})
        now = tuple(str(status.get(key, "")) for key in ("phase", "reason", "message"))
        if now != last:
            yield run
            last = now
        if now[0] in {"Succeeded", "Failed", "Cancelled"}:
            return
        time.sleep(0.3)
    raise PlaygroundError(f"{name} did not end within {seconds:.0f} s")
