"""Further attempts and adopted Jobs with the real CLI on a real node."""

import re

from hack import playground
from tests import harness
from tests.e2e.conftest import Agents

_ENDED = ("Succeeded", "Failed", "Cancelled")


def test_an_overloaded_provider_is_tried_again_in_the_same_session(site: Agents) -> None:
    """Attempts fail with 529 until the provider answers; each has its own pod and log, all have one session."""
    site.start_run("again", "retry529ok", retry={"limit": 5, "backoffSeconds": 1})

    status = site.wait_phase("again", *_ENDED, seconds=100)

    assert status["phase"] == "Succeeded", status
    assert status["attempt"] == len(status["previousAttempts"]) >= 1
    assert {before["code"] for before in status["previousAttempts"]} == {"claude_overloaded"}
    assert len(site.list("pods")) == len(site.list("jobs")) == status["attempt"] + 1
    sessions = {line for log in _logs(site) for line in _sessions(log)}
    assert sessions == {status["session"]["id"]}
    assert site.list("secrets") == []


def _logs(site: Agents) -> list[bytes]:
    folder = site.log_file("again").parent
    return [path.read_bytes() for path in sorted(folder.glob("*.ndjson"))]


def _sessions(log: bytes) -> set[str]:
    return {found.decode() for found in re.findall(rb'"session_id":"([0-9a-f-]{36})"', log)}


def test_an_agent_that_was_let_go_is_adopted_by_the_next_run_of_its_task(site: Agents) -> None:
    """The AgentRun is deleted with --cascade=orphan while the agent works; the next run takes it to its end."""
    site.start_run("old", "slowmulti", taskId="t-1")
    before = site.wait_phase("old", "Running")
    site.kubectl.run("delete", harness.RUNS, "old", "-n", site.namespace, "--cascade=orphan", "--timeout=30s")

    site.start_run("new", "ok", taskId="t-1")
    status = site.wait_phase("new", *_ENDED, seconds=100)

    assert (status["phase"], status["job"]) == ("Succeeded", before["job"])
    assert status["turns"] > 1  # of the agent that was adopted; the new run's own would have been one
    assert len(site.list("pods")) == 1
    assert site.list("secrets") == []


def test_a_job_deleted_by_hand_leaves_no_second_agent(site: Agents) -> None:
    """kubectl delete job returns at once, the agent needs seconds to end: the next run waits for its pod."""
    site.start_run("first", "longtool")
    job = site.wait_phase("first", "Running")["job"]["name"]
    site.start_run("next", "ok")
    site.wait_phase("next", "Queued")
    [pod] = site.list("pods")

    site.kubectl.run("delete", "job", job, "-n", site.namespace, "--wait=false")
    status = site.wait_phase("next", *_ENDED, seconds=100)

    assert status["phase"] == "Succeeded"
    first = site.wait_phase("first", *_ENDED)
    assert (first["phase"], first["exit"]["code"]) == ("Failed", 143)  # the agent's own word is better than none
    assert "the Job no longer exists" in first["exit"]["detection"]
    started = playground.wait_until(lambda: site.list("jobs"), seconds=5, what="the next run's Job")
    assert started[0]["metadata"]["name"] == status["job"]["name"]
    assert site.list("pods")[0]["metadata"]["uid"] != pod["metadata"]["uid"]
