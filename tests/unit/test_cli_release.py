"""``agentrun release``: which runs are let go, and what is said of the others."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from agentrun_operator import cli, errors, facts, kube, names
from agentrun_operator.cli import release
from tests import builders

OURS = names.FINALIZER
UNAVAILABLE = errors.UnavailableError("timed out")


@dataclasses.dataclass
class Fake:
    """AgentRuns in memory; ``before`` is called before each request that changes one, as somebody else would."""

    runs: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    before: list[Callable[[], object]] = dataclasses.field(default_factory=list)
    jobs: list[facts.JobFacts] = dataclasses.field(default_factory=list)
    let_go: list[str] = dataclasses.field(default_factory=list)
    fail: list[errors.ApiError | None] = dataclasses.field(default_factory=list)
    removed: list[str] = dataclasses.field(default_factory=list)
    connected: dict[str, Any] = dataclasses.field(default_factory=dict)
    closed: bool = False

    def add(self, name: str, *finalizers: str, namespace: str = "team-a", **given: Any) -> dict[str, Any]:
        """An AgentRun that is being deleted, unless told otherwise."""
        body = builders.agent_run(name=name, namespace=namespace, uid=f"uid-{name}", **{"deleting": True, **given})
        body["metadata"]["finalizers"] = list(finalizers)
        self.runs[namespace, name] = body
        return body

    async def list_run_metadata(self, namespace: str = "") -> list[Mapping[str, Any]]:
        """As the client does."""
        return [body["metadata"] for (place, _), body in self.runs.items() if namespace in {"", place}]

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        """As the client does."""
        if (namespace, name) not in self.runs:
            raise errors.NotFoundError("not found", status=404)
        body = self.runs[namespace, name]
        return {**body, "metadata": {**body["metadata"], "finalizers": list(body["metadata"]["finalizers"])}}

    async def remove_finalizer(self, run: kube.Ref, finalizer: str, *, index: int) -> None:
        """As the client does."""
        if self.before:
            self.before.pop(0)()
        error = self.fail.pop(0) if self.fail else None
        if error is not None:
            raise error
        body = self.runs.get((run.namespace, run.name))
        if body is None:
            raise errors.NotFoundError("not found", status=404)
        finalizers = body["metadata"]["finalizers"]
        if body["metadata"]["uid"] != run.uid or finalizers[index : index + 1] != [finalizer]:
            raise errors.ConflictError("has changed", status=422)
        del finalizers[index]
        self.removed.append(run.name)

    async def list_jobs(self, namespace: str = "") -> list[facts.JobFacts]:
        """As the client does."""
        return [job for job in self.jobs if namespace in {"", job.namespace}]

    async def let_job_go(self, job: facts.JobFacts) -> facts.JobFacts:
        """As the client does."""
        error = self.fail.pop(0) if self.fail else None
        if error is not None:
            raise error
        self.let_go.append(job.name)
        return dataclasses.replace(job, finalizers=())

    def add_job(self, name: str, *finalizers: str, deleting: bool = True, namespace: str = "team-a") -> None:
        """A Job of an operator."""
        made = facts.JobFacts(name=name, namespace=namespace, uid=name, finalizers=finalizers, deleting=deleting)
        self.jobs.append(made)

    async def close(self) -> None:
        """As the client does."""
        self.closed = True

    def finalizers(self, name: str) -> list[str]:
        """Those of a run."""
        return list(self.runs["team-a", name]["metadata"]["finalizers"])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """What the command connects to."""
    made = Fake()

    async def connect(**how: Any) -> Fake:
        made.connected = how
        return made

    monkeypatch.setattr(kube, "connect", connect)
    return made


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Run the command: exit code, stdout, stderr."""
    return (cli.main(["release", "-n", "team-a", *argv]), *capsys.readouterr())


def beat(ago: float) -> dict[str, Any]:
    """A status with a heartbeat so many seconds ago."""
    return {"phase": "Running", "heartbeatTime": (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago)).isoformat()}


