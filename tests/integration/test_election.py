"""Two operators and one Lease, on a real API server: who works, what happens when one falls silent, and to the runs."""

import collections
import contextlib
import dataclasses
import datetime
import json
import pathlib
import re
import select
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hack import playground
from tests import harness
from tests.integration import kubelet

NAMESPACE = "agentrun-system"
LEASE = "agentrun-operator"
PROMISE = 15  # seconds from the death of a leader to the next one at work

_ENDED = ("Succeeded", "Failed", "Cancelled")


@dataclasses.dataclass(slots=True)
class Replica:
    """One operator process with a log of its own."""

    process: playground.Process
    log: pathlib.Path
    endpoint: str

    def told(self, event: str) -> dict[str, Any]:
        """The first log line of this event; {} if there is none."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return next((line for line in lines if line["event"] == event), {})

    def wait_told(self, event: str, *, seconds: float = 30) -> dict[str, Any]:
        """Wait for the first log line of this event."""
        return playground.wait_until(lambda: self.told(event), seconds=seconds, what=f"{event} in {self.log}")

    def wait_gone(self) -> None:
        """Wait for the end of the process."""
        playground.wait_until(lambda: not self.process.alive, seconds=30, what="the process to end")

    @property
    def answers(self) -> bool:
        """Whether it answers a liveness probe."""
        with contextlib.suppress(OSError), urllib.request.urlopen(self.endpoint, timeout=2) as response:  # noqa: S310 - our own
            return bool(response.status == 200)
        return False


class Proxy:
    """Passes bytes on to the API server, until it is cut: then connections stay open and nothing comes through."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._cut = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing passes."""
        self._cut.set()

    def close(self) -> None:
        """Take no more connections."""
        self._cut.set()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            other = {client: server, server: client}
            while not self._cut.is_set():
                for source in select.select(list(other), [], [], 0.1)[0]:
                    data = b"" if self._cut.is_set() else source.recv(65536)
                    if not data and not self._cut.is_set():
                        return
                    other[source].sendall(data)
            client.settimeout(60)
            with contextlib.suppress(OSError):
                while client.recv(65536):  # what is sent now is lost
                    pass


@dataclasses.dataclass(slots=True)
class Pair:
    """A site whose operators take turns."""

    site: harness.Site
    replicas: list[Replica]

    def start(self, *, through: int | None = None) -> Replica:
        """Start one more replica; ``through`` is the port of a proxy before the API server."""
        number = len(self.replicas)
        kubeconfig = playground.operator_kubeconfig(
            self.site.kubectl, self.site.folder / f"operator-{number}.kubeconfig"
        )
        if through is not None:
            kubeconfig.write_text(re.sub(r"(https://[^:]+):\d+", rf"\1:{through}", kubeconfig.read_text()))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}/healthz"
        election = {"POD_NAMESPACE": NAMESPACE, "LEADER_ELECTION_LEASE": LEASE, "LIVENESS_ENDPOINT": endpoint}
        log = self.site.folder / f"operator-{number}.log"
        process = playground.start_operator(kubeconfig, log=log, settings={**self.site.settings, **election})
        self.replicas.append(Replica(process, log, endpoint))
        return self.replicas[-1]

    def start_both(self, *, through: int | None = None) -> tuple[Replica, Replica]:
        """The leader, and one that stands by."""
        leader = self.start(through=through)
        leader.wait_told("lease_acquired")
        standby = self.start()
        standby.wait_told("standing_by")
        return leader, standby

    @property
    def holder(self) -> str:
        """Who has the Lease; "" if nobody has."""
        return str(self.site.kubectl.get("lease", LEASE, "-n", NAMESPACE)["spec"].get("holderIdentity", ""))


@pytest.fixture
def pair(site: harness.Site) -> Iterator[Pair]:
    """A site without operators, and a Lease that nobody has."""
    site.kubectl.run("delete", "lease", LEASE, "-n", NAMESPACE, "--ignore-not-found")
    made = Pair(site, [])
    yield made
    for replica in made.replicas:
        replica.process.send(signal.SIGCONT)
        replica.process.stop()


@dataclasses.dataclass(slots=True)
class Watch:
    """Every change of some objects, from before the first to after the last."""

    process: playground.Process
    log: pathlib.Path

    @property
    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        """What became of which object, in order."""
        decoder, text, found = json.JSONDecoder(), self.log.read_text(), []
        while text := text.lstrip():
            change, end = decoder.raw_decode(text)
            found.append((str(change["type"]), dict(change["object"])))
            text = text[end:]
        return found

    def count(self, kind: str) -> collections.Counter[str]:
        """How often ADDED or DELETED was told of each object."""
        return collections.Counter(body["metadata"]["name"] for change, body in self.changes if change == kind)


@contextlib.contextmanager
def watching(site: harness.Site, kind: str) -> Iterator[Watch]:
    """Watch all objects of a kind in the site's namespace."""
    log = site.folder / f"watch-{kind}.json"
    command = site.kubectl.command("get", kind, "-n", site.namespace, "--watch", "--output-watch-events", "-o", "json")
    process = playground.Process.start(command, log=log)
    try:
        yield Watch(process, log)
    finally:
        process.stop()


def moment(line: dict[str, Any]) -> datetime.datetime:
    """When something was logged."""
    return datetime.datetime.fromisoformat(line["timestamp"])


def start_run(pair: Pair, name: str) -> tuple[kubelet.Pod, list[bytes]]:
    """A run at work that has printed half of its log; returns its pod and the other half."""
    pair.site.create(name, agent={"id": name})
    pod = kubelet.Pod(pair.site, name)
    pod.run()
    lines = kubelet.transcript("todo").splitlines(keepends=True)
    pod.write(b"".join(lines[:3]))
    pair.site.wait_status(name, phase="Running", logEvents=3)
    return pod, lines[3:]


