"""Several operators share the agents: each looks after its own and leaves all others alone."""

import asyncio
import collections
import pathlib
from collections.abc import Iterator
from typing import Any, cast

import kopf
import pytest

from agentrun_operator import logfiles, names, runner, settings
from agentrun_operator.handlers import runs
from agentrun_operator.runner import mirrors
from tests import builders, deps, fakes

COUNT = 2
AGENTS = [f"agent-{number}" for number in range(12)]


def make(folder: pathlib.Path, index: int, client: fakes.FakeKube | None = None) -> runner.Deps:
    """What all runs of one shard share."""
    config = settings.Settings(image="agent:1", data_path=str(folder), shard=f"{index}/{COUNT}")
    return deps.make(config, client or fakes.FakeKube())


@pytest.fixture
def shards(tmp_path: pathlib.Path) -> Iterator[list[runner.Deps]]:
    """Two shards that see the same cluster and the same volume."""
    client = fakes.FakeKube()
    yield [make(tmp_path, index, client) for index in range(COUNT)]
    deps.close_all()


def body_of(agent: str) -> dict[str, Any]:
    """An AgentRun of that agent."""
    return builders.agent_run(name=agent, uid=f"uid-{agent}", agent={"id": agent}, runId=agent)


def owner(agent: str) -> int:
    """The shard that an agent belongs to."""
    return names.shard_of(names.agent_key("team-a", "acme", agent), COUNT)


def test_each_agent_has_one_shard(shards: list[runner.Deps]) -> None:
    """All of them, and every shard gets some."""
    found = collections.Counter(
        index for agent in AGENTS for index, one in enumerate(shards) if runner.is_ours(one, body_of(agent))
    )
    assert sum(found.values()) == len(AGENTS)
    assert set(found) == set(range(COUNT))


def test_an_agent_stays_where_it_is() -> None:
    """In this release and the next: an upgrade must not hand runs over."""
    assert [names.shard_of(f"team-a/acme/{agent}", 5) for agent in AGENTS] == [1, 3, 2, 1, 4, 1, 3, 4, 2, 4, 2, 2]


def test_shares_are_fair() -> None:
    """Within a fifth, for a thousand agents in ten shards."""
    counted = collections.Counter(names.shard_of(f"team-a/acme/agent-{number}", 10) for number in range(1000))
    assert max(counted.values()) < 130
    assert min(counted.values()) > 70


@pytest.mark.parametrize("shard", ["2/2", "1/0", "1", "-1/2", "a/b", "0/1000"])
def test_a_shard_that_does_not_exist_is_refused(shard: str) -> None:
    """With the name of the setting."""
    with pytest.raises(ValueError, match="shard"):
        settings.Settings(shard=shard)


async def test_a_run_is_followed_by_its_shard_alone(shards: list[runner.Deps]) -> None:
    """The other one neither follows it nor takes it for a straggler, nor minds its end."""
    for agent in AGENTS:
        body = body_of(agent)
        followed = [runs.is_followed(status={}, body=body, memo=one) for one in shards]
        assert followed == [index == owner(agent) for index in range(COUNT)]
        for one in shards:
            await runs.saw(event=cast("kopf.RawEvent", {"type": None, "object": body}), uid=f"uid-{agent}", memo=one)
    for index, one in enumerate(shards):
        waited_for = getattr(one.stragglers, "_seen")  # noqa: B009 - there is no other way to ask
        assert set(waited_for) == {f"uid-{agent}" for agent in AGENTS if owner(agent) == index}


async def test_a_shard_knows_its_own_jobs_and_pods_alone(shards: list[runner.Deps]) -> None:
    """By list and by watch; so it never finds an orphan that another one looks after."""
    client = shards[0].client
    assert isinstance(client, fakes.FakeKube)
    for agent in AGENTS:
        job = builders.job(body_of(agent), uid=f"job-{agent}", name=agent)
        client.jobs["team-a", agent] = job
        client.pods["team-a", agent] = builders.pod(job, uid=f"pod-{agent}", name=agent)
    for index, one in enumerate(shards):
        tasks = await mirrors.begin(client, one.world, ("team-a",), one.config.owns)
        mine = {agent for agent in AGENTS if owner(agent) == index}
        assert {job.name for job in one.world.jobs()} == mine
        assert {pod.uid for pod in one.world.pods()} == {f"pod-{agent}" for agent in mine}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_shard_sweeps_the_logs_of_its_own_agents(shards: list[runner.Deps]) -> None:
    """It does not know whether an agent of another shard still writes."""
    root = pathlib.Path(shards[0].config.local_path(shards[0].config.log_root) or "")
    for agent in AGENTS:
        log = root / "acme" / agent / f"{agent}{names.LOG_SUFFIX}"
        log.parent.mkdir(parents=True)
        log.write_text("{}\n")
        log.with_name(f"{agent}{names.OWNER_SUFFIX}").write_text(f"team-a uid-{agent} WithRun\n")
    assert len(logfiles.find_owned(str(root))) == len(AGENTS)
    sweep_once = getattr(shards[1].caretaker, "_sweep_once")  # noqa: B009 - the public one goes on for ever
    assert await sweep_once() == sum(owner(agent) == 1 for agent in AGENTS)
    left = {pathlib.Path(log).name.split(".")[0] for log, _ in logfiles.find_owned(str(root))}
    assert left == {agent for agent in AGENTS if owner(agent) == 0}
