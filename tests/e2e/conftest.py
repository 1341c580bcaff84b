"""The real thing: a real node, real containers, the real agent CLI; only the Messages API is scripted."""

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from hack import playground
from tests import harness

IMAGE = "docker.io/agentrun/claude-code:2.1.329"


@pytest.fixture(scope="session")
def kubectl() -> Iterator[playground.Kubectl]:
    """A cluster with a real node."""
    with harness.running_cluster("e2e", "node") as kubectl:
        yield kubectl


@pytest.fixture(scope="session")
def api_bodies(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where what the agents send to the Messages API is kept."""
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="session")
def api_port(tmp_path_factory: pytest.TempPathFactory, api_bodies: pathlib.Path) -> Iterator[int]:
    """The scripted Messages API on loopback."""
    mock, port = playground.start_mock(tmp_path_factory.mktemp("mock"), scenario="ok", bodies=api_bodies)
    yield port
    mock.stop()


class Agents(harness.Site):
    """A site whose runs reach the scripted API."""

    api_port = 0

    def start_run(self, name: str, scenario: str, **spec: Any) -> dict[str, Any]:
        """Create an AgentRun that plays ``scenario``."""
        own = spec.pop("job", {})
        job = {
            "env": [
                {"name": "ANTHROPIC_BASE_URL", "value": f"http://127.0.0.1:{self.api_port}"},
                {"name": "ANTHROPIC_API_KEY", "value": "sk-ant-test-only-planted-secret"},
                {"name": "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "value": "1"},
                *own.pop("env", ()),
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
            "podTemplate": {"spec": {"hostNetwork": True}},  # the scripted API is on this machine's loopback
        }
        given = {"prompt": {"text": f"SCENARIO={scenario} please do the task"}, "claude": {"maxRetries": 0}, **spec}
        return self.create(name, job={**job, **own}, **given)


@pytest.fixture
def site(kubectl: playground.Kubectl, api_port: int, tmp_path: pathlib.Path) -> Iterator[Agents]:
    """A namespace with the operator at work."""
    with harness.site(kubectl, tmp_path, image=IMAGE) as place:
        # A scheduler that meets a claim before it is bound may look at the pod again only minutes later.
        playground.wait_until(lambda: _is_bound(place), seconds=30, what="the shared volume's claim to be bound")
        agents = Agents(place.kubectl, place.namespace, place.folder, place.settings)
        agents.api_port = api_port
        agents.start_operator()
        yield agents
        place.operator = agents.operator


def _is_bound(place: harness.Site) -> bool:
    return bool(place.get("persistentvolumeclaims", playground.CLAIM)["status"].get("phase") == "Bound")