def test_only_what_is_being_deleted_and_waits_for_us_is_released(
    capsys: pytest.CaptureFixture[str], fake: Fake
) -> None:
    """And only our finalizer goes."""
    fake.add("waits", "before.example/a", OURS, "after.example/b")
    fake.add("live", OURS, deleting=False)
    fake.add("others", "before.example/a")
    fake.add("elsewhere", OURS, namespace="team-b")
    told = "team-a/waits: released; it still waits for before.example/a, after.example/b\n"
    assert run(capsys) == (0, told, "")
    assert fake.removed == ["waits"]
    assert fake.finalizers("waits") == ["before.example/a", "after.example/b"]
    assert fake.closed


def test_all_namespaces_and_all_runs(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """As before an uninstallation; the context is that of the kubeconfig."""
    fake.add("live", OURS, deleting=False)
    fake.add("elsewhere", OURS, namespace="team-b")
    code = cli.main(["release", "-A", "--all", "--context", "prod"])
    assert (code, capsys.readouterr().out) == (0, "team-a/live: released\nteam-b/elsewhere: released\n")
    assert fake.connected["context"] == "prod"


@pytest.mark.parametrize(
    ("argv", "said"), [((), "waits for an operator to be deleted"), (("--all",), "carries the operator's finalizer")]
)
def test_nothing_to_do_is_no_trouble(
    capsys: pytest.CaptureFixture[str], fake: Fake, argv: tuple[str, ...], said: str
) -> None:
    """It is said, beside the output."""
    fake.add("others", "before.example/a")
    assert run(capsys, *argv) == (0, "", f"agentrun release: no AgentRun {said}\n")


def test_a_job_whose_adoption_nobody_recorded_is_let_go(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """Only with our finalizer, and only if somebody deletes it."""
    fake.add_job("adopted", "other.example/x", names.ADOPTION_FINALIZER)
    fake.add_job("at-work", names.ADOPTION_FINALIZER, deleting=False)
    fake.add_job("others", "other.example/x")
    fake.add_job("elsewhere", names.ADOPTION_FINALIZER, namespace="team-b")
    assert run(capsys, "--dry-run") == (0, "Job team-a/adopted: would be released\n", "")
    assert fake.let_go == []
    assert run(capsys) == (0, "Job team-a/adopted: released\n", "")
    assert run(capsys, "--all")[1] == "Job team-a/adopted: released\nJob team-a/at-work: released\n"
    assert fake.let_go == ["adopted", "adopted", "at-work"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.NotFoundError("not found", status=404), 0, "Job team-a/adopted: is gone\n"),
        (UNAVAILABLE, 1, "Job team-a/adopted: left as it is: timed out\n"),
    ],
)
def test_what_became_of_a_job_is_said(
    capsys: pytest.CaptureFixture[str], fake: Fake, error: errors.ApiError, code: int, said: str
) -> None:
    """Gone is good; trouble is not."""
    fake.add_job("adopted", names.ADOPTION_FINALIZER)
    fake.fail = [error]
    done, out, err = run(capsys)
    assert (done, out + err) == (code, said)


def test_a_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """It says what would be done, and what would be left."""
    fake.add("waits", OURS)
    fake.add("alive", OURS, status=beat(10))
    code, out, err = run(capsys, "--dry-run")
    assert (code, out, fake.removed) == (1, "team-a/waits: would be released\n", [])
    assert err.startswith("team-a/alive: left as it is: an operator was at work on it 10 s ago.")


@pytest.mark.parametrize(
    ("ago", "minutes"), [(0, "in 5 min"), (59, "in 5 min"), (250, "in 1 min"), (299, "in 1 min"), (-30, "in 6 min")]
)
def test_a_run_that_an_operator_cares_for_is_left_alone(
    capsys: pytest.CaptureFixture[str], fake: Fake, ago: float, minutes: str
) -> None:
    """For it is about to stop the agent, and to write down what it cost. The others go."""
    fake.add("alive", OURS, status=beat(ago))
    fake.add("waits", OURS)
    code, out, err = run(capsys)
    assert (code, out) == (1, "team-a/waits: released\n")
    assert f"at work on it {max(ago, 0)} s ago" in err
    assert minutes in err
    assert "--force" in err
    assert run(capsys, "--force") == (0, "team-a/alive: released\n", "")


