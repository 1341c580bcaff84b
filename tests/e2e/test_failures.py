"""What goes wrong in a cluster, made to go wrong for real: one code per cause, and nothing lost that was known.

The scenarios are those of the scripted API; ``mid_`` lets the agent finish two turns before it meets its trouble, so
that there is a session, usage and cost to keep.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from hack import playground
from tests.e2e.conftest import Agents

ENDED = ("Succeeded", "Failed", "Cancelled")
# With cgroup v2 the kubelet has the kernel kill all of a container at once; with v1 the kernel picks one process.
KILLS_WHOLE_CONTAINER = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()


def ended(site: Agents, name: str) -> dict[str, Any]:
    """The status of a run that has ended; its prompt is gone, and it had one pod and never another."""
    status = site.wait_phase(name, *ENDED, seconds=90)
    assert site.list("secrets") == []
    assert "promptSecretName" not in status
    made = f"--field-selector=involvedObject.name={status['job']['name']},reason=SuccessfulCreate"
    assert len(site.list("events", made)) == 1
    return status


def failed(site: Agents, name: str, code: str, *, says: tuple[str, ...]) -> dict[str, Any]:
    """As ``ended``, for a run that failed with ``code``; its message has these words and is for people."""
    status = ended(site, name)
    assert (status["phase"], status.get("error", {}).get("code")) == ("Failed", code), json.dumps(status)
    message = status["error"]["message"]
    assert status["message"] == message
    assert [word for word in says if word not in message] == [], message
    assert not set("{}\n\x1b") & set(message)
    return status


def assert_kept(status: dict[str, Any], *, turns: int, estimated: bool = False) -> None:
    """What the agent did before it failed is on record: its session, its turns, what it used."""
    assert status["session"]["id"]
    assert status["session"]["cwd"] == "/paperclip"
    assert not status["session"].get("clear")
    assert status["turns"] == turns
    assert status["lastTool"] == "Bash"
    assert status["usage"]["inputTokens"] >= 1000 * turns  # the scripted API's number; a broken answer costs, too
    assert status["usage"].get("estimated", False) is estimated
    if not estimated:  # the CLI tells the cost with its result, so a killed agent's is not known
        assert float(status["costUSD"]) > 0


# ------------------------------------------------------------------------------------------ the model's provider


@pytest.mark.parametrize(
    ("scenario", "code", "says"),
    [
        ("mid_error429", "claude_rate_limited", ("HTTP 429", "Try again later", "spec.claude.maxRetries")),
        ("mid_error529", "claude_overloaded", ("HTTP 529", "overloaded", "Try again later")),
        ("mid_drop", "llm_unreachable", ("ECONNRESET", "Check network policy", "ANTHROPIC_BASE_URL")),
    ],
)
def test_an_api_that_fails_in_mid_run_is_named(site: Agents, scenario: str, code: str, says: tuple[str, ...]) -> None:
    """Refused with a time to wait (retry-after), overloaded, dropped in mid-stream: after two turns that went well."""
    site.start_run("refused", scenario)

    status = failed(site, "refused", code, says=says)

    assert (status["exit"]["code"], status["exit"].get("signal")) == (1, None)
    assert status["result"]["isError"] is True
    assert_kept(status, turns=2)


def test_a_rate_limit_that_clears_in_time_is_no_failure(site: Agents) -> None:
    """Twice 429 with retry-after 1: the CLI waits and goes on, because the run allows retries."""
    site.start_run("patient", "retry429ok", claude={"maxRetries": 3})

    status = ended(site, "patient")

    assert (status["phase"], status["exit"]["code"]) == ("Succeeded", 0), status
    assert "error" not in status


# ------------------------------------------------------------------------------------------------------ limits


def test_an_agent_out_of_turns_says_so(site: Agents) -> None:
    """claude.maxTurns: the CLI exits with 1; the session can be resumed and the message says how to go on."""
    site.start_run("turns", "maxturns", claude={"maxRetries": 0, "maxTurns": 2})

    status = failed(site, "turns", "claude_max_turns", says=("turns", "spec.claude.maxTurns", "resume"))

    assert (status["exit"]["code"], status["result"]["subtype"]) == (1, "error_max_turns")
    assert_kept(status, turns=2)


def test_an_agent_that_hangs_ends_at_its_deadline(site: Agents) -> None:
    """The API falls silent and the CLI waits for it; Kubernetes ends the pod, and all that was printed is kept."""
    site.start_run("hung", "mid_hang", timeouts={"timeoutSeconds": 12})

    status = failed(site, "hung", "timeout", says=("spec.timeouts.timeoutSeconds",))

    assert (status["exit"]["code"], status["exit"]["signal"]) == (143, 15)
    assert "DeadlineExceeded" in status["exit"]["detection"]
    # INT makes the CLI write a last result where it can; while it waits for the API it mostly cannot.
    assert_kept(status, turns=2, estimated="result" not in status)
    log = site.log_file("hung").read_bytes()
    assert (status["logBytes"], status["logEvents"]) == (len(log), len(log.splitlines()))
    assert b"turn 1" in log


def test_an_unknown_session_is_cleared_and_costs_nothing(site: Agents) -> None:
    """The CLI says it on both channels and ends with 1; what it echoes of the session is marked as not to be used."""
    unknown = "00000000-0000-4000-8000-000000000000"
    site.start_run("lost", "ok", session={"id": unknown})

    status = failed(site, "lost", "session_unavailable", says=("session", "does not exist", "without session.id"))

    assert status["exit"]["code"] == 1
    assert unknown in status["exit"]["stderrTail"]
    assert status["session"] == {"id": unknown, "clear": True}
    assert float(status.get("costUSD", 0)) == 0


# ------------------------------------------------------------------------------------------------------ memory


def limited(memory: str) -> dict[str, Any]:
    """A job with so much memory."""
    return {"resources": {"requests": {"memory": "32Mi"}, "limits": {"memory": memory}}}


def test_a_tool_that_runs_out_of_memory_is_the_agents_business(site: Agents) -> None:
    """One tool needs too much. With cgroup v1 the kernel kills it alone: the agent is told, goes on and succeeds.

    The runtime calls the container OOMKilled all the same, which the status shows. With v2 all of it is killed.
    """
    site.start_run("greedy", "oomchild", job=limited("700Mi"))

    if KILLS_WHOLE_CONTAINER:
        failed(site, "greedy", "k8s_oom_killed", says=("out of memory",))
        return
    status = ended(site, "greedy")

    assert (status["phase"], status["exit"]["code"]) == ("Succeeded", 0), status
    assert (status["exit"]["oomKilled"], status["exit"]["reason"]) == (True, "OOMKilled")
    assert "137" in site.log_file("greedy").read_text()


def test_an_agent_that_runs_out_of_memory_in_mid_run_keeps_its_session(site: Agents) -> None:
    """Many small tools together need too much: the kernel kills the largest process, which is the CLI."""
    site.start_run("crowded", "oomself", job=limited("700Mi"))

    status = failed(site, "crowded", "k8s_oom_killed", says=("out of memory", "spec.job.resources.limits.memory"))

    assert (status["exit"]["code"], status["exit"]["signal"]) == (137, 9)
    assert status["exit"]["oomKilled"] is True
    assert_kept(status, turns=1, estimated=True)


def test_a_limit_that_the_cli_itself_exceeds_is_named(site: Agents) -> None:
    """Too little memory to begin with: nothing is printed, and still the cause is known."""
    site.start_run("tiny", "ok", job=limited("64Mi"))

    status = failed(site, "tiny", "k8s_oom_killed", says=("out of memory", "spec.job.resources.limits.memory"))

    assert (status["exit"]["code"], status["exit"]["signal"]) == (137, 9)
    assert "result" not in status


# ------------------------------------------------------------------------------------------------ taken away


def test_a_deleted_pod_is_a_stopped_agent_with_an_exit_code(site: Agents) -> None:
    """kubectl delete pod: SIGTERM reaches the agent, whose exit code is seen. No other pod is made."""
    pod = at_work(site, "deleted")
    site.kubectl.run("delete", "pod", pod, "-n", site.namespace, "--timeout=60s")

    status = failed(site, "deleted", "claude_truncated", says=("resumed",))

    assert (status["exit"]["code"], status["exit"]["signal"]) == (143, 15)
    assert_kept(status, turns=1, estimated="result" not in status)


def test_an_evicted_pod_is_told_from_a_deleted_one(site: Agents) -> None:
    """The eviction API, as `kubectl drain` uses it."""
    pod = at_work(site, "evicted")
    path = f"/api/v1/namespaces/{site.namespace}/pods/{pod}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": site.namespace}}
    site.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))

    status = failed(site, "evicted", "k8s_pod_evicted", says=("evicted", "agentrun-", "started again"))

    assert (status["exit"]["code"], status["exit"]["signal"]) == (143, 15)
    assert_kept(status, turns=1, estimated="result" not in status)


def test_a_deleted_job_takes_its_agent_along(site: Agents) -> None:
    """kubectl delete job: the agent's exit code is seen, so it is that of an agent that was stopped."""
    at_work(site, "jobless")
    site.kubectl.run("delete", "job", site.status("jobless")["job"]["name"], "-n", site.namespace, "--wait=false")

    status = failed(site, "jobless", "claude_truncated", says=("SIGTERM", "resumed"))

    assert status["exit"]["code"] == 143
    assert "the Job no longer exists" in status["exit"]["detection"]
    assert_kept(status, turns=1, estimated="result" not in status)


