"""The examples hold: every file is valid, every command exists, and the orchestrator does what it promises.

tests/integration/test_examples.py has a real API server judge them.
"""

import asyncio
import datetime
import importlib.util
import pathlib
import re
import shlex
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
import rich.console
import yaml

from agentrun_operator import cli, client, errors, models
from hack.generate import examples
from tests import builders, fakeruns
from tests.clock import now, virtual

FOLDER = pathlib.Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__")
FILES = sorted(FOLDER.glob("*/*.yaml"))


def load() -> ModuleType:
    """The orchestrator, which is no part of any package."""
    spec = importlib.util.spec_from_file_location("example_orchestrator", FOLDER / "orchestrator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


orchestrator = load()


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_run_is_valid(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``agentrun validate`` judges it, with the objects beside it."""
    code = cli.main(["validate", "-f", str(folder)])
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_is_used(path: pathlib.Path) -> None:
    """The README beside it names it, and each object in it has what any object has."""
    assert path.name in (path.parent / "README.md").read_text()
    for body in yaml.safe_load_all(path.read_text()):
        assert {"apiVersion", "kind", "metadata"} <= body.keys()


def test_every_example_is_listed() -> None:
    assert set(re.findall(r"\]\(([\w-]+)/README\.md\)", (FOLDER / "README.md").read_text())) == {
        p.name for p in FOLDERS
    }


def test_the_smallest_run_is_that_of_the_reference() -> None:
    """One text in two places."""
    assert (FOLDER / "one-off" / "run.yaml").read_text() == examples.MINIMAL


def commands() -> list[str]:
    """What the READMEs tell people to type."""
    found: list[str] = []
    for page in sorted(FOLDER.glob("**/README.md")):
        text = page.read_text()
        found += [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        found += [text.replace("\n", " ") for text in re.findall(r"(?<!`)`((?:agentrun) [^`]+)`(?!`)", text)]
    return found


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("agentrun ")])
def test_every_command_exists(command: str) -> None:
    """With its options, and its files are there."""
    words = shlex.split(command.split("|")[0])[1:]
    if len(words) == 1:  # a command's name in a sentence
        words = [*words, "--help"]
        with pytest.raises(SystemExit, match="0"):
            cli.build_parser().parse_args(words)
        return
    given = cli.build_parser().parse_args(words)
    missing = [file for file in getattr(given, "files", None) or () if not (FOLDER.parent / file).exists()]
    assert missing == []


def test_what_kubectl_is_told_to_apply_is_there() -> None:
    named = re.findall(r"-f (examples/\S+\.yaml)", "\n".join(commands()))
    assert named
    assert [file for file in named if not (FOLDER.parent / file).exists()] == []


# ----------------------------------------------------------------------------------------------------- orchestrator


class Cluster(fakeruns.FakeRuns):
    """An operator that ends each run as ``ends`` says of its id, two seconds after it was created; else well."""

    def __init__(self, ends: Mapping[str, dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.ends = ends or {}
        self.created_at: dict[str, float] = {}
        self.most = 0  # runs that were live at a time
        self._busy: set[tuple[str, str]] = set()

    async def create_run(self, run: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create it, and let it live."""
        made = await super().create_run(run)
        name, spec = run["metadata"]["name"], run["spec"]
        agent = (spec["companyId"], spec["agent"]["id"])
        assert agent not in self._busy, "an agent has one run at a time"
        self._busy.add(agent)
        self.most = max(self.most, len(self._busy))
        key = f"{agent[0]}/{agent[1]}/{spec['runId']}"
        self.created_at[key] = now()
        loop = asyncio.get_running_loop()
        session = {"id": spec.get("session", {}).get("id") or f"s-{agent[0]}-{agent[1]}", "cwd": "/paperclip"}
        running = {**fakeruns.RUNNING, "session": session}
        end = {**fakeruns.SUCCEEDED, "session": session, **self.ends.get(key, {})}
        loop.call_later(1, self.set, name, running)
        loop.call_later(2, self._end, name, end, agent)
        return made

    def _end(self, name: str, status: Mapping[str, Any], agent: tuple[str, str]) -> None:
        self._busy.discard(agent)
        self.set(name, status)

    def sessions(self, agent: str) -> dict[str, str]:
        """Which session each run of an agent was told to resume, by run id."""
        return {
            body["spec"]["runId"]: body["spec"].get("session", {}).get("id", "")
            for body in self.runs.values()
            if body["spec"]["agent"]["id"] == agent
        }


def failed(code: str, **more: Any) -> dict[str, Any]:
    error = {"code": code, "message": "So it is.", **more.pop("error", {})}
    return {"phase": "Failed", "error": error, **more}


async def orchestrate(api: Cluster, *, companies: int = 1, agents: int = 1, rounds: int = 2) -> tuple[bool, list[Any]]:
    """Let it do its work on this cluster."""
    made = orchestrator.make_agents(companies, agents)
    async with client.AsyncClient(api, namespace="team-a") as runs:
        work = orchestrator.Orchestrator(runs, made, task="t", rounds=rounds)
        return await work.work(), made


@virtual
async def test_144_agents_work_at_a_time_each_in_its_session() -> None:
    """One watch for all of them, and every run after the first resumes."""
    api = Cluster()
    done, agents = await orchestrate(api, companies=12, agents=12, rounds=3)
    assert done
    assert {agent.state for agent in agents} == {"done"}
    assert len(api.runs) == 12 * 12 * 3
    assert api.most == 144
    assert api.verbs().count("watch_agentruns") + api.verbs().count("watch_runs") == 1
    for body in api.runs.values():
        own = f"s-{body['spec']['companyId']}-{body['spec']['agent']['id']}"
        assert body["spec"].get("session", {}).get("id") == (None if body["spec"]["runId"] == "t-0-0" else own)
    assert sum(agent.cost for agent in agents) == client.sum_up(map(models.AgentRun.parse, api.runs.values()))[0].usd


@virtual
async def test_a_usage_limit_is_waited_out() -> None:
    """And the session goes on."""
    wait = 5000
    again = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=wait)).isoformat()
    limit = failed("claude_usage_limited", error={"retryAfter": again})
    api = Cluster({"company-01/agent-01/t-0-0": limit})
    done, _ = await orchestrate(api)
    assert done
    waited = api.created_at["company-01/agent-01/t-0-1"] - api.created_at["company-01/agent-01/t-0-0"]
    assert wait - 60 < waited < wait + 60  # the run itself, and what the wall clock went on meanwhile
    assert set(api.sessions("agent-01").items()) >= {("t-0-1", "s-company-01-agent-01")}


