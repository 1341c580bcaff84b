"""The client for orchestrators: what it does once, what it survives, and what it says when it cannot."""

import asyncio
import copy
import doctest
import importlib
import inspect
import pathlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agentrun_operator import client, errors, kube, models, names, settings, stream
from agentrun_operator.client import aio, hub, runlog
from tests import builders, fakeruns

SPEC: dict[str, Any] = {
    "companyId": "acme",
    "agent": {"id": "ada"},
    "runId": "run-1",
    "prompt": {"text": "Fix the login page."},
}
NAME = names.run_name(company_id="acme", agent_id="ada", run_id="run-1")
AWAY = errors.UnavailableError("no route to host")
FORBIDDEN = errors.ForbiddenError('User "system:anonymous" cannot list resource', status=403)


@pytest.fixture
def api() -> fakeruns.FakeRuns:
    """A cluster without an operator."""
    return fakeruns.FakeRuns()


@pytest.fixture
async def runs(api: fakeruns.FakeRuns, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[client.AsyncClient]:
    """A client of it that is quick to try again."""
    monkeypatch.setattr(aio, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(runlog, "_STATUS_SECONDS", 0.001)
    async with client.AsyncClient(api, namespace="team-a", patience=5) as made:
        yield made


async def watched(api: fakeruns.FakeRuns) -> None:
    """A watch is open."""
    while "watch_runs" not in api.verbs():  # noqa: ASYNC110 - what is asked of a fake is no event
        await asyncio.sleep(0.01)


def test_both_clients_have_the_same_methods() -> None:
    """With the same parameters, so that one page explains both."""

    def public(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(f).parameters) for name, f in members if not name.startswith("_")}

    assert public(client.AsyncClient) == public(client.Client)


@pytest.mark.parametrize("module", ["aio", "sync"])
def test_the_examples_are_true(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand in the docstrings, on a cluster with an operator."""

    async def connect(**_: object) -> fakeruns.FakeRuns:
        await asyncio.sleep(0)
        made = fakeruns.FakeRuns(story=[fakeruns.RUNNING, fakeruns.SUCCEEDED])
        made.pod_logs["pod"] = fakeruns.LOG
        return made

    monkeypatch.setattr(kube, "connect", connect)
    found = importlib.import_module(f"agentrun_operator.client.{module}")
    result = doctest.testmod(found, globs={"client": client, "asyncio": asyncio, **vars(found)})
    assert (result.failed, result.attempted > 0) == (0, True)


def test_the_example_of_the_page_is_true(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/client.md, as it stands; and its table has every method."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "client.md").read_text()

    async def connect(**_: object) -> fakeruns.FakeRuns:
        await asyncio.sleep(0)
        return fakeruns.FakeRuns(story=[fakeruns.RUNNING, fakeruns.SUCCEEDED])

    monkeypatch.setattr(kube, "connect", connect)
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})  # noqa: S102 - what the page tells people to run
    assert capsys.readouterr().out.startswith("Succeeded 0.012 ")
    methods = {name for name, _ in inspect.getmembers(client.Client, inspect.isfunction) if not name.startswith("_")}
    table = "".join(line for line in page.splitlines() if line.startswith("| `"))
    assert methods - {"close"} == {name for name in re.findall(r"`(\w+)\(", table) if name != "connect"}


# ------------------------------------------------------------------------------------------------------- submitting


async def test_a_run_id_is_submitted_once(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """Whoever asks again, having forgotten that it did, gets the run that is there."""
    first = await runs.submit(SPEC)
    second = await runs.submit(SPEC)
    assert first == second
    assert list(api.runs) == [("team-a", NAME)]


async def test_an_answer_that_is_lost_makes_no_second_run(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """The run was created, and nobody was told: also with a name that the client made up."""
    api.fail_late["create_run"] = [AWAY, AWAY]
    await runs.submit(SPEC)
    await runs.submit({**SPEC, "runId": None})
    assert len(api.runs) == 2
    assert api.verbs().count("create_run") == 4


async def test_a_model_and_a_mapping_are_the_same_run(runs: client.AsyncClient) -> None:
    """Also where one of them spells out a default; what may change later makes no other run."""
    model = models.AgentRunSpec(
        company_id="acme",
        agent=models.Agent(id="ada"),
        run_id="run-1",
        prompt=models.Prompt(text="Fix the login page."),
    )
    assert await runs.submit(model) == await runs.submit({**SPEC, "priority": 0, "suspend": True})


async def test_another_run_of_that_id_is_an_error(runs: client.AsyncClient) -> None:
    """It names the fields, and none of their values."""
    await runs.submit(SPEC)
    with pytest.raises(client.OtherRunError, match=r"another spec\.taskId, spec\.prompt; give") as found:
        await runs.submit({**SPEC, "prompt": {"text": "hush"}, "taskId": "T-1"})
    assert "hush" not in str(found.value)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({**SPEC, "agent": {"id": "a b"}}, "spec.agent.id: only letters, digits and hyphens"),
        ({**SPEC, "promt": {}}, "spec.promt: there is no such field"),
        ({"runId": "run-1"}, "spec.companyId: is required; spec.agent: is required; spec.prompt: is required"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_asked(
    runs: client.AsyncClient, api: fakeruns.FakeRuns, spec: Mapping[str, Any], sentence: str
) -> None:
    """Every field with its fault."""
    with pytest.raises(client.InvalidSpecError) as found:
        await runs.submit(spec)
    assert sentence in str(found.value)
    assert api.calls == []


def test_names_differ_where_ids_do() -> None:
    """And are names that Kubernetes takes."""
    ids = [("a", "b", "c"), ("a", "b", "C"), ("a", "bc", "-"), ("-", "-", "-"), ("x" * 63, "y" * 63, "z" * 63)]
    made = [names.run_name(company_id=c, agent_id=a, run_id=r) for c, a, r in ids]
    assert len(set(made)) == len(made)
    assert max(map(len, made)) <= 63
    assert made[2].startswith("bc-")


# --------------------------------------------------------------------------------------------------------- waiting


async def test_waiting_ends_with_the_run(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """However it ended: that is for the caller to judge."""
    api.story = [fakeruns.RUNNING, {**fakeruns.SUCCEEDED, "phase": "Failed"}]
    ended = await runs.wait(await runs.submit(SPEC))
    assert ended.status.phase is models.Phase.FAILED


async def test_one_watch_serves_all_who_wait(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """144 agents make no 144 connections."""
    api.story = [fakeruns.RUNNING, fakeruns.SUCCEEDED]
    made = [await runs.submit({**SPEC, "runId": f"run-{index}"}) for index in range(12)]
    ended = await asyncio.gather(*map(runs.wait, made))
    assert {run.status.phase for run in ended} == {models.Phase.SUCCEEDED}
    assert api.verbs().count("watch_runs") == 1


async def test_a_watch_that_breaks_and_a_server_that_restarts_end_nothing(
    runs: client.AsyncClient, api: fakeruns.FakeRuns
) -> None:
    """What happened meanwhile is found in the next list."""
    run = await runs.submit(SPEC)
    api.fail["list_runs"] = [AWAY, FORBIDDEN]
    waiting = asyncio.create_task(runs.wait(run))
    await watched(api)
    api.lines[fakeruns.PLURAL].put_nowait(errors.UnavailableError("too old", status=410))
    api.set(NAME, fakeruns.SUCCEEDED, shown=False)
    assert (await waiting).status.phase is models.Phase.SUCCEEDED


async def test_a_dead_watch_is_made_up_for(
    runs: client.AsyncClient, api: fakeruns.FakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be forbidden; the run itself is asked for now and then."""
    monkeypatch.setattr(aio, "_POLL_SECONDS", 0.01)
    run = await runs.submit(SPEC)
    api.hold.add("watch_runs")
    api.fail["get_run"] = [None, AWAY, FORBIDDEN]
    waiting = asyncio.create_task(runs.wait(run))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    api.set(NAME, fakeruns.SUCCEEDED, shown=False)
    assert (await waiting).is_final


async def test_an_older_state_is_not_shown_after_a_newer_one(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """A watch may lag behind what was read."""
    run = await runs.submit(SPEC)
    old = copy.deepcopy(api.runs["team-a", NAME])
    api.set(NAME, fakeruns.RUNNING, shown=False)
    phases = []
    async for state in runs.watch(run):
        phases.append(state.status.phase)
        if len(phases) == 1:
            api.show("MODIFIED", fakeruns.PLURAL, old)
            await asyncio.sleep(0.02)
            api.set(NAME, fakeruns.SUCCEEDED)
    assert phases == [models.Phase.RUNNING, models.Phase.SUCCEEDED]


@pytest.mark.parametrize("again", [False, True])
async def test_a_run_that_is_deleted_is_waited_for_no_longer(
    runs: client.AsyncClient, api: fakeruns.FakeRuns, *, again: bool
) -> None:
    """Nor is another one of its name."""
    run = await runs.submit(SPEC)
    waiting = asyncio.create_task(runs.wait(run))
    await watched(api)
    gone = api.runs.pop(("team-a", NAME))
    if again:
        await runs.submit(SPEC)
    api.show("DELETED", fakeruns.PLURAL, gone)
    with pytest.raises(client.RunGoneError, match=f"AgentRun {NAME} was deleted"):
        await waiting


async def test_a_list_that_lacks_a_run_is_not_believed(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """It may have been made before the run was."""
    run = await runs.submit(SPEC)
    with runs._hub("team-a").subscribe(lambda _: True) as told:  # noqa: SLF001 - the watch that the run's reader shares
        waiting = asyncio.create_task(runs.wait(run))
        while not await told.take(0.1):
            pass
        await runs._hub("team-a").listed([], "5")  # noqa: SLF001
        (change,) = await told.take(1)
        assert change == hub.Change({"metadata": change.body["metadata"]}, gone=True)
    api.set(NAME, fakeruns.SUCCEEDED)
    assert (await waiting).is_final


async def test_waiting_may_have_a_limit(runs: client.AsyncClient) -> None:
    """The run goes on."""
    run = await runs.submit(SPEC)
    with pytest.raises(TimeoutError):
        await runs.wait(run, seconds=0.01)
    assert not (await runs.get(run)).spec.cancel


async def test_patience_ends(api: fakeruns.FakeRuns) -> None:
    """With the last thing that was said; and a refusal is not waited for at all."""
    async with client.AsyncClient(api, namespace="team-a", patience=0) as runs:
        api.fail["get_run"] = [AWAY, FORBIDDEN]
        with pytest.raises(errors.UnavailableError, match="no route to host"):
            await runs.get("x")
        with pytest.raises(errors.ForbiddenError):
            await runs.get("x")


# ------------------------------------------------------------------------------------------- cancel, retry, list, cost


async def test_cancel_says_what_is_wanted(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """A change by somebody else at the same moment is no obstacle; a run that has ended is left alone."""
    run = await runs.submit(SPEC)
    api.fail["cancel_run"] = [errors.ConflictError("has been modified", status=409)]
    await runs.cancel(run)
    assert api.runs["team-a", NAME]["spec"]["cancel"] is True
    api.set(NAME, fakeruns.SUCCEEDED)
    await runs.cancel(NAME)
    assert api.verbs().count("cancel_run") == 2


@pytest.mark.parametrize(
    ("session", "resume", "expected"),
    [
        ({"id": "s-1", "cwd": "/paperclip"}, True, {"id": "s-1", "cwd": "/paperclip"}),
        ({"id": "s-1", "cwd": "/paperclip"}, False, None),
        ({"id": "s-1", "clear": True}, True, None),
        ({"cwd": "/paperclip"}, True, {"id": "s-0"}),
        (None, True, {"id": "s-0"}),
        (None, False, None),
    ],
)
async def test_a_retry_is_a_run_of_its_own(
    runs: client.AsyncClient, api: fakeruns.FakeRuns, session: object, expected: object, *, resume: bool
) -> None:
    """Same work, its own id; it goes on where the first one ended, unless that must not be."""
    await runs.submit({**SPEC, "claude": {"model": "opus"}, "session": {"id": "s-0"}, "suspend": True})
    api.set(NAME, {**fakeruns.SUCCEEDED, "phase": "Failed", "session": session})
    made = await runs.retry(NAME, run_id="run-2", resume=resume)
    assert await runs.retry(NAME, run_id="run-2", resume=resume) == made
    body = api.runs["team-a", made.metadata.name]["spec"]
    assert body.pop("session", None) == expected
    assert body == {**SPEC, "runId": "run-2", "claude": {"model": "opus"}}


async def test_runs_are_listed_by_what_they_are_of(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """By what their specs say, so those that were made with kubectl are found, too."""
    for index, (company, agent, task) in enumerate([("a", "x", "t"), ("a", "y", "t"), ("b", "x", None)]):
        body = builders.agent_run(name=f"r{index}", uid=f"u{index}", companyId=company, agent=agent, taskId=task)
        api.add_run({**body, "status": {"phase": "Running"}} if index else body)

    async def found(**by: Any) -> str:
        return " ".join(run.metadata.name for run in await runs.list(**by))

    assert await found() == "r0 r1 r2"
    assert await found(company="a", agent="x") == "r0"
    assert await found(task="t") == "r0 r1"
    assert await found(phases=[models.Phase.RUNNING]) == "r1 r2"
    assert await found(phases=[None]) == "r0"


async def test_costs_are_summed_up(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """Exactly: they are decimals. What cannot be read costs nothing, and what nobody priced is counted."""
    statuses: list[dict[str, Any]] = [
        {**fakeruns.SUCCEEDED, "costUSD": "0.1"},
        {**fakeruns.SUCCEEDED, "costUSD": "0.2", "phase": "Failed"},
        {**fakeruns.SUCCEEDED, "costUSD": None, "completionTime": "2026-01-03T00:00:00Z"},
        {"costUSD": "much"},
    ]
    for index, status in enumerate(statuses):
        body = builders.agent_run(name=f"r{index}", uid=f"u{index}", agent="ada" if index < 3 else "bob", status=status)
        api.add_run(body)
    ada, bob = await runs.cost(client.By.COMPANY, client.By.AGENT)
    assert (ada.key, str(ada.usd), ada.runs, ada.failed, ada.unpriced) == (("acme", "ada"), "0.3", 3, 1, 1)
    assert ada.usage.output_tokens == 3 * 34
    assert (bob.key, str(bob.usd)) == (("acme", "bob"), "0")
    assert [cost.key for cost in await runs.cost(client.By.DAY)] == [("2026-01-02",), ("2026-01-03",)]
    assert [cost.runs for cost in await runs.cost(since="2026-01-03")] == [1]
    assert [cost.runs for cost in await runs.cost(company="nobody")] == [0]


def test_what_costs_can_be_put_together_by() -> None:
    """The model is the one that was used, else the one that was asked for."""
    used = models.AgentRun.parse(builders.agent_run(status={"model": "opus"}, taskId="T-1"))
    asked = models.AgentRun.parse(builders.agent_run(claude={"model": "haiku"}))
    (first, second) = client.sum_up([used, asked], [client.By.MODEL, client.By.TASK])
    assert (first.key, second.key) == (("haiku", ""), ("opus", "T-1"))


# ------------------------------------------------------------------------------------------------------- transcript


async def test_a_transcript_goes_on_after_its_connection_broke(
    runs: client.AsyncClient, api: fakeruns.FakeRuns
) -> None:
    """The API gives all of it anew: nothing comes twice, and nothing is left out."""
    run = await runs.submit(SPEC)
    api.set(NAME, fakeruns.RUNNING)
    api.pod_logs["pod"] = [b"".join(fakeruns.LOG)[:100]]
    api.fail["get_run"] = [AWAY]
    api.fail_late["read_pod_log"] = [AWAY]
    told: list[str] = []
    events = []
    async for event in runs.transcript(run, tell=told.append):
        events.append(type(event))
        api.pod_logs["pod"] = [bytes([byte]) for byte in b"".join(fakeruns.LOG)]
        api.set(NAME, fakeruns.SUCCEEDED)
    assert events == [stream.Init, stream.Assistant, stream.Result]
    assert told == ["no route to host; reading on"]


async def test_a_log_that_was_rotated_meanwhile_has_a_gap(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """It is told, and what is there is shown."""
    run = await runs.submit(SPEC)
    api.set(NAME, fakeruns.RUNNING)
    api.pod_logs["pod"] = fakeruns.LOG[:1]
    api.fail_late["read_pod_log"] = [AWAY]
    told: list[str] = []
    events = []
    async for event in runs.transcript(run, tell=told.append):
        events.append(type(event))
        api.pod_logs["pod"] = fakeruns.LOG[1:]
        api.set(NAME, fakeruns.SUCCEEDED)
    assert events == [stream.Init, stream.Assistant, stream.Result]
    assert told[1:] == ["the pod's log was begun anew meanwhile: lines of it are missing here"]


async def test_a_log_that_stays_away_is_an_error_once_the_run_has_ended(
    runs: client.AsyncClient, api: fakeruns.FakeRuns
) -> None:
    """Until then it is asked for again."""
    run = await runs.submit(SPEC)
    api.set(NAME, fakeruns.RUNNING)
    api.fail["read_pod_log"] = [AWAY] * 3
    told = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 2:
            api.set(NAME, fakeruns.SUCCEEDED)

    with pytest.raises(errors.UnavailableError):
        _ = [event async for event in runs.transcript(run, tell=tell)]
    assert len(told) == 2


async def test_secrets_are_kept_out_of_a_transcript(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """What looks like a token, and what the caller knows; also across two chunks."""
    run = await runs.submit(SPEC)
    api.set(NAME, fakeruns.SUCCEEDED)
    token = b"sk-ant-api03-" + b"Ab1_" * 6
    text = b'{"type":"assistant","message":{"content":[{"type":"text","text":"' + token + b' hunter22"}]}}'
    api.pod_logs["pod"] = [text[:75], text[75:]]
    (event,) = [event async for event in runs.transcript(run, follow=False, hide=["hunter22"])]
    assert isinstance(event, stream.Assistant)
    assert event.message.blocks[0].text == "[redacted] [redacted]"


async def test_a_transcript_comes_from_the_shared_volume_where_it_is_mounted(
    api: fakeruns.FakeRuns, tmp_path: pathlib.Path
) -> None:
    """The pod may be long gone."""
    path = tmp_path / "logs" / "run-1.pod.ndjson"
    path.parent.mkdir()
    path.write_bytes(b"".join(fakeruns.LOG))
    config = settings.Settings(data_path=str(tmp_path))
    async with client.AsyncClient(api, namespace="team-a", config=config) as runs:
        run = await runs.submit(SPEC)
        api.set(NAME, {**fakeruns.SUCCEEDED, "logPath": "/paperclip/logs/run-1.pod.ndjson"})
        assert len([event async for event in runs.transcript(run)]) == 3


async def test_a_transcript_that_is_nowhere_says_where_it_was(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """In the words that the command has."""
    await runs.submit(SPEC)
    api.set(NAME, fakeruns.SUCCEEDED)
    with pytest.raises(client.NoLogError, match="wrote no log file, and its pod is gone"):
        _ = [event async for event in runs.transcript(NAME)]


# ------------------------------------------------------------------------------------------------------- everything


async def test_all_changes_of_an_agents_runs(runs: client.AsyncClient, api: fakeruns.FakeRuns) -> None:
    """From what is there on: new ones, changes, and those that go."""
    await runs.submit(SPEC)
    await runs.submit({**SPEC, "agent": {"id": "bob"}})
    changes = runs.watch_all(agent="ada")
    (change,) = await anext(changes)
    assert (change.body["metadata"]["name"], change.gone) == (NAME, False)
    gone = api.runs.pop(("team-a", NAME))
    api.show("DELETED", fakeruns.PLURAL, gone)
    assert [change.gone for change in await anext(changes)] == [True]
    await changes.aclose()  # type: ignore[attr-defined]  # it is a generator


def test_the_client_without_a_loop_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it cannot connect, and when a loop is left early."""
    api = fakeruns.FakeRuns(story=[fakeruns.RUNNING])

    async def make() -> client.AsyncClient:
        await asyncio.sleep(0)
        return client.AsyncClient(api, namespace="team-a")

    with client.Client(make) as runs:
        run = runs.submit(SPEC)
        for state in runs.watch(run):
            if state.status.phase is models.Phase.RUNNING:
                break
        assert runs.namespace == "team-a"
        thread = runs._thread  # noqa: SLF001 - it must not stay behind
    assert (thread.is_alive(), api.closed) == (False, True)
    runs.close()

    async def refuse(**_: object) -> fakeruns.FakeRuns:
        await asyncio.sleep(0)
        raise errors.SettingsError("No way to reach Kubernetes")

    monkeypatch.setattr(kube, "connect", refuse)
    with pytest.raises(errors.SettingsError):
        client.Client.connect(namespace="team-a")


async def test_without_a_namespace_runs_are_found_and_none_submitted(api: fakeruns.FakeRuns) -> None:
    """Everywhere is no place to put one."""
    api.add_run(builders.agent_run())
    async with client.AsyncClient(api, namespace="") as runs:
        (run,) = await runs.list()
        assert await runs.get(run) == run
        with pytest.raises(client.InvalidSpecError, match=r"metadata\.namespace: is required"):
            await runs.submit(SPEC)
