"""One pod per attempt and one live run per agent, on the real API server: held Jobs, two operators, stray pods."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agentrun_operator import names
from hack import playground
from tests import harness
from tests.integration import kubelet

_ENDED = ("Succeeded", "Failed", "Cancelled")


@pytest.fixture
def second(site: harness.Site) -> Iterator[playground.Process]:
    """A second operator beside the first one: each takes itself for the only one."""
    site.start_operator()
    kubeconfig = playground.operator_kubeconfig(site.kubectl, site.folder / "second.kubeconfig")
    log = site.folder / "second.log"
    operator = playground.start_operator(kubeconfig, log=log, settings=site.settings)
    yield operator
    operator.stop()


def history(site: harness.Site, kind: str, since: str) -> list[dict[str, Any]]:
    """Every change of the namespace's objects of a kind since a resourceVersion, as the API server tells them."""
    path = f"/apis/batch/v1/namespaces/{site.namespace}/{kind}"
    raw = site.kubectl.run("get", "--raw", f"{path}?watch=1&resourceVersion={since}&timeoutSeconds=2")
    return [json.loads(line) for line in raw.splitlines()]


def version(site: harness.Site) -> str:
    """The resourceVersion of the present."""
    raw = site.kubectl.run("get", "--raw", f"/apis/batch/v1/namespaces/{site.namespace}/jobs")
    return str(json.loads(raw)["metadata"]["resourceVersion"])


def test_a_job_is_on_record_before_it_may_have_a_pod(site: harness.Site) -> None:
    """Created held; started once, after the status named it; the mark is gone then."""
    site.start_operator()
    since = version(site)
    site.create("fine")
    kubelet.Pod(site, "fine")

    jobs = [e["object"] for e in history(site, "jobs", since)]

    assert jobs[0]["spec"]["suspend"] is True
    assert jobs[0]["metadata"]["annotations"][names.ANNOTATION_HELD] == names.HELD
    assert jobs[-1]["spec"]["suspend"] is False
    assert names.ANNOTATION_HELD not in jobs[-1]["metadata"]["annotations"]
    starts = [b for a, b in zip(jobs, jobs[1:], strict=False) if a["spec"]["suspend"] and not b["spec"]["suspend"]]
    assert len(starts) == 1
    recorded = next(c for c in site.status("fine")["conditions"] if c["type"] == "JobCreated")
    assert recorded["status"] == "True"


def test_a_job_for_a_queue_is_handed_over_when_the_agent_is_free(site: harness.Site) -> None:
    """Kueue sees the Job when it has its label, and that is only then; it stays suspended until Kueue lets it go."""
    site.start_operator()
    since = version(site)
    site.create("queued", job={"queueName": "gold"})
    status = site.wait_status("queued", phase="Queued", reason="JobSuspended")

    jobs = [e["object"] for e in history(site, "jobs", since)]

    assert names.LABEL_QUEUE not in jobs[0]["metadata"]["labels"]
    assert jobs[-1]["metadata"]["labels"][names.LABEL_QUEUE] == "gold"
    assert all(job["spec"]["suspend"] for job in jobs)
    assert status["job"]["uid"] == jobs[0]["metadata"]["uid"]


def test_two_operators_at_once_are_one(site: harness.Site, second: playground.Process) -> None:
    """Each run has one Job and one pod, each agent one live Job; and the final status is written once."""
    since = version(site)
    for agent in ("ada", "bob", "cyd"):
        for number in (1, 2):
            site.create(f"{agent}-{number}", agent={"id": agent})
    for number in (1, 2):
        for agent in ("ada", "bob", "cyd"):
            name = f"{agent}-{number}"
            pod = kubelet.Pod(site, name)
            pod.run()
            pod.write(kubelet.transcript("ok"))
            pod.end(0)
            status = site.wait_phase(name, *_ENDED)
            assert status["phase"] == "Succeeded", status
    ends = [(site.get(harness.RUNS, f"{a}-{n}")["status"]["completionTime"]) for a in ("ada", "bob") for n in (1, 2)]
    assert second.alive
    assert all(ends)
    assert overlaps(history(site, "jobs", since)) == []
    pods = site.list("pods")
    owners = [pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods]
    assert len(pods) == len(set(owners)) == 6