@virtual
async def test_a_session_that_must_not_be_resumed_is_not() -> None:
    clear = failed("session_unavailable", session={"id": "s-company-01-agent-01", "clear": True})
    api = Cluster({"company-01/agent-01/t-1-0": clear})
    done, _ = await orchestrate(api)
    assert done
    assert api.sessions("agent-01") == {"t-0-0": "", "t-1-0": "s-company-01-agent-01", "t-1-1": ""}


@virtual
async def test_what_does_not_pass_is_not_tried_again() -> None:
    """Nor anything for ever; other agents go on."""
    api = Cluster({
        "company-01/agent-01/t-0-0": failed("claude_auth_required"),
        **{f"company-01/agent-02/t-0-{attempt}": failed("claude_overloaded") for attempt in range(3)},
    })  # fmt: skip
    done, agents = await orchestrate(api, agents=3)
    assert not done
    assert [(agent.state, agent.why) for agent in agents] == [
        ("failed", "claude_auth_required"), ("failed", "claude_overloaded"), ("done", "")
    ]  # fmt: skip
    assert len(api.sessions("agent-01")) == 1
    assert len(api.sessions("agent-02")) == 3


@virtual
async def test_it_may_be_killed_and_started_again() -> None:
    """What was begun is gone on with, and nothing done twice; what an agent did before is its beginning."""
    api = Cluster()
    before = builders.agent_run(name="before", companyId="company-01", agent="agent-01", status=fakeruns.SUCCEEDED)
    api.add_run({**before, "metadata": {**before["metadata"], "creationTimestamp": "2025-01-01T00:00:00Z"}})
    first = asyncio.create_task(orchestrate(api))
    await asyncio.sleep(3)
    first.cancel()
    await asyncio.wait([first])
    done, _ = await orchestrate(api)
    assert done
    assert api.sessions("agent-01") == {"run-1": "", "t-0-0": fakeruns.SESSION, "t-1-0": fakeruns.SESSION}


def test_its_table_fits_80_columns() -> None:
    """With a mark for each agent."""
    agents = orchestrator.make_agents(12, 12)
    agents[0].state, agents[1].state, agents[1].why = "Running", "failed", "claude_usage_limited"
    console = rich.console.Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(orchestrator.picture(agents))
    rows = captured.get().splitlines()
    assert len(rows) == 13
    assert "company-01" in rows[1]
    assert "●✘··········" in rows[1]
    assert rows[1].rstrip().endswith("claude_usage_limited")


@pytest.mark.parametrize(
    ("failure", "attempt", "seconds"),
    [
        (models.ErrorStatus(code="claude_overloaded", message="m"), 0, 30),
        (models.ErrorStatus(code="claude_overloaded", message="m"), 1, 60),
        (models.ErrorStatus(code="session_unavailable", message="m"), 1, 0),
        (models.ErrorStatus(code="x", message="m", retry_after="2026-01-02T03:04:15Z"), 0, 10),
        (models.ErrorStatus(code="x", message="m", retry_after="2026-01-02T03:04:00Z"), 0, 0),
    ],
)
def test_how_long_it_pauses(failure: models.ErrorStatus, attempt: int, seconds: float) -> None:
    moment = datetime.datetime.fromisoformat(builders.CREATED)
    assert orchestrator.pause(failure, attempt, moment) == seconds


def test_the_codes_that_pass_are_codes() -> None:
    assert set(errors.ErrorCode) > orchestrator.PASSING