def test_a_pod_that_was_removed_by_force_has_no_second_agent(site: Agents, api_bodies: pathlib.Path) -> None:
    """Kubernetes makes a second pod then, while the first agent may still be at work: it does not get to the agent."""
    mark = uuid.uuid4().hex
    site.start_run("forced", "", prompt={"text": f"SCENARIO=sleeptool {mark}"})
    site.wait_status("forced", lastTool="Bash")
    [pod] = site.list("pods")
    name = pod["metadata"]["name"]
    finalizers = json.dumps({"metadata": {"finalizers": None}})
    site.kubectl.run("patch", "pod", name, "-n", site.namespace, "--type=merge", "-p", finalizers)
    site.kubectl.run("delete", "pod", name, "-n", site.namespace, "--grace-period=0", "--force", "--wait=false")

    status = site.wait_phase("forced", *ENDED, seconds=90)

    assert status["phase"] == "Failed"
    assert status["error"]["code"] in {"k8s_init_failed", "k8s_job_deleted_externally", "claude_truncated"}, status
    asked = [path for path in api_bodies.iterdir() if mark in path.read_text()]
    assert len(asked) == 1, "one agent asked the model, and no other"


def test_a_sigterm_for_the_agent_alone_is_reported(site: Agents) -> None:
    """Something in the pod ends the CLI: 143 without a result."""
    pod = at_work(site, "termed")
    find = 'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = claude ] && kill -TERM ${p#/proc/} && exit; done'
    site.kubectl.run("exec", "-n", site.namespace, pod, "-c", "claude", "--", "sh", "-c", find)

    status = failed(site, "termed", "claude_truncated", says=("killed", "SIGTERM", "tool Bash", "resumed"))

    assert (status["exit"]["code"], status["exit"]["signal"]) == (143, 15)
    assert_kept(status, turns=1, estimated=True)