@pytest.mark.parametrize("status", [None, {}, beat(301), {"heartbeatTime": "soon"}, {"heartbeatTime": None}])
def test_without_a_fresh_heartbeat_there_is_no_operator(
    capsys: pytest.CaptureFixture[str], fake: Fake, status: dict[str, Any] | None
) -> None:
    """A run that never had one, too: it was queued."""
    fake.add("waits", OURS, status=status)
    assert run(capsys) == (0, "team-a/waits: released\n", "")


def test_a_conflict_is_read_again(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """Finalizers have moved: ours is found at its new place."""
    body = fake.add("waits", "before.example/a", OURS)
    fake.before = [lambda: body["metadata"]["finalizers"].pop(0)]
    assert run(capsys) == (0, "team-a/waits: released\n", "")
    assert fake.finalizers("waits") == []


def test_conflicts_without_end_are_given_up(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """With exit code 1; the others are released all the same."""
    fake.add("busy", OURS)
    fake.add("waits", OURS)
    fake.fail = [errors.ConflictError("has changed") for _ in range(5)]
    code, out, err = run(capsys)
    assert (code, out) == (1, "team-a/waits: released\n")
    assert err == "team-a/busy: left as it is: it was changed by somebody else 5 times in a row; try again\n"


def test_what_goes_by_itself_in_the_meantime_is_no_trouble(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """Between the list and the look, or between the look and the change; also if another one has its name then."""
    for name in ("a", "b", "c", "d"):
        fake.add(name, OURS)
    listed = fake.list_run_metadata

    async def list_then_lose(namespace: str = "") -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = [dict(meta) for meta in await listed(namespace)]
        del fake.runs["team-a", "a"]
        fake.runs["team-a", "b"]["metadata"]["uid"] = "another"
        fake.runs["team-a", "c"]["metadata"]["finalizers"] = []
        return found

    fake.list_run_metadata = list_then_lose  # type: ignore[method-assign]
    fake.before = [lambda: fake.runs.pop(("team-a", "d"))]
    told = "a: is gone", "b: is gone", "c: has been released by somebody else", "d: is gone"
    assert run(capsys) == (0, "".join(f"team-a/{line}\n" for line in told), "")
    assert fake.removed == []


def test_one_that_cannot_be_changed_does_not_hold_up_the_others(capsys: pytest.CaptureFixture[str], fake: Fake) -> None:
    """The API's own sentence is shown."""
    fake.add("forbidden", OURS)
    fake.add("waits", OURS)
    fake.fail = [errors.RejectedError("agentruns is forbidden", status=403)]
    code, out, err = run(capsys)
    assert (code, out, err) == (
        1,
        "team-a/waits: released\n",
        "team-a/forbidden: left as it is: agentruns is forbidden\n",
    )


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_programs_are_told_what_became_of_each(capsys: pytest.CaptureFixture[str], fake: Fake, output: str) -> None:
    """Alone on stdout, also of what is left."""
    fake.add("alive", OURS, status=beat(10))
    fake.add("waits", OURS)
    code, out, err = run(capsys, "-o", output)
    alive, waits = yaml.safe_load(out)  # JSON is YAML, too
    assert (code, err, alive["left"]) == (1, "", True)
    assert alive["text"].startswith("an operator was at work on it 10 s ago")
    assert waits == {"kind": "AgentRun", "namespace": "team-a", "name": "waits", "left": False, "text": "released"}


def test_a_list_that_fails_is_the_end(
    capsys: pytest.CaptureFixture[str], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was looked at, so nothing is said of any run."""

    async def fail(_namespace: str) -> list[Mapping[str, Any]]:
        raise UNAVAILABLE

    monkeypatch.setattr(fake, "list_run_metadata", fail)
    assert run(capsys) == (1, "", "agentrun release: timed out\n")
    assert fake.closed


def test_a_namespace_or_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Not both."""
    with pytest.raises(SystemExit) as caught:
        run(capsys, "-A")
    assert caught.value.code == 2
    assert release.EXIT_LEFT == 1
