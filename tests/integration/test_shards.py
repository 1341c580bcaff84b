"""Two operators share the agents of one namespace: each looks after its own, whatever becomes of the other."""

import itertools
from collections.abc import Iterator

import pytest

from agentrun_operator import names
from hack import playground
from tests import harness
from tests.integration import kubelet

COUNT = 2
EACH = 3  # agents of each shard


@pytest.fixture
def shards(site: harness.Site) -> Iterator[list[playground.Process]]:
    """Both shards, each an operator of its own."""
    account = playground.operator_kubeconfig(site.kubectl, site.folder / "operator.kubeconfig")
    made = [
        playground.start_operator(
            account, log=site.folder / f"shard-{index}.log", settings={**site.settings, "SHARD": f"{index}/{COUNT}"}
        )
        for index in range(COUNT)
    ]
    yield made
    for operator in made:
        operator.stop()


def agents_of(site: harness.Site, index: int) -> list[str]:
    """Some agents of a shard; which they are depends on the namespace, whose name is another one each time."""
    every = (f"agent-{number}" for number in itertools.count())
    mine = (a for a in every if names.shard_of(names.agent_key(site.namespace, "acme", a), COUNT) == index)
    return list(itertools.islice(mine, EACH))


def log_of(site: harness.Site, index: int) -> str:
    """What a shard has said."""
    return (site.folder / f"shard-{index}.log").read_text()


def test_each_agent_is_looked_after_by_its_shard(site: harness.Site, shards: list[playground.Process]) -> None:
    """All runs go from Job to verdict, and no shard so much as mentions a run of the other one."""
    agents = [agents_of(site, index) for index in range(COUNT)]
    for agent in itertools.chain(*agents):
        site.create(agent, agent={"id": agent})
    for agent in itertools.chain(*agents):
        pod = kubelet.Pod(site, agent)
        pod.run()
        pod.write(kubelet.transcript("ok"))
        pod.end(0)
    for agent in itertools.chain(*agents):
        assert site.wait_phase(agent, "Succeeded", "Failed")["phase"] == "Succeeded"
    for index in range(COUNT):
        log = log_of(site, index)
        mentioned = [agent for agent in itertools.chain(*agents) if f'"run": "{site.namespace}/{agent}"' in log]
        assert mentioned == agents[index]
    assert all(operator.alive for operator in shards)


def test_a_shard_that_is_away_holds_up_its_own_agents_alone(
    site: harness.Site, shards: list[playground.Process]
) -> None:
    """Theirs wait, untouched, until it is back; the others' start."""
    shards[0].stop()
    mine, others = agents_of(site, 0), agents_of(site, 1)
    for agent in mine + others:
        site.create(agent, agent={"id": agent})
    for agent in others:
        site.wait_status(agent, phase="Pending")
    assert {job["metadata"]["ownerReferences"][0]["name"] for job in site.list("jobs")} == set(others)
    account = site.folder / "operator.kubeconfig"
    settings = {**site.settings, "SHARD": f"0/{COUNT}"}
    shards[0] = playground.start_operator(account, log=site.folder / "shard-0.log", settings=settings)
    for agent in mine:
        site.wait_status(agent, phase="Pending")
    assert len(site.list("jobs")) == 2 * EACH
