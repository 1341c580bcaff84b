"""All kinds of faults, by name, and which of them come when: by the seed.

They come in lanes, which are worked off side by side: what happens to the operator, to its requests, to the cluster.
"""

import dataclasses
import functools
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agentrun_operator import runner
from tests.chaos import faults, rules
from tests.chaos.scene import Scene

OPERATOR, REQUESTS, CLUSTER = "operator", "requests", "cluster"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault; ``weight`` is how often it is drawn beyond the once that each gets."""

    name: str
    lane: str
    do: Callable[[Scene, random.Random], Awaitable[str]]
    weight: float = 1.0
    step: str = ""


def _answer(status: int, **fields: Any) -> Callable[[random.Random], rules.Rule]:
    """Refuse a part of the requests for a while."""
    return lambda rng: rules.Rule(
        effect=rules.Effect.ANSWER,
        status=status,
        probability=rng.choice((0.3, 0.6, 1)),
        seconds_active=rng.uniform(0.5, 2),
        **{"times": None, **fields},
    )


def _some(effect: rules.Effect, **fields: Any) -> Callable[[random.Random], rules.Rule]:
    """An effect on a few requests."""
    return lambda rng: rules.Rule(effect=effect, times=rng.choice((1, 2, 4)), skip=rng.randrange(4), **fields)


_TROUBLE: Mapping[str, tuple[float, Callable[[random.Random], rules.Rule]]] = {
    "409 conflict": (2, _answer(409, verbs=rules.MUTATIONS)),
    "410 gone": (1, _answer(410, verbs=frozenset({"watch"}), times=2)),
    "429 too many requests": (2, _answer(429)),
    "500 internal error": (2, _answer(500)),
    "503 unavailable": (2, _answer(503)),
    "504 timeout": (1, _answer(504)),
    "401 expired token": (2, _answer(401)),
    "connection reset": (2, _some(rules.Effect.RESET)),
    "answer lost": (4, _some(rules.Effect.LOSE, verbs=rules.MUTATIONS)),
    "no answer": (1, _some(rules.Effect.HANG, seconds=4, verbs=rules.MUTATIONS | {"get", "list"})),
    "late answer": (2, _some(rules.Effect.DELAY, seconds=1.5)),
    "slow API": (1, lambda rng: rules.Rule(effect=rules.Effect.DELAY, seconds=0.3, times=None, seconds_active=2.5)),
    "HTML page": (1, _some(rules.Effect.GARBAGE, verbs=rules.MUTATIONS | {"get", "list"})),
    "half an answer": (1, _some(rules.Effect.HALF, verbs=rules.MUTATIONS | {"get", "list"})),
    "watch cut": (2, _some(rules.Effect.CUT)),
    "watch frozen": (2, _some(rules.Effect.FREEZE, seconds=3)),
    "watch gone (410)": (2, _some(rules.Effect.GONE)),
    "noise in a watch": (1, _some(rules.Effect.NOISE)),
}


_REQUESTS = (
    ("create", "secrets"),
    ("create", "jobs"),
    ("list", "jobs"),
    ("patch", "jobs"),
    ("delete", "jobs"),
    ("delete", "secrets"),
    ("patch", "agentruns/status"),
    ("patch", "agentruns"),
)


def everything() -> tuple[Kind, ...]:
    """All kinds of faults."""
    kinds = [
        Kind(
            name=f"{number.name} at {step.value}",
            lane=OPERATOR,
            do=functools.partial(faults.at_step, step=step, number=number),
            weight=0.5 if number is signal.SIGKILL else 0.1,
            step=step.value,
        )
        for step in runner.Step
        for number in (signal.SIGKILL, signal.SIGTERM)
    ]
    kinds += [
        Kind(
            name=f"SIGKILL {when} {verb} {resource}",
            lane=OPERATOR,
            do=functools.partial(faults.at_request, verb=verb, resource=resource, when=when),
            weight=0.5,
        )
        for verb, resource in _REQUESTS
        for when in ("before", "after")
    ]
    kinds += [
        Kind(name="SIGSTOP and SIGCONT", lane=OPERATOR, do=faults.stopped_for_a_while, weight=3),
        Kind(name="two operators", lane=OPERATOR, do=faults.two_operators, weight=3),
    ]
    kinds += [
        Kind(name=name, lane=REQUESTS, do=functools.partial(faults.trouble, make=make), weight=weight)
        for name, (weight, make) in _TROUBLE.items()
    ]
    kinds += [
        Kind(name=f"{what} restarted", lane=CLUSTER, do=functools.partial(faults.restarted, component=what), weight=0.5)
        for what in ("kube-apiserver", "etcd")
    ]
    kinds += [
        Kind(name="pod deleted", lane=CLUSTER, do=functools.partial(faults.pod_deleted, force=False), weight=4),
        Kind(name="pod removed by force", lane=CLUSTER, do=functools.partial(faults.pod_deleted, force=True), weight=2),
        Kind(name="Secret deleted", lane=CLUSTER, do=faults.secret_deleted, weight=3),
        Kind(name="node lost, told", lane=CLUSTER, do=functools.partial(faults.node_lost, told=True), weight=3),
        Kind(name="node lost, pod removed", lane=CLUSTER, do=functools.partial(faults.node_lost, told=False), weight=2),
        Kind(
            name="quota of Jobs",
            lane=CLUSTER,
            do=functools.partial(faults.quota_exhausted, resource="count/jobs.batch"),
        ),
        Kind(name="quota of pods", lane=CLUSTER, do=functools.partial(faults.quota_exhausted, resource="pods")),
    ]
    kinds += [
        Kind(
            name=f"Job deleted ({policy.lower()})",
            lane=CLUSTER,
            do=functools.partial(faults.job_deleted, policy=policy),
            weight=3,
        )
        for policy in ("Background", "Foreground", "Orphan")
    ]
    return tuple(kinds)


def plan(count: int, rng: random.Random, kinds: Sequence[Kind]) -> list[Kind]:
    """``count`` faults by the seed: each kind once if there is room, the rest by weight."""
    once = list(kinds) if count >= len(kinds) else rng.sample(list(kinds), count)
    drawn = [*once, *rng.choices(kinds, weights=[kind.weight for kind in kinds], k=count - len(once))]
    rng.shuffle(drawn)
    return drawn