def overlaps(events: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Agents that had more than one live Job at some moment, and which."""
    live: dict[str, set[str]] = {}
    found = []
    for event in events:
        job = event["object"]
        meta = job["metadata"]
        jobs = live.setdefault(meta["labels"][names.LABEL_AGENT_ID], set())
        ended = any(
            c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in job["status"].get("conditions", ())
        )
        held = job["spec"]["suspend"] and names.ANNOTATION_HELD in meta["annotations"]
        if event["type"] == "DELETED" or ended or held:
            jobs.discard(meta["name"])
        else:
            jobs.add(meta["name"])
        if len(jobs) > 1:
            found.append((meta["labels"][names.LABEL_AGENT_ID], sorted(jobs)))
    return found


def bereave(site: harness.Site) -> kubelet.Pod:
    """Somebody deletes the Job of the run *first*, but not its pod, and the run *next* of the same agent waits."""
    site.start_operator()
    site.create("first")
    pod = kubelet.Pod(site, "first")
    pod.run()
    job = site.wait_status("first", phase="Running")["job"]["name"]
    site.create("next")
    site.wait_phase("next", "Queued")

    site.kubectl.run("delete", "job", job, "-n", site.namespace, "--cascade=orphan")
    waiting = site.wait_status("next", message=lambda text: text and "although its Job is over" in text)
    assert waiting["phase"] == "Queued"
    assert site.list("jobs") == []
    return pod


def test_a_pod_that_outlives_its_job_keeps_the_agent(site: harness.Site) -> None:
    """Its agent works on for a while. The next run of that agent waits for the pod."""
    pod = bereave(site)
    pod.vanish()

    site.wait_status("next", job=bool)
    assert site.wait_phase("first", *_ENDED)["error"]["code"] == "k8s_job_deleted_externally"


def test_a_pod_that_was_removed_by_force_keeps_the_agent_for_a_while(site: harness.Site) -> None:
    """First its Job, then the pod: Kubernetes has forgotten it, and its node may be a moment from ending the agent."""
    pod = bereave(site)
    force = ("--grace-period=0", "--force", "--wait=false")
    site.kubectl.run("delete", "pod", pod.name, "-n", site.namespace, *force)
    waiting = site.wait_status("next", message=lambda text: text and "was removed by force" in text)
    assert (waiting["phase"], waiting.get("job")) == ("Queued", None)

    assert site.wait_phase("first", *_ENDED)["error"]["code"] == "k8s_job_deleted_externally"
    site.wait_status("next", job=bool)


def test_a_status_of_another_writer_is_not_overwritten(site: harness.Site) -> None:
    """Whatever another operator has written last is what this one goes on from: the end is never taken back."""
    site.start_operator()
    site.create("settled")
    pod = kubelet.Pod(site, "settled")
    pod.run()
    status = site.wait_status("settled", phase="Running")
    final = {
        **status,
        "phase": "Failed",
        "reason": "Other",
        "message": "By another.",
        "completionTime": "2026-01-02T03:04:05Z",
    }
    patch = json.dumps({"status": final})
    site.kubectl.run(
        *("patch", harness.RUNS, "settled", "-n", site.namespace, "--subresource=status", "--type=merge", "-p", patch)
    )
    pod.write(kubelet.transcript("ok"))
    pod.end(0)

    playground.wait_until(
        lambda: not site.get(harness.RUNS, "settled")["metadata"].get("finalizers"), seconds=20, what="the release"
    )

    assert site.status("settled")["message"] == "By another."


def test_a_replaced_run_says_by_whom(site: harness.Site) -> None:
    """The policy Replace: the run that had the agent ends as Replaced, and the new one starts."""
    site.start_operator()
    site.create("old")
    pod = kubelet.Pod(site, "old")
    pod.run()
    site.wait_phase("old", "Running")

    site.create("new", concurrencyPolicy="Replace")
    site.wait_status("old", reason="Cancelling")
    pod.end(143)
    pod.vanish()
    status = site.wait_phase("old", *_ENDED)

    assert (status["phase"], status["reason"]) == ("Cancelled", "Replaced")
    assert site.get(harness.RUNS, "old")["metadata"]["annotations"][names.ANNOTATION_REPLACED_BY] == "new"
    site.wait_status("new", job=bool)


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_failed_attempt_is_followed_by_another(site: harness.Site, attempts: int) -> None:
    """Another Job under another name, the session resumed, its own log; usage and cost of all; then success."""
    site.start_operator()
    site.create("again", retry={"limit": 2, "backoffSeconds": 3})
    names_seen, sessions = [], []
    for number in range(attempts):
        pod = kubelet.Pod(site, "again")
        status = site.status("again")
        names_seen.append((status["job"]["name"], status["logPath"]))
        pod.run()
        pod.write(kubelet.transcript("error529"))
        pod.end(1)
        waiting = site.wait_status("again", attempt=number + 1)
        assert (waiting["reason"], waiting["previousAttempts"][-1]["code"]) == ("RetryBackoff", "claude_overloaded")
        sessions.append(waiting["session"]["id"])
        site.wait_status("again", job=lambda job: job and job["name"] not in {n for n, _ in names_seen})
    pod = kubelet.Pod(site, "again")
    [container] = site.get("pod", pod.name)["spec"]["containers"]
    assert container["args"][container["args"].index("--resume") + 1] == sessions[-1]
    assert site.get("pod", pod.name)["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempts)
    pod.run()
    pod.write(kubelet.transcript("ok"))
    pod.end(0)

    status = site.wait_phase("again", *_ENDED)

    assert (status["phase"], status["attempt"]) == ("Succeeded", attempts)
    assert [before["attempt"] for before in status["previousAttempts"]] == list(range(attempts))
    assert [before["jobName"] for before in status["previousAttempts"]] == [name for name, _ in names_seen]
    assert len({path for _, path in names_seen} | {status["logPath"]}) == attempts + 1
    assert "nextAttemptTime" not in status
    assert site.list("secrets") == []


def test_a_restart_between_two_attempts_forgets_nothing(site: harness.Site) -> None:
    """The operator dies while the run waits for its next attempt."""
    site.start_operator()
    site.create("patient", retry={"limit": 1, "backoffSeconds": 4})
    pod = kubelet.Pod(site, "patient")
    pod.run()
    pod.write(kubelet.transcript("error529"))
    pod.end(1)
    waiting = site.wait_status("patient", attempt=1)
    site.kill_operator()
    site.start_operator()

    status = site.wait_status("patient", job=bool)

    assert status["startTime"] >= waiting["nextAttemptTime"]
    assert len(site.list("jobs")) == 2


def test_a_usage_limit_is_heeded_by_all_that_share_the_credential(site: harness.Site) -> None:
    """The run that found the limit waits, and so does one of another agent; one with another credential does not."""
    shared = {"job": {"env": [{"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "k", "key": "k"}}}]}}
    other = {"job": {"env": [{"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "o", "key": "k"}}}]}}
    retry = {"retry": {"limit": 1, "backoffSeconds": 1}}
    site.start_operator()
    site.create("finder", **shared, **retry)
    pod = kubelet.Pod(site, "finder")
    pod.run()
    pod.write(in_an_hour(kubelet.transcript("oauth_rl_429")))
    pod.end(1)
    found = site.wait_status("finder", attempt=1)
    assert (found["phase"], found["reason"]) == ("Queued", "UsageLimited")
    site.create("sharer", agent={"id": "bob"}, **shared, **retry)
    site.create("stranger", agent={"id": "cyd"}, **other, **retry)
    site.create("hasty", agent={"id": "dan"}, **shared)

    waiting = site.wait_status("sharer", phase="Queued", reason="UsageLimited")
    site.wait_status("stranger", job=bool)
    site.wait_status("hasty", job=bool)
    site.kill_operator()
    site.start_operator()
    site.create("late", agent={"id": "eve"}, **shared, **retry)
    site.wait_status("late", phase="Queued", reason="UsageLimited")

    assert "job" not in site.status("sharer")
    assert waiting["nextAttemptTime"] <= found["nextAttemptTime"]


def in_an_hour(transcript: bytes) -> bytes:
    """The transcript of a usage limit, as if it was met now."""
    return re.sub(rb'("resetsAt":\s*)\d+', rb"\g<1>" + str(int(time.time()) + 3600).encode(), transcript)
