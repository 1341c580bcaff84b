"""Whatever becomes of a run, nothing of it is left behind: in the namespace, of any kind, and on the shared volume."""

import base64
import pathlib
import stat
import sys
from collections.abc import Callable, Iterator

import pytest

from agentrun_operator import names, runner
from hack import playground
from tests import harness
from tests.integration import kubelet

_ENDED = ("Succeeded", "Failed", "Cancelled")
_FLEETING = ("events", "events.events.k8s.io")  # they have a time to live of their own

_MORTAL = """#!{python}
import asyncio, os, signal
from agentrun_operator import settings
from agentrun_operator.cli import operator

def reached(step):
    if step == "{step}":
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(operator.operate(settings.from_environ(os.environ), reached=reached))
"""


class Traces:
    """All that there is in a namespace and on its volume, compared with what there was."""

    def __init__(self, site: harness.Site) -> None:
        self.site = site
        listed = site.kubectl.run("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        self.kinds = [kind for kind in listed if kind not in _FLEETING]
        always = {"serviceaccounts/default", "configmaps/kube-root-ca.crt"}
        playground.wait_until(lambda: always <= self._names(*always), seconds=20, what="what a namespace always has")
        self._before = self._objects()

    @property
    def left(self) -> set[str]:
        """Objects that were not there before, and those that were and are not any more."""
        return self._objects() ^ self._before

    @property
    def files(self) -> list[str]:
        """What is on the volume, folders included."""
        return sorted(str(path.relative_to(self.site.volume)) for path in self.site.volume.rglob("*"))

    def assert_gone(self) -> None:
        """Nothing is left; the garbage collector gets its time, half a minute alone until it knows a new CRD."""
        try:
            playground.wait_until(lambda: not self.left, seconds=80, what="everything to be gone", every=0.3)
        except playground.PlaygroundError as e:
            raise AssertionError(
                f"left behind: {sorted(self.left)}; operator:\n{self.site.operator_log[-2000:]}"
            ) from e

    @property
    def logs(self) -> list[str]:
        """What there is below the folder of logs."""
        return [name for name in self.files if name.startswith("instances/default/run-logs/")]

    def assert_no_log(self) -> None:
        """Nor a folder of logs; the operator gets its time."""
        try:
            playground.wait_until(lambda: not self.logs, seconds=10, what="the log to be gone")
        except playground.PlaygroundError as e:
            raise AssertionError(f"left behind: {self.logs}; operator:\n{self.site.operator_log[-3000:]}") from e

    def _objects(self) -> set[str]:
        found = self.site.list(",".join(self.kinds))
        return {f"{o['apiVersion']} {o['kind']} {o['metadata']['name']} {o['metadata']['uid']}" for o in found}

    def _names(self, *wanted: str) -> set[str]:
        kinds = {name.partition("/")[0] for name in wanted}
        return {f"{kind}/{o['metadata']['name']}" for kind in kinds for o in self.site.list(kind)}


@pytest.fixture
def traces(site: harness.Site) -> Traces:
    """See Traces."""
    site.kubectl.apply(  # the user's own, which has to stay
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "prompts", "namespace": site.namespace},
            "data": {"task": base64.b64encode(b"\xff\xfe").decode()},
        }
    )
    return Traces(site)


def start(site: harness.Site, name: str, **spec: object) -> kubelet.Pod:
    """A run whose agent has begun."""
    site.create(name, **spec)
    pod = kubelet.Pod(site, name)
    pod.run()
    pod.write(kubelet.transcript("ok"))
    return pod


def delete(site: harness.Site, *names: str) -> None:
    """Begin to delete AgentRuns."""
    site.kubectl.run("delete", harness.RUNS, *names, "-n", site.namespace, "--wait=false")


# --- what becomes of a run ------------------------------------------------------------------------------------------


def succeed(site: harness.Site) -> None:
    """The agent does its task."""
    start(site, "run").end(0)
    assert site.wait_phase("run", *_ENDED)["phase"] == "Succeeded"
    delete(site, "run")


def fail(site: harness.Site) -> None:
    """The agent fails."""
    start(site, "run").end(1)
    site.wait_phase("run", *_ENDED)
    delete(site, "run")


def cancel(site: harness.Site) -> None:
    """Somebody cancels the run."""
    pod = start(site, "run")
    site.wait_status("run", phase="Running")
    site.patch("run", {"spec": {"cancel": True}})
    playground.wait_until(lambda: _leaves(site, pod.name), seconds=20, what="the pod to be told to end")
    pod.vanish()
    assert site.wait_phase("run", *_ENDED)["phase"] == "Cancelled"
    delete(site, "run")


def delete_while_running(site: harness.Site) -> None:
    """Somebody deletes the run instead."""
    pod = start(site, "run")
    site.wait_status("run", phase="Running")
    delete(site, "run")
    playground.wait_until(lambda: _leaves(site, pod.name), seconds=20, what="the pod to be told to end")
    pod.vanish()


def delete_while_queued(site: harness.Site) -> None:
    """The run waits for its agent; that of another one goes on."""
    pod = start(site, "busy")
    site.create("run")
    site.wait_phase("run", "Queued")
    delete(site, "run")
    playground.wait_until(lambda: len(site.list(harness.RUNS)) == 1, seconds=20, what="the waiting run to be gone")
    assert len(site.list("jobs")) == 1
    pod.end(0)
    site.wait_phase("busy", *_ENDED)
    delete(site, "busy")


