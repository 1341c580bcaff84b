"""Why a pod has not started, in one word, as a table."""

# ruff: noqa: E501 - one row of a table, one line

import dataclasses

import pytest

from agentrun_operator import facts
from agentrun_operator.status import pods
from tests import builders

waiting = builders.waiting


def pod(**given: object) -> facts.PodFacts:
    """A pod that has not started."""
    return facts.parse_pod(builders.pod(**{"phase": "Pending", **given}))  # type: ignore[arg-type]  # JSON of a row


NO_NODE = {"PodScheduled": ("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")}


@pytest.mark.parametrize(
    ("seen", "reason", "message"),
    [
        (None, "Starting", "The Job has not created its pod yet."),
        (pod(), "Starting", "The pod is starting."),
        (pod(main=waiting("ContainerCreating")), "Starting", "The pod is starting."),
        (pod(main=waiting("PodInitializing"), init=builders.running()), "Starting", "Init container prepare is running."),
        (pod(main=waiting("PodInitializing"), init=waiting("PodInitializing")), "Starting", "The pod is starting."),
        (pod(phase="Running", main=builders.running()), "Running", "The agent is running."),
        (pod(phase="Running", deleting=True, main=builders.running()), "Terminating", "The pod is being stopped."),
        (pod(deleting=True), "Terminating", "The pod is being stopped."),
        (pod(phase="Running", main=builders.terminated(exit_code=1)), "Finishing", "The agent has ended; the rest of its log is being read."),
        (pod(phase="Running", deleting=True, main=builders.terminated()), "Finishing", "The agent has ended; the rest of its log is being read."),
        (pod(phase="Failed"), "Finishing", "The agent has ended; the rest of its log is being read."),
        (pod(phase="Succeeded"), "Finishing", "The agent has ended; the rest of its log is being read."),
        (dataclasses.replace(pod(main=builders.running()), gone=True), "Finishing", "The agent has ended; the rest of its log is being read."),
        (pod(false_conditions=NO_NODE), "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu."),
        (pod(false_conditions={"PodScheduled": ""}), "Unschedulable", ""),
        (pod(false_conditions={"PodScheduled": ("SchedulingGated", "gated")}), "SchedulingGated", "gated"),
        (pod(conditions={"PodScheduled": ""}, false_conditions={"Ready": "ContainersNotReady"}), "Starting", "The pod is starting."),
        (pod(false_conditions=NO_NODE, main=waiting("ErrImagePull")), "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu."),
        (pod(main=waiting("CrashLoopBackOff")), "CrashLoopBackOff", "Container claude: CrashLoopBackOff"),
        (pod(main=waiting("PodInitializing"), init=waiting("ErrImagePull", "denied")), "ErrImagePull", "Container prepare: denied"),
        (pod(main=waiting("ErrImagePull", "late"), init=waiting("InvalidImageName", "bad")), "InvalidImageName", "Container prepare: bad"),
    ],
)  # fmt: skip
def test_the_reason_and_the_sentence(seen: facts.PodFacts | None, reason: str, message: str) -> None:
    """One word and one sentence for every state; ready only while the agent's process runs."""
    state = pods.describe(seen)
    assert (state.reason, state.message) == (reason, message)
    assert state.ready is (reason == "Running")


@pytest.mark.parametrize(
    ("reason", "told", "hopeless"),
    [
        ("ErrImagePull", "ErrImagePull", True),
        ("ImagePullBackOff", "ErrImagePull", True),
        ("ErrImageNeverPull", "ErrImagePull", True),
        ("RegistryUnavailable", "ErrImagePull", True),
        ("InvalidImageName", "InvalidImageName", True),
        ("CreateContainerConfigError", "CreateContainerConfigError", True),
        ("CreateContainerError", "CreateContainerError", True),
        ("RunContainerError", "RunContainerError", True),
        ("CrashLoopBackOff", "CrashLoopBackOff", False),
        ("ContainerCreating", "Starting", False),
        ("PodInitializing", "Starting", False),
        ("SomethingNew", "SomethingNew", False),
    ],
)
def test_what_does_not_heal_by_waiting(reason: str, told: str, *, hopeless: bool) -> None:
    """Images and configuration do not heal; two words that the kubelet alternates between are one reason."""
    for seen in (pod(main=waiting(reason)), pod(init=waiting(reason), main=waiting("PodInitializing"))):
        state = pods.describe(seen)
        assert (state.reason, state.hopeless) == (told, hopeless)


def test_a_missing_node_is_never_hopeless() -> None:
    """An autoscaler may bring one."""
    assert not pods.describe(pod(false_conditions=NO_NODE)).hopeless
