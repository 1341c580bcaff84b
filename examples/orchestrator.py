"""An orchestrator: 12 companies with 12 agents each, every agent with a task of several runs in one session.

It uses nothing but the client, and keeps nothing: what was done stands in the AgentRuns. The id of a run is made from
what is to be done, so this program may be killed at any time and started again; it then finds its own runs.

- Each run resumes the session of the agent's last one, unless ``status.session.clear`` says that it must not be.
- A run that failed is tried again if it makes sense, and never before ``status.error.retryAfter``.

Exit code: 0 all tasks are done, 1 some are not.
"""

import argparse
import asyncio
import collections
import dataclasses
import datetime
import sys
from collections.abc import Sequence
from decimal import Decimal

import rich.live
import rich.table
import rich.text
import yaml

from agentrun_operator import client, errors, models

TRIES = 3  # of one run
PAUSE_SECONDS = 30.0  # before the second try, where nobody says how long; then twice as long
# What often passes by itself. Anything else is for people to look at.
PASSING = {
    errors.ErrorCode.OVERLOADED,
    errors.ErrorCode.RATE_LIMITED,
    errors.ErrorCode.USAGE_LIMITED,
    errors.ErrorCode.LLM_UNREACHABLE,
    errors.ErrorCode.POD_EVICTED,
    errors.ErrorCode.NODE_LOST,
    errors.ErrorCode.SESSION_UNAVAILABLE,  # the next try begins a new one
}
MARKS = {"idle": "·", "waits": "○", "Running": "●", "pauses": "◌", "done": "✔", "failed": "✘"}
LOOKS = {"Running": "cyan", "pauses": "yellow", "done": "green", "failed": "red"}


@dataclasses.dataclass(slots=True)
class Agent:
    """One agent and how far it is. ``session`` is what its next run continues."""

    company: str
    name: str
    state: str = "idle"
    session: models.Session | None = None
    turns: int = 0
    cost: Decimal = Decimal(0)
    why: str = ""
    spent: dict[str, tuple[int, Decimal]] = dataclasses.field(default_factory=dict)

    def show(self, run: models.AgentRun) -> None:
        """The run is like that now."""
        self.state = "Running" if run.status.phase is models.Phase.RUNNING else "waits"
        self.spent[run.metadata.uid] = (run.status.turns or 0, Decimal(run.status.cost_usd or 0))
        self.turns = sum(turns for turns, _ in self.spent.values())
        self.cost = sum((cost for _, cost in self.spent.values()), Decimal(0))


class Orchestrator:
    """Gives every agent its work. ``task`` names the whole of it: with the same name, it goes on where it was."""

    def __init__(
        self, runs: client.AsyncClient, agents: Sequence[Agent], *, task: str, rounds: int, job: object = None
    ) -> None:
        self.agents = agents
        self._runs = runs
        self._task = task
        self._rounds = rounds
        self._job = {"job": job} if job else {}

    async def work(self) -> bool:
        """All tasks of all agents at a time; whether all are done."""
        await self._remember()
        return all(await asyncio.gather(*map(self._work_of, self.agents)))

    async def _remember(self) -> None:
        """The session in which each agent's last run ended that is not of this task."""
        ended = {(run.spec.company_id, run.spec.agent.id): run for run in await self._runs.list() if self._is_old(run)}
        for agent in self.agents:
            before = ended.get((agent.company, agent.name))
            agent.session = client.session_after(before) if before else None

    def _is_old(self, run: models.AgentRun) -> bool:
        return run.is_final and run.spec.task_id != self._task

    async def _work_of(self, agent: Agent) -> bool:
        for number in range(self._rounds):
            if not await self._round(agent, number):
                agent.state = "failed"
                return False
        agent.state = "done"
        return True

    async def _round(self, agent: Agent, number: int) -> bool:
        """One run, tried again where that makes sense."""
        for attempt in range(TRIES):
            run = await self._runs.submit(self._spec(agent, number, attempt))
            async for state in self._runs.watch(run):
                run = state
                agent.show(run)
            agent.session = client.session_after(run)
            if run.status.phase is models.Phase.SUCCEEDED:
                return True
            failure = run.status.error
            agent.why = failure.code if failure else str(run.status.phase)
            if failure is None or failure.code not in PASSING or attempt == TRIES - 1:
                return False
            agent.state = "pauses"
            await asyncio.sleep(pause(failure, attempt, datetime.datetime.now(datetime.UTC)))
        return False

    def _spec(self, agent: Agent, number: int, attempt: int) -> dict[str, object]:
        session = agent.session.model_dump(mode="json", by_alias=True, exclude_none=True) if agent.session else None
        return {
            "companyId": agent.company,
            "agent": {"id": agent.name},
            "runId": f"{self._task}-{number}-{attempt}",
            "taskId": self._task,
            "prompt": {"text": f"Do step {number + 1} of {self._rounds} of the task {{{{taskId}}}}."},
            **({"session": session} if session else {}),
            **self._job,
        }


