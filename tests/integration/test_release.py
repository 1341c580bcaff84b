"""Runs whose operator is gone for good, on a real API server: both ways to let them go."""

import json
import os
import pathlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentrun_operator import errors, kube, names
from hack import playground
from tests import harness
from tests.integration import kubelet
from tests.integration.test_kube import connected

OURS = names.FINALIZER
OTHER = "other.example/finalizer"
SCRIPT = playground.ROOT / "deploy" / "release-finalizers.sh"

Tool = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["agentrun", "script"])
def tool(request: pytest.FixtureRequest, kubectl: playground.Kubectl) -> Tool:
    """Either way, with the administrator's rights: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        agentrun = [str(playground.ROOT / ".venv" / "bin" / "agentrun"), "release"]
        env = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig), "KUBECTL": kubectl.binary}
        command = agentrun if request.param == "agentrun" else [str(SCRIPT)]
        done = subprocess.run([*command, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def namespace(kubectl: playground.Kubectl) -> Iterator[str]:
    """One without an operator."""
    name = f"release-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", name)
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def create(kubectl: playground.Kubectl, namespace: str, name: str, *finalizers: str) -> dict[str, Any]:
    """An AgentRun with finalizers, as an operator leaves it."""
    body = {
        "apiVersion": "paperclip.io/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace, "finalizers": list(finalizers)},
        "spec": {"companyId": "acme", "agent": {"id": "ada"}, "prompt": {"text": "Do the task."}},
    }
    return dict(json.loads(kubectl.run("create", "-f", "-", "-o", "json", stdin=json.dumps(body))))


def delete(kubectl: playground.Kubectl, namespace: str, *names: str) -> None:
    """Begin to delete AgentRuns."""
    kubectl.run("delete", harness.RUNS, *names, "-n", namespace, "--wait=false")


def runs(kubectl: playground.Kubectl, namespace: str) -> dict[str, list[str]]:
    """The finalizers of all runs, by name."""
    items = kubectl.get(harness.RUNS, "-n", namespace)["items"]
    return {item["metadata"]["name"]: item["metadata"].get("finalizers", []) for item in items}


def test_a_run_whose_operator_died_goes_with_job_and_secret(site: harness.Site, tool: Tool) -> None:
    """Deleted while nobody was there, it hangs; released, it is gone, and Kubernetes removes what it owned."""
    site.start_operator()
    site.create("left")
    pod = kubelet.Pod(site, "left")
    pod.run()
    site.wait_status("left", phase="Running")
    site.kill_operator()
    delete(site.kubectl, site.namespace, "left")
    assert site.get(harness.RUNS, "left")["metadata"]["deletionTimestamp"]
    assert [OURS] in runs(site.kubectl, site.namespace).values()
    assert len(site.list("jobs")) == len(site.list("secrets")) == 1
    long_ago = json.dumps({"status": {"heartbeatTime": "2026-01-02T03:04:05Z"}})
    site.kubectl.run(
        "patch", harness.RUNS, "left", "-n", site.namespace, "--subresource=status", "--type=merge", "-p", long_ago
    )

    assert tool("-n", site.namespace) == (0, f"{site.namespace}/left: released\n", "")

    playground.wait_until(lambda: not site.list(harness.RUNS), seconds=10, what="the run to be gone")
    # The pod goes last: a Job that is still there would replace one that vanishes before. The garbage collector learns
    # of a new CRD only every half a minute, and this one may have been made just before.
    playground.wait_until(
        lambda: all("deletionTimestamp" in p["metadata"] for p in site.list("pods")) and not site.list("jobs"),
        seconds=90,
        what="the pod to be told to end",
    )
    pod.vanish()
    playground.wait_until(
        lambda: not any(site.list(kind) for kind in ("jobs", "secrets", "pods")), seconds=30, what="the rest to be gone"
    )


def test_a_fresh_heartbeat_holds_it_up(site: harness.Site) -> None:
    """The operator that wrote it may be at work; --force does it all the same."""
    site.start_operator()
    site.create("young")
    kubelet.Pod(site, "young").run()
    site.wait_status("young", phase="Running")
    site.kill_operator()
    delete(site.kubectl, site.namespace, "young")
    env = {"KUBECONFIG": str(site.kubectl.kubeconfig)}

    with pytest.raises(playground.PlaygroundError, match="an operator was at work on it"):
        playground.run_agentrun("release", "-n", site.namespace, env=env)
    assert runs(site.kubectl, site.namespace) == {"young": [OURS]}
    said = playground.run_agentrun("release", "-n", site.namespace, "--force", env=env)
    assert said == f"{site.namespace}/young: released\n"
    playground.wait_until(lambda: not site.list(harness.RUNS), seconds=10, what="the run to be gone")


def test_a_namespace_that_hangs_gets_through(kubectl: playground.Kubectl, namespace: str, tool: Tool) -> None:
    """It cannot end before the AgentRuns in it."""
    for name in ("a", "b"):
        create(kubectl, namespace, name, OURS)
    kubectl.run("delete", "namespace", namespace, "--wait=false")

    def hangs() -> bool:
        conditions = kubectl.get("namespace", namespace)["status"].get("conditions", [])
        return any(c["type"] == "NamespaceFinalizersRemaining" and c["status"] == "True" for c in conditions)

    playground.wait_until(hangs, seconds=30, what="the namespace to wait for finalizers")
    assert said(tool("-A", "--dry-run"), namespace) == ["a: would be released", "b: would be released"]

    assert said(tool("-A"), namespace) == ["a: released", "b: released"]

    playground.wait_until(
        lambda: not kubectl.run("get", "namespace", namespace, "--ignore-not-found"),
        seconds=60,
        what="the namespace to be gone",
    )


def said(outcome: tuple[int, str, str], namespace: str) -> list[str]:
    """What a tool has said of the runs of a namespace; other tests may have left some in theirs."""
    return [line.removeprefix(f"{namespace}/") for line in outcome[1].splitlines() if line.startswith(namespace)]


def test_nothing_but_our_finalizer_goes(kubectl: playground.Kubectl, namespace: str, tool: Tool) -> None:
    """Others stay, wherever they stand; a run that nobody deletes is touched with --all only, and stays."""
    create(kubectl, namespace, "first", OURS, OTHER)
    create(kubectl, namespace, "last", OTHER, OURS)
    create(kubectl, namespace, "foreign", OTHER)
    create(kubectl, namespace, "live", OURS)
    delete(kubectl, namespace, "first", "last", "foreign")
    try:
        assert tool("-n", namespace)[0] == 0
        assert runs(kubectl, namespace) == {"first": [OTHER], "foreign": [OTHER], "last": [OTHER], "live": [OURS]}
        assert tool("-n", namespace, "--all", "--dry-run")[1] == f"{namespace}/live: would be released\n"
        assert tool("-n", namespace, "--all")[1] == f"{namespace}/live: released\n"
        assert runs(kubectl, namespace)["live"] == []
        assert tool("-n", namespace, "--all")[:2] == (0, "")
    finally:
        for name in runs(kubectl, namespace):
            patch = json.dumps({"metadata": {"finalizers": None}})
            kubectl.run("patch", harness.RUNS, name, "-n", namespace, "--type=merge", "-p", patch)


def test_wrong_usage_of_the_script_is_2(kubectl: playground.Kubectl) -> None:
    """And nothing is asked of the cluster."""
    for arguments in (["-n"], ["--frob"], ["name"]):
        done = subprocess.run(
            [SCRIPT, *arguments], env={"KUBECTL": "false"}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: ")
    done = subprocess.run(["/bin/sh", SCRIPT], env={"KUBECTL": "false"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1


def test_the_script_reads_again_what_has_moved(
    kubectl: playground.Kubectl, namespace: str, tmp_path: pathlib.Path
) -> None:
    """Another finalizer goes between its look and its change."""
    create(kubectl, namespace, "moved", OTHER, OURS)
    delete(kubectl, namespace, "moved")
    first = json.dumps([{"op": "remove", "path": "/metadata/finalizers/0"}])
    wrapper = tmp_path / "kubectl"
    real = f"{kubectl.binary} --kubeconfig={kubectl.kubeconfig}"
    wrapper.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = patch ] && [ ! -e "{tmp_path}/done" ]; then\n'
        f'  touch "{tmp_path}/done"\n'
        f"  {real} patch {harness.RUNS} moved -n {namespace} --type=json -p '{first}' >&2\n"
        "fi\n"
        f'exec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    done = subprocess.run(
        [SCRIPT, "-n", namespace],
        env={**os.environ, "KUBECTL": str(wrapper)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{namespace}/moved: released\n", "")
    assert runs(kubectl, namespace) == {}


async def test_only_exactly_this_run_and_this_place_is_changed(kubectl: playground.Kubectl, namespace: str) -> None:
    """Anything else is a conflict: another uid, another place, a place that is not there."""
    uid = create(kubectl, namespace, "one", OTHER, OURS)["metadata"]["uid"]
    assert kubectl.kubeconfig is not None
    async with connected(kubectl.kubeconfig) as client:
        one = kube.Ref(namespace=namespace, name="one", uid=uid)
        for run, index in ((kube.Ref(namespace=namespace, name="one", uid="another"), 1), (one, 0), (one, 2)):
            with pytest.raises(errors.ConflictError):
                await client.remove_finalizer(run, OURS, index=index)
        with pytest.raises(errors.NotFoundError):
            await client.remove_finalizer(kube.Ref(namespace=namespace, name="two", uid=uid), OURS, index=0)
        assert runs(kubectl, namespace) == {"one": [OTHER, OURS]}
        [meta] = await client.list_run_metadata(namespace)
        assert (meta["uid"], meta["finalizers"]) == (uid, [OTHER, OURS])
        await client.remove_finalizer(one, OURS, index=1)
        await client.remove_finalizer(one, OTHER, index=0)
        assert runs(kubectl, namespace) == {"one": []}
