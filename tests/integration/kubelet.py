"""What a kubelet and an agent would do, done by the test: pod states through the API, the log on the shared volume."""

import json
import pathlib
import time
from typing import Any

from hack import playground
from tests import harness

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts" / "2.1.329"


NODE = "played-by-the-test"


def make_node(kubectl: playground.Kubectl) -> None:
    """A node that takes no pod by itself."""
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "spec": {"unschedulable": True}})


def transcript(scenario: str) -> bytes:
    """The real output of the CLI in a scenario."""
    return (TRANSCRIPTS / scenario / "stdout.ndjson").read_bytes()


class Pod:
    """The one pod of a run's Job."""

    def __init__(self, site: harness.Site, run: str) -> None:
        status = site.wait_status(run, job=bool)
        selector = f"batch.kubernetes.io/job-name={status['job']['name']}"
        pods = playground.wait_until(lambda: site.list("pods", "-l", selector), seconds=20, what=f"the pod of {run}")
        assert len(pods) == 1
        self._site = site
        self.name: str = pods[0]["metadata"]["name"]
        self.uid: str = pods[0]["metadata"]["uid"]
        self._bind()
        self._log = site.volume / pathlib.PurePosixPath(status["logPath"]).relative_to("/paperclip")
        [prepare] = [c for c in pods[0]["spec"]["initContainers"] if c["name"] == "prepare"]
        self._owner: str = prepare["command"][5]

    def prepare(self, report: str, *, exit_code: int = 0) -> None:
        """The init containers end, the last of them with this termination message; the pod, if it failed."""
        inits = self._site.get("pod", self.name)["spec"]["initContainers"]
        *others, last = (init["name"] for init in inits)
        ended = [*(_status(name, _terminated(0)) for name in others)]
        ended.append(_status(last, _terminated(exit_code, message=report)))
        self._write({"phase": "Failed" if exit_code else "Pending", "initContainerStatuses": ended})

    def run(self) -> None:
        """The log is prepared, and the agent starts."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.touch()
        pathlib.Path(str(self._log).removesuffix(".ndjson") + ".owner").write_text(self._owner + "\n")
        self.set_state(phase="Running", state={"running": {"startedAt": _now()}})

    def write(self, data: bytes) -> None:
        """The agent prints."""
        with self._log.open("ab") as file:
            file.write(data)

    def end(self, exit_code: int, *, message: str = "", reason: str = "") -> None:
        """The agent ends, and with it the pod."""
        ended = _terminated(exit_code, message=message, reason=reason)
        self.set_state(phase="Failed" if exit_code else "Succeeded", state=ended)

    def wait(self, reason: str, message: str) -> None:
        """The agent's container cannot start."""
        self.set_state(phase="Pending", state={"waiting": {"reason": reason, "message": message}})

    def set_state(self, *, phase: str, state: dict[str, Any]) -> None:
        """Write the pod's status as a kubelet does."""
        self._write({"phase": phase, "containerStatuses": [_status("claude", state)]})

    def _write(self, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self._kubectl("patch", "pod", self.name, "--subresource=status", "--type=merge", "-p", patch)

    def _bind(self) -> None:
        """Put the pod on the node that is none, or the scheduler goes on saying that it finds no place for it."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.name},
            "target": {"kind": "Node", "name": NODE},
        }
        path = f"/api/v1/namespaces/{self._site.namespace}/pods/{self.name}/binding"
        self._site.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))

    def vanish(self) -> None:
        """The kubelet has ended the pod, says so, and lets go of the object."""
        self._write({"phase": "Failed"})
        self._kubectl("delete", "pod", self.name, "--grace-period=0", "--force", "--wait=false", "--ignore-not-found")

    def _kubectl(self, verb: str, *arguments: str) -> None:
        self._site.kubectl.run(verb, *arguments, "-n", self._site.namespace)


def _status(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "example.test/agent:1",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _terminated(exit_code: int, *, message: str = "", reason: str = "") -> dict[str, Any]:
    ended = {"exitCode": exit_code, "startedAt": _now(), "finishedAt": _now(), "message": message}
    return {"terminated": {**ended, "reason": reason or ("Error" if exit_code else "Completed")}}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