def pause(failure: models.ErrorStatus, attempt: int, now: datetime.datetime) -> float:
    """Seconds until the next try."""
    if failure.retry_after:
        return max((datetime.datetime.fromisoformat(failure.retry_after) - now).total_seconds(), 0.0)
    return 0.0 if failure.code == errors.ErrorCode.SESSION_UNAVAILABLE else PAUSE_SECONDS * 2**attempt


# ------------------------------------------------------------------------------------------------------- the screen


def picture(agents: Sequence[Agent]) -> rich.table.Table:
    """A row for each company, with a mark for each of its agents."""
    table = rich.table.Table(box=None, pad_edge=False)
    for title in ("COMPANY", "AGENTS"):
        table.add_column(title)
    for title in ("DONE", "TURNS", "COST"):
        table.add_column(title, justify="right")
    table.add_column("WHY NOT", no_wrap=True)
    companies: dict[str, list[Agent]] = collections.defaultdict(list)
    for agent in agents:
        companies[agent.company].append(agent)
    for company, its in companies.items():
        marks = rich.text.Text()
        for agent in its:
            marks.append(MARKS[agent.state], style=LOOKS.get(agent.state, "dim"))
        done = sum(agent.state == "done" for agent in its)
        cost = sum((agent.cost for agent in its), Decimal(0))
        why = ", ".join(sorted({agent.why for agent in its if agent.state in {"failed", "pauses"}}))
        table.add_row(company, marks, f"{done}/{len(its)}", str(sum(a.turns for a in its)), f"${cost:.2f}", why)
    return table


async def show(work: asyncio.Task[bool], agents: Sequence[Agent], *, every: float = 0.5) -> bool:
    """The table, until the work is done: moving on a terminal, else only at the end."""
    with rich.live.Live(picture(agents), auto_refresh=False) as live:
        while not work.done():
            await asyncio.wait([work], timeout=every)
            live.update(picture(agents), refresh=live.console.is_terminal)
        live.update(picture(agents), refresh=True)
    return work.result()


# -------------------------------------------------------------------------------------------------------- the start


def make_agents(companies: int, agents: int) -> list[Agent]:
    """So many companies with so many agents each."""
    return [Agent(f"company-{c + 1:02}", f"agent-{a + 1:02}") for c in range(companies) for a in range(agents)]


async def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--namespace", help="namespace of the runs (default: that of the kubeconfig's context)")
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--companies", type=int, default=12)
    parser.add_argument("--agents", type=int, default=12, help="of each company")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each agent, one after the other")
    parser.add_argument("--task", default="demo", help="its name: with the same one, what was begun is gone on with")
    parser.add_argument(
        "--job", type=argparse.FileType(), help="YAML with the spec.job of all runs: image, credentials"
    )
    given = parser.parse_args(argv)
    job = yaml.safe_load(given.job) if given.job else None
    agents = make_agents(given.companies, given.agents)
    async with await client.AsyncClient.connect(namespace=given.namespace, context=given.context) as runs:
        orchestrator = Orchestrator(runs, agents, task=given.task, rounds=given.rounds, job=job)
        return 0 if await show(asyncio.create_task(orchestrator.work()), agents) else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit("The agents go on with what they do. Start this again to give them the rest.")
    except errors.AgentRunError as e:
        sys.exit(str(e))
