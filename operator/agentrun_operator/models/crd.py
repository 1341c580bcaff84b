"""The CustomResourceDefinition, made from the pydantic models.

Pydantic writes JSON Schema; Kubernetes wants a *structural* schema: no ``$ref``, no ``anyOf`` with null, no ``const``,
and a ``type`` everywhere. This module does that translation and adds what only a CRD has: names, columns, subresource.
"""

from collections.abc import Container, Mapping
from typing import Any

from agentrun_operator import models, names
from agentrun_operator.models import base

_KEEP = (
    "type",
    "description",
    "default",
    "enum",
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)

_COLUMNS = (
    # name, type, path, priority (1 = only with -o wide)
    ("Phase", "string", ".status.phase", 0),
    ("Reason", "string", ".status.reason", 0),
    ("Agent", "string", ".spec.agent.id", 0),
    ("Model", "string", ".status.model", 0),
    ("Turns", "integer", ".status.turns", 0),
    ("Cost", "string", ".status.costUSD", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Session", "string", ".status.session.id", 1),
    ("Job", "string", ".status.job.name", 1),
    ("Node", "string", ".status.nodeName", 1),
    ("Exit", "integer", ".status.exit.code", 1),
    ("Last-Output", "date", ".status.lastOutputTime", 1),
    ("Company", "string", ".spec.companyId", 1),
)


def build_crd() -> dict[str, Any]:
    """The CustomResourceDefinition as an object ready for YAML."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": "agentrun",
                "shortNames": ["arun"],
                "categories": ["paperclip"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
                        for name, kind, path, priority in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _object_schema()},
                }
            ],
        },
    }


def _object_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": models.AgentRun.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _fixed(_of_model(models.AgentRunSpec), models.AgentRunSpec.MAY_CHANGE),
            "status": _of_model(models.AgentRunStatus),
        },
    }


def _fixed(spec: dict[str, Any], may_change: Container[str]) -> dict[str, Any]:
    """``spec`` with rules that all its other fields never change, not even by being added or removed.

    A rule of the field itself is cheap, and the API server judges them all again at each write of a status; only where
    a field may be left out, a rule of the object has to look whether it is there (docs/adr/0023).
    """
    for name, field in spec["properties"].items():
        if name in may_change:
            continue
        message = f"spec.{name} cannot be changed after creation; create a new AgentRun instead"
        _add(field, base.Rule("self == oldSelf", message))
        if name not in spec["required"] and "default" not in field:
            _add(spec, base.Rule(f"has(self.{name}) == has(oldSelf.{name})", message))
    return spec


def _add(node: dict[str, Any], rule: base.Rule) -> None:
    """In a list of its own: fields of one type share theirs."""
    node[base.VALIDATIONS] = [*node.get(base.VALIDATIONS, ()), rule.as_json()]


def _of_model(model: type[Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    node = _resolved(node, defs)
    default = node.get("default")
    if isinstance(default, dict) and "properties" in node:
        node["default"] = {}  # the API server fills in what is inside from the defaults there
    elif not default and not isinstance(default, bool | int | str):
        node.pop("default", None)  # null, an empty list: the field is simply absent
    out = {key: node[key] for key in _KEEP if key in node}
    out.update({key: value for key, value in node.items() if key.startswith("x-kubernetes-")})
    if "properties" in node:
        out["properties"] = {name: _structural(child, defs) for name, child in node["properties"].items()}
    if "items" in node:
        out["items"] = _structural(node["items"], defs)
    extra = node.get("additionalProperties")
    if isinstance(extra, Mapping) and "x-kubernetes-preserve-unknown-fields" not in out:
        out["additionalProperties"] = _structural(extra, defs)
    return out


def _resolved(node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """``node`` with its reference or its one non-null alternative put in place; what stands beside it wins."""
    choices = [c for c in node.get("anyOf", ()) if c.get("type") != "null"]
    inner = choices[0] if choices else node
    if "$ref" in inner:
        inner = _resolved(defs[inner["$ref"].rsplit("/", 1)[1]], defs)
    return {**inner, **{key: value for key, value in node.items() if key not in {"anyOf", "$ref"}}}
