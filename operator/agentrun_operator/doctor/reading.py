"""Kubernetes objects (as JSON) reduced to what checks need. Reading is total: what is missing is empty."""

import datetime
from collections.abc import Mapping
from typing import Any

from agentrun_operator import names, shapes
from agentrun_operator.doctor import sights


def parse_crd(body: Mapping[str, Any]) -> sights.Crd:
    """A CustomResourceDefinition."""
    versions = shapes.objects(shapes.mapping(body.get("spec")).get("versions"))
    served = {shapes.text(v.get("name")): v for v in versions if v.get("served") is True}
    schema = shapes.mapping(served.get(names.VERSION, {}).get("schema")).get("openAPIV3Schema")
    return sights.Crd(
        served=tuple(served),
        schema=schema if isinstance(schema, Mapping) else None,
        established=_condition(body, "Established"),
        deleting=_is_deleting(body),
    )


def parse_claim(body: Mapping[str, Any]) -> sights.Claim:
    """A PersistentVolumeClaim; before it is bound, its modes are those that it asks for."""
    status = shapes.mapping(body.get("status"))
    modes = status.get("accessModes") or shapes.mapping(body.get("spec")).get("accessModes")
    return sights.Claim(
        phase=shapes.text(status.get("phase")),
        modes=tuple(mode for mode in shapes.sequence(modes) if isinstance(mode, str)),
        deleting=_is_deleting(body),
    )


def parse_quota(body: Mapping[str, Any]) -> sights.Quota:
    """A ResourceQuota."""
    spec, status = shapes.mapping(body.get("spec")), shapes.mapping(body.get("status"))
    return sights.Quota(
        name=_name(body),
        hard={name: str(value) for name, value in shapes.mapping(spec.get("hard")).items()},
        used={name: str(value) for name, value in shapes.mapping(status.get("used")).items()},
        scoped=bool(spec.get("scopes") or spec.get("scopeSelector")),
    )


def parse_node(body: Mapping[str, Any]) -> sights.Node | None:
    """A node; None if it takes no pods that do not tolerate it."""
    spec, status = shapes.mapping(body.get("spec")), shapes.mapping(body.get("status"))
    taints = shapes.objects(spec.get("taints"))
    if spec.get("unschedulable") is True or any(taint.get("effect") != "PreferNoSchedule" for taint in taints):
        return None
    images = (name for image in shapes.objects(status.get("images")) for name in shapes.sequence(image.get("names")))
    labels = shapes.mapping(shapes.mapping(body.get("metadata")).get("labels"))
    return sights.Node(name=_name(body), labels=labels, images=frozenset(map(str, images)))


def parse_deployment(body: Mapping[str, Any]) -> sights.Deployment:
    """The operator's Deployment."""
    spec, status = shapes.mapping(body.get("spec")), shapes.mapping(body.get("status"))
    replicas = shapes.number(spec.get("replicas"))
    return sights.Deployment(
        name=_name(body),
        replicas=1 if replicas is None else replicas,
        ready=shapes.number(status.get("readyReplicas")) or 0,
        strategy=shapes.text(shapes.mapping(spec.get("strategy")).get("type")),
    )


def parse_operator_pod(body: Mapping[str, Any], container: str) -> sights.OperatorPod:
    """A pod of the operator, whose own container has that name, or is the first."""
    states = shapes.objects(shapes.mapping(body.get("status")).get("containerStatuses"))
    state = next((s for s in states if s.get("name") == container), next(iter(states), {}))
    last = shapes.mapping(shapes.mapping(state.get("lastState")).get("terminated"))
    return sights.OperatorPod(
        name=_name(body),
        ready=state.get("ready") is True,
        restarts=shapes.number(state.get("restartCount")) or 0,
        last_exit=shapes.number(last.get("exitCode")),
        last_reason=shapes.text(last.get("reason")),
    )


def parse_lease(body: Mapping[str, Any], now: datetime.datetime) -> sights.Lease:
    """A Lease; ``now`` is the time by the API server's clock."""
    spec = shapes.mapping(body.get("spec"))
    try:
        age = (now - datetime.datetime.fromisoformat(shapes.text(spec.get("renewTime")))).total_seconds()
    except (TypeError, ValueError):  # TypeError: a time without a zone
        age = None
    seconds = shapes.number(spec.get("leaseDurationSeconds")) or 0
    return sights.Lease(holder=shapes.text(spec.get("holderIdentity")), seconds=seconds, age=age)


def parse_secret(data: Mapping[str, bytes]) -> sights.SecretSeen:
    """A Secret, of which no value is kept."""
    return sights.SecretSeen(keys=frozenset(data), empty=frozenset(key for key, value in data.items() if not value))


def read_variables(
    pod: Mapping[str, Any], container: str, *, fields: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Of an operator's pod: variables with their values, those that are kept elsewhere, and ConfigMaps.

    ``fields`` are the values of fieldRefs, by path.
    """
    containers = shapes.objects(shapes.mapping(pod.get("spec")).get("containers"))
    ours = next((c for c in containers if c.get("name") == container), next(iter(containers), {}))
    values: dict[str, str] = {}
    elsewhere = []
    for entry in shapes.objects(ours.get("env")):
        name, source = shapes.text(entry.get("name")), entry.get("valueFrom")
        field = shapes.text(shapes.mapping(shapes.mapping(source).get("fieldRef")).get("fieldPath"))
        if source is None:
            values[name] = shapes.text(entry.get("value"))
        elif field in fields:
            values[name] = fields[field]
        else:
            elsewhere.append(name)
    sources = [shapes.mapping(entry.get("configMapRef")) for entry in shapes.objects(ours.get("envFrom"))]
    return values, tuple(elsewhere), tuple(shapes.text(source.get("name")) for source in sources if source)


def _condition(body: Mapping[str, Any], kind: str) -> bool:
    conditions = shapes.objects(shapes.mapping(body.get("status")).get("conditions"))
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def _is_deleting(body: Mapping[str, Any]) -> bool:
    return bool(shapes.mapping(body.get("metadata")).get("deletionTimestamp"))


def _name(body: Mapping[str, Any]) -> str:
    return shapes.text(shapes.mapping(body.get("metadata")).get("name"))
