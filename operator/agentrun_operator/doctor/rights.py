"""Every right that the operator uses: the table that its roles are checked against, and ``agentrun doctor`` asks by.

A unit test compares it with what ``deploy`` grants, and an integration test compares that with what the operator does.
"""

import dataclasses
import enum
from collections.abc import Callable

from agentrun_operator import names, settings
from agentrun_operator.doctor import sights


class Scope(enum.Enum):
    """Where a right is needed."""

    RUNS = "in every namespace of AgentRuns"
    SYSTEM = "in the operator's own namespace"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Verbs on one resource, and what they are for. ``named``: only on the Lease of the settings, and for a Lease."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    purpose: str
    scope: Scope = Scope.RUNS
    named: bool = False
    needed: Callable[[settings.Settings], bool] = lambda _config: True


def _elects(config: settings.Settings) -> bool:
    return bool(config.leader_election_lease)


def _posts_events(config: settings.Settings) -> bool:
    return config.events


RIGHTS = (
    Right(
        group=names.GROUP,
        resource=names.PLURAL,
        verbs=("get", "list", "watch", "patch", "delete"),
        purpose="to see runs, hold their finalizer, cancel those that are replaced, delete those that are over",
    ),
    Right(
        group=names.GROUP, resource=f"{names.PLURAL}/status", verbs=("patch",), purpose="to write what became of a run"
    ),
    Right(
        group="batch",
        resource="jobs",
        verbs=("get", "list", "watch", "create", "patch", "delete"),
        purpose="to start agents, adopt and stop them",
    ),
    Right(
        group="",
        resource="pods",
        verbs=("get", "list", "watch", "delete"),
        purpose="to see how agents fare, and to stop one that has outlived its Job",
    ),
    Right(group="", resource="pods/log", verbs=("get",), purpose="to read a log that is not on the volume"),
    Right(group="", resource="events", verbs=("create",), purpose="to post Events on AgentRuns", needed=_posts_events),
    Right(
        group="",
        resource="secrets",
        verbs=("get", "create", "patch", "delete"),
        purpose="to hand prompts to agents, and to keep secret values out of the status",
    ),
    Right(group="", resource="configmaps", verbs=("get",), purpose="to read prompts that runs name"),
    Right(
        group="coordination.k8s.io",
        resource="leases",
        verbs=("create",),
        purpose="to agree on a leader",
        scope=Scope.SYSTEM,
        needed=_elects,
    ),
    Right(
        group="coordination.k8s.io",
        resource="leases",
        verbs=("get", "update"),
        purpose="to agree on a leader",
        scope=Scope.SYSTEM,
        named=True,
        needed=_elects,
    ),
)


def plan_asks(config: settings.Settings) -> tuple[sights.Ask, ...]:
    """The questions to ask for an operator with these settings."""
    places = {Scope.RUNS: config.watched_namespaces or ("",), Scope.SYSTEM: (config.pod_namespace,)}
    return tuple(
        sights.Ask(
            group=right.group,
            resource=right.resource,
            verb=verb,
            namespace=namespace,
            name=config.leader_election_lease if right.named else "",
        )
        for right in RIGHTS
        if right.needed(config)
        for namespace in places[right.scope]
        for verb in right.verbs
    )


def shown(group: str, resource: str) -> str:
    """A resource as people write it: ``agentruns.paperclip.io/status``."""
    plain, slash, part = resource.partition("/")
    return f"{plain}.{group}{slash}{part}" if group else resource


def purpose(group: str, resource: str) -> str:
    """What rights on a resource are for."""
    return next(right.purpose for right in RIGHTS if (right.group, right.resource) == (group, resource))
