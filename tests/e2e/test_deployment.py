"""The operator as users install it: a pod of the operator's image, by the manifests of ``deploy/base``.

Only the way to the API server is the tests' own (``hack/deployment/overlay.py``), and the volume.
"""

import json

import pytest

from hack import playground
from tests.e2e.conftest import DEPLOYMENT, Deployed

pytestmark = pytest.mark.timeout(300)  # the first one builds the image, unless `make setup` just did

# Whether process 1 is one that may do nothing, as the operator itself sees it.
_CONFINED = """
import json, os, pathlib

def refused(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return error.strerror
    return "written"

status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "rights": int(status["CapEff"], 16),
    "new_privileges": int(status["NoNewPrivs"]), "filtered": int(status["Seccomp"]),
    "root": refused("/probe"), "own": refused("/opt/agentrun/lib/probe"), "temporary": refused("/tmp/probe"),
}))
"""


def test_the_pod_is_ready_and_confined(deployed: Deployed) -> None:
    """It runs as 1000 without any right, cannot write to its own image, has not restarted, and answers its probes."""
    said = deployed.kubectl.run("exec", DEPLOYMENT, "-n", deployed.namespace, "--", "python3", "-c", _CONFINED)
    [status] = deployed.operator_pod()["status"]["containerStatuses"]

    seen = json.loads(said)
    assert (seen["uid"], seen["gid"]) == (1000, 1000)
    assert (seen["rights"], seen["new_privileges"], seen["filtered"]) == (0, 1, 2)
    assert {seen[place] for place in ("root", "own", "temporary")} == {"Read-only file system"}
    assert (status["ready"], status["started"], status["restartCount"]) == (True, True, 0)
    assert "forbidden" not in deployed.operator_log.lower()


def test_doctor_in_the_operators_pod_finds_nothing_wrong(deployed: Deployed) -> None:
    """Right after an install it says what is still to come; when that is there, it has nothing to say."""
    assert _levels(deployed)["warn"] == {"secrets", "log-root"}
    deployed.apply_key()
    deployed.start_run("first", "ok")
    assert deployed.wait_phase("first", "Succeeded", "Failed")["phase"] == "Succeeded"

    levels = _levels(deployed)

    assert levels["warn"] == set()
    looked_at = {"settings", "api", "clock", "crd", "rights", "secrets", "volume", "log-root", "probe", "visibility"}
    assert looked_at <= levels["pass"] - levels["skip"]
    # What it has no right to see, and should not have: the cluster's nodes, claims, quotas and Deployments.
    assert levels["skip"] == {
        *("operator", "leader", "namespace", "claim", "access-mode", "quota", "admission", "image"),
    }


def _levels(deployed: Deployed) -> dict[str, set[str]]:
    """Which checks have a finding of each level; what the machine's own disk has left is not looked at here."""
    said = deployed.kubectl.run("exec", DEPLOYMENT, "-n", deployed.namespace, "--", "agentrun", "doctor", "-o", "json")
    found = [one for one in json.loads(said)["findings"] if one["check"] != "space"]
    assert [one for one in found if one["level"] == "fail"] == []
    return {level: {one["check"] for one in found if one["level"] == level} for level in ("pass", "warn", "skip")}


def test_a_run_succeeds_and_its_log_is_followed_on_the_volume(deployed: Deployed) -> None:
    """Image, rights, volume and uid fit together: live progress, verdict, transcript, and nothing left behind."""
    deployed.start_run("hello", "longtools")

    live = deployed.wait_status("hello", phase="Running", turns=lambda turns: (turns or 0) >= 2)
    status = deployed.wait_phase("hello", "Succeeded", "Failed")

    assert live["lastOutputTime"]
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    log = deployed.log_file("hello").read_bytes()
    assert (status["logBytes"], status["logEvents"]) == (len(log), len(log.splitlines()))
    assert [one for one in deployed.list("secrets") if one["metadata"]["name"].startswith("ac-")] == []


def test_agents_inherit_the_reference_to_the_key_and_the_claim(deployed: Deployed) -> None:
    """What the Deployment names reaches the agent's pod: by reference, so that no key is in any manifest."""
    deployed.apply_key()
    base_url = {"name": "ANTHROPIC_BASE_URL", "value": f"http://127.0.0.1:{deployed.api_port}"}
    job = {
        "env": [base_url],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "podTemplate": {"spec": {"hostNetwork": True}},
    }
    deployed.create("heir", prompt={"text": "SCENARIO=ok"}, claude={"maxRetries": 0}, job=job)

    status = deployed.wait_phase("heir", "Succeeded", "Failed")

    pod = deployed.get("job", status["job"]["name"])["spec"]["template"]["spec"]
    [key] = [entry for entry in pod["containers"][0]["env"] if entry["name"] == "ANTHROPIC_API_KEY"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "agentrun-anthropic", "key": "api-key", "optional": True}
    assert playground.CLAIM in [v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["volumes"]]
    assert status["phase"] == "Succeeded"


@pytest.mark.parametrize("grace", ["30", "0"])
def test_the_next_pod_goes_on_with_the_same_agent(deployed: Deployed, grace: str) -> None:
    """The operator's pod is deleted in mid-run, gently or by force: same Job, same agent's pod, every line counted."""
    deployed.start_run("survivor", "longtools")
    before = deployed.wait_status("survivor", turns=lambda turns: (turns or 0) >= 2)
    old = deployed.operator_pod()["metadata"]["name"]
    force = ["--force"] if grace == "0" else []

    deployed.kubectl.run("delete", "pod", old, "-n", deployed.namespace, f"--grace-period={grace}", *force)
    deployed.wait_until_ready()
    status = deployed.wait_phase("survivor", "Succeeded", "Failed")

    assert deployed.operator_pod()["metadata"]["name"] != old
    assert status["phase"] == "Succeeded"
    assert (status["job"], status["podName"]) == (before["job"], before["podName"])
    assert status["logEvents"] == len(deployed.log_file("survivor").read_bytes().splitlines())


def test_only_its_own_namespace_is_its_business(deployed: Deployed) -> None:
    """It may not even look elsewhere: least privilege is what the manifests install when nobody asks for more."""
    account = f"--as=system:serviceaccount:{deployed.namespace}:agentrun-operator"

    def may(verb: str, what: str, namespace: str) -> str:
        try:
            return deployed.kubectl.run("auth", "can-i", verb, what, "-n", namespace, account).strip()
        except playground.PlaygroundError:  # "no" comes with an exit code
            return "no"

    assert may("list", "agentruns.paperclip.io", deployed.namespace) == "yes"
    assert may("list", "agentruns.paperclip.io", "default") == "no"
    assert may("get", "secrets", "default") == "no"
    assert may("list", "secrets", deployed.namespace) == "no"
    assert may("create", "pods", deployed.namespace) == "no"
