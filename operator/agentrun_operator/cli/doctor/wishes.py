"""What ``agentrun doctor`` was asked to look at."""

import dataclasses

from agentrun_operator import models


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """``namespaces`` () and ``run`` None: whatever the settings say. ``inside``: this is a pod of the cluster.

    ``system_namespace`` and ``deployment`` say where the operator is, unless this is its pod; ``timeout``: seconds.
    """

    namespaces: tuple[str, ...] = ()
    run: models.AgentRun | None = None
    inside: bool = False
    system_namespace: str = "agentrun-system"
    deployment: str = "agentrun-operator"
    timeout: float = 10.0
