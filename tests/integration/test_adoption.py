"""A Job whose AgentRun is gone: adopted if it surely is the run's own work, left alone otherwise."""

import pathlib
from typing import Any

import pytest

from agentrun_operator import names
from hack import playground
from tests import harness
from tests.integration import kubelet

_ENDED = ("Succeeded", "Failed", "Cancelled")


def leave_an_orphan(site: harness.Site, name: str = "old", **spec: Any) -> kubelet.Pod:
    """A run at work whose AgentRun is deleted in such a way that its Job goes on."""
    site.create(name, **spec)
    pod = kubelet.Pod(site, name)
    pod.run()
    pod.write(b"".join(kubelet.transcript("todo").splitlines(keepends=True)[:3]))
    site.wait_phase(name, "Running")
    site.kubectl.run("delete", harness.RUNS, name, "-n", site.namespace, "--cascade=orphan", "--timeout=30s")
    [job] = site.list("jobs")
    assert "ownerReferences" not in job["metadata"]
    return pod


def finish(site: harness.Site, pod: kubelet.Pod, name: str) -> dict[str, Any]:
    """The agent comes to its end."""
    pod.write(b"".join(kubelet.transcript("todo").splitlines(keepends=True)[3:]))
    pod.end(0)
    return site.wait_phase(name, *_ENDED)


def test_letting_go_of_a_job_stops_nothing(site: harness.Site) -> None:
    """kubectl delete --cascade=orphan: Job, pod, Secret and log stay as they are."""
    site.start_operator()
    pod = leave_an_orphan(site)
    assert site.get("pod", pod.name)["status"]["phase"] == "Running"
    assert "deletionTimestamp" not in site.list("jobs")[0]["metadata"]
    assert len(site.list("secrets")) == 1


@pytest.mark.parametrize(("first", "second"), [({}, {}), ({"runId": "r-1"}, {"runId": "r-1"})])
def test_a_job_of_the_same_task_is_adopted(site: harness.Site, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Same Job, same pod, its own log; the Secret comes along; nothing is left at the end but the Job."""
    site.start_operator()
    pod = leave_an_orphan(site, taskId="t-1", **first)
    [before] = site.list("jobs")

    created = site.create("new", taskId="t-1", retry={"limit": 3}, **second)
    status = site.wait_phase("new", "Running")

    assert status["job"] == {"name": before["metadata"]["name"], "uid": before["metadata"]["uid"]}
    assert status["reattachedFrom"] == "old"
    assert status["logPath"] == before["metadata"]["annotations"][names.ANNOTATION_LOG_PATH]
    [job] = site.list("jobs")
    assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == [created["metadata"]["uid"]]
    [secret] = site.list("secrets")
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [created["metadata"]["uid"]]
    log = site.log_file("new")
    owner = pathlib.Path(str(log).removesuffix(".ndjson") + ".owner")
    playground.wait_until(
        lambda: created["metadata"]["uid"] in owner.read_text(), seconds=10, what="the log to be the new run's"
    )

    status = finish(site, pod, "new")

    assert status["phase"] == "Succeeded"
    assert status["logEvents"] == len(kubelet.transcript("todo").splitlines())
    assert site.list("secrets") == []
    assert [p["metadata"]["uid"] for p in site.list("pods")] == [pod.uid]
    events = [e["reason"] for e in site.list("events") if e["involvedObject"]["name"] == "new"]
    assert "Reattached" in events
    assert "JobCreated" not in events
    site.kubectl.run("delete", harness.RUNS, "new", "-n", site.namespace, "--timeout=30s")
    playground.wait_until(lambda: not log.exists(), seconds=10, what="the log to be removed with its run")


def test_an_adopted_run_that_fails_is_not_tried_again(site: harness.Site) -> None:
    """Nobody knows what it was told; its failure is final, whatever spec.retry allows."""
    site.start_operator()
    pod = leave_an_orphan(site, taskId="t-1")
    site.create("new", taskId="t-1", retry={"limit": 3, "backoffSeconds": 1})
    site.wait_phase("new", "Running")
    pod.write(kubelet.transcript("error529"))
    pod.end(1)

    status = site.wait_phase("new", *_ENDED)

    assert (status["phase"], status["attempt"]) == ("Failed", 0)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ({"taskId": "t-1"}, {"taskId": "t-2"}, "k8s_orphan_task_mismatch"),
        ({"taskId": "t-1"}, {}, "k8s_orphan_task_unknown"),
        ({}, {"taskId": "t-1"}, "k8s_orphan_task_unknown"),
        (
            {"taskId": "t-1", "session": {"id": "aaaaaaaa-0000-4000-8000-000000000001"}},
            {"taskId": "t-1", "session": {"id": "aaaaaaaa-0000-4000-8000-000000000002"}},
            "k8s_orphan_session_mismatch",
        ),
    ],
)
def test_a_job_of_other_work_blocks_and_is_left_alone(
    site: harness.Site, old: dict[str, Any], new: dict[str, Any], code: str
) -> None:
    """The run ends with the code that says why; the Job and its pod are not touched."""
    site.start_operator()
    leave_an_orphan(site, **old)
    before = site.list("jobs")[0]["metadata"]["resourceVersion"]

    site.create("new", **new)
    status = site.wait_phase("new", *_ENDED)

    assert (status["phase"], status["error"]["code"]) == ("Failed", code)
    assert "job" not in status
    [job] = site.list("jobs")
    assert job["metadata"]["resourceVersion"] == before
    assert len(site.list("secrets")) == 1


def test_without_reattach_the_run_waits(site: harness.Site) -> None:
    """spec.reattach false: the Job is waited for like any other, and then the run starts its own."""
    site.start_operator()
    pod = leave_an_orphan(site, taskId="t-1")
    site.create("new", taskId="t-1", reattach=False)
    waiting = site.wait_phase("new", "Queued")
    assert "has no AgentRun" in waiting["message"]
    [orphan] = site.list("jobs")

    pod.end(0)
    status = site.wait_status("new", job=bool)
    secrets = [secret["metadata"]["name"] for secret in site.list("secrets")]

    assert secrets == [status["promptSecretName"]]
    assert orphan["metadata"]["uid"] not in {job["metadata"]["uid"] for job in site.list("jobs")}
    assert status["job"]["uid"] != orphan["metadata"]["uid"]
    assert "reattachedFrom" not in status


def test_the_operator_was_down_when_the_run_was_deleted(site: harness.Site) -> None:
    """The finalizer was taken off by hand and the Job let go; the next operator adopts it for the next run."""
    site.start_operator()
    site.create("old", taskId="t-1")
    pod = kubelet.Pod(site, "old")
    pod.run()
    pod.write(b"".join(kubelet.transcript("todo").splitlines(keepends=True)[:3]))
    site.wait_phase("old", "Running")
    site.kill_operator()
    site.kubectl.run("delete", harness.RUNS, "old", "-n", site.namespace, "--cascade=orphan", "--wait=false")
    playground.wait_until(
        lambda: "ownerReferences" not in site.list("jobs")[0]["metadata"], seconds=30, what="the Job to be let go"
    )
    patch = '{"metadata": {"finalizers": null}}'
    site.kubectl.run("patch", harness.RUNS, "old", "-n", site.namespace, "--type=merge", "-p", patch)
    site.create("new", taskId="t-1")

    site.start_operator()
    site.wait_phase("new", "Running")
    status = finish(site, pod, "new")

    assert status["phase"] == "Succeeded"
    assert [p["metadata"]["uid"] for p in site.list("pods")] == [pod.uid]
