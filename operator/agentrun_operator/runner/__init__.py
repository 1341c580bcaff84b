"""Drive runs: the one place that carries out what the pure core decides.

A ``Supervisor`` follows one run. What all runs share is in ``Deps``: the ``World`` that mirrors Jobs and pods, the tail
of the logs, the caretaker of what is left after the end, the announcer of Events.
"""

from agentrun_operator.runner.announcer import Announcer
from agentrun_operator.runner.deps import Deps, expect, is_ours, look_around, named, slim
from agentrun_operator.runner.leftovers import Leftovers
from agentrun_operator.runner.retention import Caretaker
from agentrun_operator.runner.sources import OwnPod, SecretValues
from agentrun_operator.runner.steps import Step
from agentrun_operator.runner.stragglers import Stragglers
from agentrun_operator.runner.supervisor import Supervisor
from agentrun_operator.runner.world import World

__all__ = [
    "Announcer",
    "Caretaker",
    "Deps",
    "Leftovers",
    "OwnPod",
    "SecretValues",
    "Step",
    "Stragglers",
    "Supervisor",
    "World",
    "expect",
    "is_ours",
    "look_around",
    "named",
    "slim",
]
