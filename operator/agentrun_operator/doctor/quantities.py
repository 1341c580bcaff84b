"""Kubernetes' numbers with units, as far as quotas need them: read, compared, added up for one pod."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from agentrun_operator import shapes

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([a-zA-Z]{0,2}|[eE][+-]?\d+)")
_UNITS = {
    **{"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def parse(text: object) -> Decimal | None:
    """A quantity such as ``500m``, ``2Gi`` or ``1e3`` as a number; None if it is none."""
    found = _FORM.fullmatch(str(text))
    if found is None:
        return None
    number, unit = found.groups()
    if unit in _UNITS:
        return Decimal(number) * _UNITS[unit]
    return Decimal(number + unit) if unit[1:].lstrip("+-").isdecimal() else None


def of_run(job: Mapping[str, Any]) -> dict[str, Decimal]:
    """What one run takes of a quota, by the quota's own names: a Job, a Secret, a pod with its requests and limits."""
    spec = shapes.mapping(shapes.mapping(shapes.mapping(job.get("spec")).get("template")).get("spec"))
    wanted = {name: Decimal(1) for name in ("pods", "count/pods", "count/jobs.batch", "secrets", "count/secrets")}
    for kind in ("requests", "limits"):
        agents = _total(shapes.objects(spec.get("containers")), kind)
        inits = [_total([container], kind) for container in shapes.objects(spec.get("initContainers"))]
        for resource in {*agents, *(name for one in inits for name in one)}:
            most = max([agents.get(resource, Decimal(0)), *(one.get(resource, Decimal(0)) for one in inits)])
            wanted[f"{kind}.{resource}"] = most
            if kind == "requests":
                wanted[resource] = most  # a quota may name it so, too
    return wanted


def _total(containers: Iterable[Mapping[str, Any]], kind: str) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in containers:
        for name, text in shapes.mapping(shapes.mapping(container.get("resources")).get(kind)).items():
            total[name] = total.get(name, Decimal(0)) + (parse(text) or Decimal(0))
    return total