def hand_over(pair: Pair, end: Callable[[], None], standby: Replica) -> None:
    """A run goes on under the other operator, in time, with the same Job and pod."""
    pod, rest = start_run(pair, "goes-on")
    assert standby.answers
    job = pair.site.status("goes-on")["job"]
    began = time.monotonic()
    end()
    standby.wait_told("lease_acquired")
    leads = time.monotonic() - began
    pod.write(rest[0])
    pair.site.wait_status("goes-on", logEvents=4)
    took = time.monotonic() - began
    print(f"the other one leads after {leads:.1f} s and follows the run after {took:.1f} s")  # noqa: T201 - the measurement
    pod.write(b"".join(rest[1:]))
    pod.end(0)
    status = pair.site.wait_phase("goes-on", *_ENDED)
    assert (status["phase"], status["job"], status["podName"]) == ("Succeeded", job, pod.name)
    assert [body["metadata"]["uid"] for body in pair.site.list("pods")] == [pod.uid]
    assert len(pair.site.list("jobs")) == 1
    assert took < PROMISE


@pytest.mark.alone
def test_a_leader_that_is_stopped_hands_over_at_once(pair: Pair) -> None:
    """SIGTERM, as an upgrade sends it: the Lease is let go when the work has ended, and not before."""
    leader, standby = pair.start_both()
    hand_over(pair, lambda: leader.process.send(signal.SIGTERM), standby)
    leader.wait_gone()
    assert moment(leader.told("lease_released")) <= moment(standby.told("lease_acquired"))
    assert not leader.told("lease_lost")


@pytest.mark.alone
def test_a_leader_that_is_killed_is_replaced_in_time(pair: Pair) -> None:
    """kill -9: nobody lets go of the Lease, it expires."""
    leader, standby = pair.start_both()
    hand_over(pair, lambda: leader.process.send(signal.SIGKILL), standby)
    assert not leader.told("lease_released")


def test_a_standby_that_is_stopped_ends_at_once(pair: Pair) -> None:
    """It had nothing, so it lets go of nothing, and the leader does not notice."""
    leader, standby = pair.start_both()
    holder = pair.holder
    standby.process.send(signal.SIGTERM)
    standby.wait_gone()
    assert (pair.holder, leader.process.alive, standby.told("lease_released")) == (holder, True, {})
    assert not re.search(r"kopf|agentruns", standby.log.read_text())


def test_a_leader_that_slept_past_its_lease_ends_itself(pair: Pair) -> None:
    """SIGSTOP, so that for a while two believe that they lead: each run is done once, and nothing is deleted."""
    leader, standby = pair.start_both()
    with (
        watching(pair.site, "jobs") as jobs,
        watching(pair.site, "pods") as pods,
        watching(pair.site, harness.RUNS) as runs,
    ):
        pod, rest = start_run(pair, "before")
        pair.site.create("just-before", agent={"id": "just-before"})
        leader.process.send(signal.SIGSTOP)
        pair.site.create("asleep", agent={"id": "asleep"})
        standby.wait_told("lease_acquired")
        for number in range(2):
            pair.site.create(f"awake-{number}", agent={"id": f"awake-{number}"})
        leader.process.send(signal.SIGCONT)
        pair.site.create("after", agent={"id": "after"})
        leader.wait_gone()
        pod.write(b"".join(rest))
        pod.end(0)
        names = ["before", "just-before", "asleep", "awake-0", "awake-1", "after"]
        for name in names[1:]:
            one = kubelet.Pod(pair.site, name)
            one.run()
            one.write(kubelet.transcript("ok"))
            one.end(0)
        for name in names:
            assert pair.site.wait_phase(name, *_ENDED)["phase"] == "Succeeded"
        live = {
            str(run["status"]["job"]["name"]): str(run["status"]["podName"]) for run in pair.site.list(harness.RUNS)
        }

    assert (leader.told("lease_lost")["exit_code"], leader.told("lease_released")) == (3, {})
    assert jobs.count("ADDED") == collections.Counter(live.keys())
    assert pods.count("ADDED") == collections.Counter(live.values())
    assert jobs.count("DELETED") + pods.count("DELETED") + runs.count("DELETED") == {}
    final = {(b["metadata"]["name"], json.dumps(b["status"], sort_keys=True)) for b in ended(runs)}
    assert sorted(name for name, _ in final) == sorted(names)


def ended(runs: Watch) -> list[dict[str, Any]]:
    """Every state of a run that had ended."""
    return [body for _, body in runs.changes if body.get("status", {}).get("phase") in _ENDED]


def test_a_leader_that_cannot_reach_the_api_server_ends_before_the_other_one_begins(pair: Pair) -> None:
    """Its requests hang: nothing is refused, no connection breaks."""
    proxy = Proxy(api_port(pair.site.kubectl))
    try:
        leader, standby = pair.start_both(through=proxy.port)
        pod, rest = start_run(pair, "goes-on")
        proxy.cut()
        leader.wait_gone()
        standby.wait_told("lease_acquired")
        assert moment(leader.told("lease_lost")) < moment(standby.told("lease_acquired"))
        assert leader.told("lease_lost")["exit_code"] == 3
        pod.write(b"".join(rest))
        pod.end(0)
        assert pair.site.wait_phase("goes-on", *_ENDED)["phase"] == "Succeeded"
        assert [body["metadata"]["uid"] for body in pair.site.list("pods")] == [pod.uid]
    finally:
        proxy.close()


def api_port(kubectl: playground.Kubectl) -> int:
    """Where the API server listens."""
    config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
    return int(config["clusters"][0]["cluster"]["server"].rpartition(":")[2])
