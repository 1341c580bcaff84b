"""The local cluster's level between a bare control plane and a real node: pods that live without containers."""

import pytest

from tests import harness


@pytest.mark.timeout(400)  # kwok is built when it is first asked for
def test_pods_run_to_their_end_without_containers() -> None:
    """A Job of ten pods completes on a fake node in seconds."""
    job = ("create", "job", "many", "--image=example.test/none", "-n", "default", "--dry-run=client", "-o", "yaml")
    with harness.running_cluster("kwok", "kwok") as kubectl:
        template = kubectl.run(*job).replace("spec:\n", "spec:\n  completions: 10\n  parallelism: 10\n", 1)
        kubectl.run("apply", "-f", "-", stdin=template)
        kubectl.run("wait", "--for=condition=Complete", "job/many", "--timeout=60s")

        assert kubectl.get("job", "many")["status"]["succeeded"] == 10