def be_refused(site: harness.Site) -> None:
    """The prompt is no text."""
    site.create("run", prompt={"secretKeyRef": {"name": "prompts", "key": "task"}})
    assert site.wait_phase("run", *_ENDED)["error"]["code"] == "prompt_invalid"
    delete(site, "run")


def expire(site: harness.Site) -> None:
    """Nobody deletes it: its time is over."""
    pod = start(site, "run", retention={"runTTLSecondsAfterSucceeded": 1})
    pod.end(0)
    playground.wait_until(lambda: not site.list(harness.RUNS), seconds=30, what="the run to be gone")


def be_one_too_many(site: harness.Site) -> None:
    """Nobody deletes it: a later one of its agent has ended."""
    for name in ("run", "next"):
        start(site, name).end(0)
        site.wait_phase(name, *_ENDED)
    playground.wait_until(lambda: len(site.list(harness.RUNS)) == 1, seconds=30, what="the first run to be gone")
    assert site.list(harness.RUNS)[0]["metadata"]["name"] == "next"
    delete(site, "next")


@pytest.mark.parametrize(
    "fate",
    [succeed, fail, cancel, delete_while_running, delete_while_queued, be_refused, expire, be_one_too_many],
)
def test_nothing_is_left(site: harness.Site, traces: Traces, fate: Callable[[harness.Site], None]) -> None:
    """Neither an object of any kind nor a file, once the AgentRun is deleted; and nothing else is touched."""
    site.start_operator(HISTORY_LIMIT="1")
    fate(site)
    traces.assert_gone()
    traces.assert_no_log()


@pytest.mark.parametrize(
    ("policy", "after_end", "after_deletion"),
    [("WithRun", True, False), ("AfterFinished", False, False), ("Never", True, True)],
)
def test_the_log_stays_as_long_as_it_is_wanted(
    site: harness.Site, traces: Traces, policy: str, *, after_end: bool, after_deletion: bool
) -> None:
    """After the end of the run, and after its deletion; no folder is left empty."""
    site.start_operator()
    start(site, "run", retention={"log": policy}).end(0)
    site.wait_phase("run", *_ENDED)
    assert bool(traces.logs) is after_end
    delete(site, "run")
    traces.assert_gone()
    if after_deletion:
        assert any(name.endswith(".pod.ndjson") for name in traces.logs)
    else:
        traces.assert_no_log()


# --- the operator dies ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["an operator comes back", "it is released"])
def rescue(request: pytest.FixtureRequest, site: harness.Site) -> Iterator[Callable[[], None]]:
    """What is done about a deletion that hangs."""

    def come_back() -> None:
        site.start_operator()

    def release() -> None:
        env = {"KUBECONFIG": str(site.kubectl.kubeconfig)}
        playground.run_agentrun("release", "-n", site.namespace, "--force", env=env)

    yield come_back if request.param == "an operator comes back" else release
    site.stop_operator()


def start_mortal(site: harness.Site, step: runner.Step, folder: pathlib.Path) -> None:
    """An operator that dies when it has just done this."""
    script = folder / "mortal"
    script.write_text(_MORTAL.format(python=sys.executable, step=step.value))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    kubeconfig = playground.operator_kubeconfig(site.kubectl, site.folder / "operator.kubeconfig")
    log = site.folder / "operator.log"
    site.operator = playground.start_operator(kubeconfig, log=log, settings=site.settings, agentrun=script)


def wait_for_its_death(site: harness.Site) -> None:
    """The operator has reached its step."""
    operator = site.operator
    assert operator is not None
    playground.wait_until(lambda: not operator.alive, seconds=30, what="the operator to die")


@pytest.mark.parametrize("step", [runner.Step.SECRET_CREATED, runner.Step.JOB_HELD, runner.Step.JOB_RECORDED])
def test_an_operator_that_dies_while_it_starts_a_run_leaves_nothing(
    site: harness.Site, traces: Traces, tmp_path: pathlib.Path, rescue: Callable[[], None], step: runner.Step
) -> None:
    """There is a Secret without a Job, or a Job that nobody let go; the run is deleted before anybody comes back."""
    start_mortal(site, step, tmp_path)
    site.create("run")
    wait_for_its_death(site)
    assert len(site.list("secrets")) == 2
    assert len(site.list("jobs")) == (step is not runner.Step.SECRET_CREATED)
    delete(site, "run")
    assert len(site.list(harness.RUNS)) == 1
    rescue()
    traces.assert_gone()


def test_an_operator_that_dies_right_after_the_end_leaves_nothing(
    site: harness.Site, traces: Traces, tmp_path: pathlib.Path, rescue: Callable[[], None]
) -> None:
    """The final status is written, and the finalizer is still there; if kopf was quicker than death, it is put back."""
    start_mortal(site, runner.Step.RUN_ENDED, tmp_path)
    start(site, "run").end(0)
    wait_for_its_death(site)
    site.patch("run", {"metadata": {"finalizers": [names.FINALIZER]}})
    assert site.status("run")["phase"] == "Succeeded"
    delete(site, "run")
    assert len(site.list(harness.RUNS)) == 1
    rescue()
    traces.assert_gone()


def _leaves(site: harness.Site, pod: str) -> bool:
    found = [p for p in site.list("pods") if p["metadata"]["name"] == pod]
    return bool(found) and "deletionTimestamp" in found[0]["metadata"]
