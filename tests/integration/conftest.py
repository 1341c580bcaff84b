"""A real API server with real controllers, but no node: tests play the kubelet and the agent."""

import pathlib
from collections.abc import Iterator

import pytest

from hack import playground
from tests import harness
from tests.integration import kubelet


@pytest.fixture(scope="session")
def kubectl() -> Iterator[playground.Kubectl]:
    """A control plane."""
    with harness.running_cluster("it", "control-plane") as kubectl:
        kubelet.make_node(kubectl)
        yield kubectl


@pytest.fixture
def site(kubectl: playground.Kubectl, tmp_path: pathlib.Path) -> Iterator[harness.Site]:
    """A namespace; the test starts the operator when it wants it."""
    quick = {"PROGRESS_INTERVAL_SECONDS": "0.5", "START_CONFIRM_SECONDS": "1", "LOG_APPEAR_SECONDS": "1"}
    with harness.site(kubectl, tmp_path, image="example.test/agent:1", **quick) as place:
        yield place
        place.stop_operator()  # there is no kubelet: whoever waited for a pod to end would wait in vain
