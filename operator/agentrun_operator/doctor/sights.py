"""What ``agentrun doctor`` has seen: frozen facts, or for each an ``Unknown`` that says why it was not seen.

No value of a Secret is among them, only whether its keys are there and hold something.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from agentrun_operator import settings
from agentrun_operator.doctor.findings import Unknown


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The operator's settings and where they were found; ``faults`` is the sentence about those that are malformed.

    ``strange`` are variables that look like settings and are none, ``unread`` those whose value is kept elsewhere.
    """

    settings: settings.Settings
    source: str
    faults: str = ""
    strange: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The API server. ``skew``: seconds that its clock is ahead of ours; None if it does not say its time."""

    version: str
    seconds: float
    skew: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Crd:
    """The CRD on the cluster. ``schema`` is that of our version, None if that is not served."""

    served: tuple[str, ...]
    schema: Mapping[str, Any] | None
    established: bool = True
    deleting: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question about a right; ``namespace`` "" is everywhere, ``name`` "" any object."""

    group: str
    resource: str
    verb: str
    namespace: str = ""
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The API server's answer."""

    ask: Ask
    allowed: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OperatorPod:
    """A pod of the operator. ``last_exit``: how its container ended before it was restarted; None if it never was."""

    name: str
    ready: bool
    restarts: int = 0
    last_exit: int | None = None
    last_reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The operator's Deployment; ``strategy`` is Recreate or RollingUpdate."""

    name: str
    replicas: int
    ready: int
    strategy: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who leads. ``age``: seconds since it was renewed, by the API server's clock; None if that cannot be read."""

    holder: str
    seconds: int
    age: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that takes pods; ``images`` are the references that its kubelet reports, at most fifty."""

    name: str
    labels: Mapping[str, str]
    images: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A PersistentVolumeClaim."""

    phase: str
    modes: tuple[str, ...]
    deleting: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A ResourceQuota; ``scoped``: it counts only some pods."""

    name: str
    hard: Mapping[str, str]
    used: Mapping[str, str]
    scoped: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretSeen:
    """A Secret that an agent needs. ``keys`` are those that it has, ``empty`` those of them that hold nothing."""

    keys: frozenset[str]
    empty: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the API server said to an object that it was not to store. ``refusal`` "": accepted."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A container of an agent that cannot start."""

    pod: str
    reason: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A namespace that AgentRuns are in. ``phase`` None: there is none of that name.

    ``job`` is the one that would be made for a run, {} if none can be, which ``render_fault`` then says; ``image`` is
    its agent's, "" if every run has to name its own; ``claim``, ``secrets`` and so on are what it needs. A claim or
    Secret that is not there is None.
    """

    namespace: str
    phase: str | None | Unknown = "Active"
    job: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image: str = ""
    render_fault: str = ""
    claim: Claim | None | Unknown = Unknown(reason="it was not looked at")
    quotas: tuple[Quota, ...] | Unknown = ()
    secrets: Mapping[str, SecretSeen | None | Unknown] = dataclasses.field(default_factory=dict)
    tried_job: Trial | Unknown = dataclasses.field(default_factory=Trial)
    tried_pod: Trial | Unknown = dataclasses.field(default_factory=Trial)
    waiting: tuple[Waiting, ...] | Unknown = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is left on a file system; a total of 0 means that it has no such limit."""

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogRoot:
    """The folder of run logs; ``writable`` for the agents' user, ``readable`` for us."""

    path: str
    exists: bool
    uid: int = 0
    gid: int = 0
    mode: int = 0
    readable: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A file that was written, renamed and read in ``folder``; seen after ``seconds``. ``fault`` "": it worked."""

    folder: str
    seconds: float = 0.0
    fault: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The shared volume as this process sees it. ``fault``: it cannot be looked at, and nothing else is known."""

    path: str
    fault: str = ""
    mounted: bool = True
    filesystem: str = ""
    options: tuple[str, ...] = ()
    log_root: LogRoot | None = None
    probe: Probe | None = None
    space: Space | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sights:
    """Everything. ``lease`` None: there is none of that name; ``deployment`` likewise."""

    configuration: Configuration
    api: Api | Unknown
    crd: Crd | None | Unknown
    reviews: tuple[Review, ...] | Unknown
    reviewed: str  # whose rights these are
    deployment: Deployment | None | Unknown
    pods: tuple[OperatorPod, ...] | Unknown
    lease: Lease | None | Unknown
    nodes: tuple[Node, ...] | Unknown
    places: tuple[Place, ...]
    volume: Volume | Unknown