def at_work(site: Agents, name: str) -> str:
    """Start a run and wait until its agent is in the middle of a tool; the name of its pod."""
    site.start_run(name, "sleeptool")
    site.wait_status(name, lastTool="Bash")
    [pod] = site.list("pods")
    return str(pod["metadata"]["name"])


# -------------------------------------------------------------------------------------------------------- disk


@contextlib.contextmanager
def small_log_disk(site: Agents, size: str) -> Iterator[pathlib.Path]:
    """A file system of its own, of ``size``, for the logs on the shared volume."""
    folder = site.volume / "instances" / "default" / "run-logs"
    folder.mkdir(parents=True)
    for path in (folder, *folder.relative_to(site.volume).parents):
        os.chown(site.volume / path, playground.AGENT_UID, playground.AGENT_UID)
    owner = f"uid={playground.AGENT_UID},gid={playground.AGENT_UID},mode=0750"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},{owner}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a pod may have it still


def pod_log(site: Agents) -> str:
    """What the agent's container printed."""
    [pod] = site.list("pods")
    return site.kubectl.run("logs", "-n", site.namespace, pod["metadata"]["name"], "-c", "claude")


def test_a_full_log_disk_changes_no_verdict(site: Agents) -> None:
    """The file ends where the disk does. The agent goes on to its end, and what it says there is read from its pod's
    log, which has everything: the work is done and must not be done again.
    """
    with small_log_disk(site, "8k"):
        site.start_run("full", "tools")
        status = ended(site, "full")
        written = site.log_file("full").read_bytes()

    printed = pod_log(site)
    assert len(written) == 4096
    assert printed.encode().startswith(written[:2000])
    types = [json.loads(line)["type"] for line in printed.splitlines() if line.startswith("{")]
    assert types == ["system", "assistant", "assistant", "user", "assistant", "result"]
    assert (status["phase"], status["exit"]["code"]) == ("Succeeded", 0), status["message"]
    assert (status["turns"], status["result"]["subtype"], float(status["costUSD"]) > 0) == (2, "success", True)


def test_a_line_that_fills_the_disk_does_not_hide_the_result(site: Agents) -> None:
    """As above, in the middle of a line of 2 MiB."""
    with small_log_disk(site, "1m"):
        site.start_run("full", "bigoutput")
        status = ended(site, "full")

    assert (status["phase"], status["exit"]["code"]) == ("Succeeded", 0), status["message"]
    assert float(status["costUSD"]) > 0
    assert status["session"]["id"]


def test_a_disk_that_is_full_before_the_start_ends_the_run(site: Agents) -> None:
    """The init container cannot prepare the log; the agent is never started."""
    with small_log_disk(site, "4k") as folder:
        (folder / "taken").write_bytes(b"x" * 4096)
        site.start_run("late", "ok")
        status = failed(site, "late", "k8s_init_failed", says=("prepare", "never started", "kubectl logs"))

    assert "code" not in status["exit"]
