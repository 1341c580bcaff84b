"""What the operator did in these tests, beside what it may do: the API server's own record of both.

What was used without a right is looked for at the end of every cluster (``conftest``). What is granted without need is
looked for here: the rare paths are taken first, so that the answer is the same when only this file is run. With
KEEP_TEST_CLUSTER the record goes back to the cluster's beginning, and such a right may be missed.
"""

import pytest

from hack import playground
from tests import harness
from tests.e2e import conftest
from tests.e2e.conftest import Agents, Deployed

pytestmark = pytest.mark.timeout(300)  # as in test_deployment


def test_the_rare_paths_are_taken(deployed: Deployed) -> None:
    """A prompt in a ConfigMap, a token in a Secret; runs that wait, are adopted, lose their Job, and expire."""
    prompts = {"name": "prompts", "namespace": deployed.namespace}
    deployed.kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": prompts, "data": {"task": "SCENARIO=sleeptool"}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": prompts,
            "stringData": {"token": "a-token-that-nobody-takes"},
        },
    )
    deployed.start_run("keyed", "ok", apiTokenSecretRef={"name": "prompts", "key": "token"})
    deployed.wait_phase("keyed", "Succeeded", "Failed")
    _adopt(deployed)
    _bereave(deployed)
    deployed.start_run("expired", "ok", agent={"id": "tim"}, cancel=True, retention={"runTTLSecondsAfterFailed": 0})
    playground.wait_until(
        lambda: "expired" not in [run["metadata"]["name"] for run in deployed.list(harness.RUNS)],
        seconds=30,
        what="the expired run to be gone",
    )


def _adopt(place: Deployed) -> None:
    """A run is let go in mid-work and adopted by the next; a third one waits in vain."""
    task = {"agent": {"id": "zoe"}, "taskId": "t-1"}
    prompt = {"configMapKeyRef": {"name": "prompts", "key": "task"}}
    place.start_run("let-go", "sleeptool", prompt=prompt, **task)
    place.wait_status("let-go", lastTool="Bash")
    place.kubectl.run("delete", harness.RUNS, "let-go", "-n", place.namespace, "--cascade=orphan", "--timeout=30s")
    place.start_run("adopting", "sleeptool", **task)
    place.wait_status("adopting", reattachedFrom="let-go")
    place.start_run("waiting", "ok", agent={"id": "zoe"})
    place.wait_phase("waiting", "Queued")
    for name in ("waiting", "adopting"):
        place.patch(name, {"spec": {"cancel": True}})
        place.wait_phase(name, "Cancelled")


def _bereave(place: Deployed) -> None:
    """A Job is deleted from above its pod; what is left to stop is the pod."""
    place.start_run("bereft", "sleeptool", agent={"id": "kim"})
    job = place.wait_status("bereft", lastTool="Bash")["job"]["name"]
    place.kubectl.run("delete", "job", job, "-n", place.namespace, "--cascade=orphan")
    place.patch("bereft", {"spec": {"cancel": True}})
    place.wait_phase("bereft", "Cancelled", "Failed")  # whichever is seen first, the wish or the loss of the Job
    playground.wait_until(lambda: not _pods_of(place, job), seconds=30, what="the pod to be stopped")


def _pods_of(place: Deployed, job: str) -> list[str]:
    names = [pod["metadata"]["name"] for pod in place.list("pods")]
    return [name for name in names if name.startswith(job)]


def test_a_log_is_read_from_the_pod(site: Agents) -> None:
    """An operator without a view of the volume asks for the pod's log."""
    site.stop_operator()
    site.start_operator(DATA_PATH="")
    site.start_run("unseen", "ok")

    assert site.wait_phase("unseen", "Succeeded", "Failed")["phase"] == "Succeeded"


@pytest.mark.usefixtures("kubectl")
def test_the_rights_are_what_was_used() -> None:
    """Not a verb less, not a verb more; and nothing was refused for want of a right."""
    used, difference = conftest.look_back()

    assert difference.lacking == (), "used and not granted"
    assert difference.unused == (), "granted and not used"
    assert [one for one in used if one.resource and not one.allowed] == []
