"""Hold manifests against Kubernetes' own types, as its Python client has them: no cluster is needed for that.

Not known here: ranges, and what fields demand of each other. The end-to-end tests apply the base for real.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes import client

_SCALARS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}
_CONTAINER = re.compile(r"(?P<kind>List|Dict)\[(str, )?(?P<inner>.+)\]")


def faults(body: Mapping[str, Any]) -> list[str]:
    """A sentence for each field that Kubernetes does not know, that has another type, or that is missing."""
    version = body["apiVersion"].rpartition("/")[2]
    return list(_check(body, f"{version.capitalize()}{body['kind']}", body["kind"]))


def _check(value: Any, kind: str, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    container = _CONTAINER.fullmatch(kind)
    if kind in _SCALARS:
        if not isinstance(value, _SCALARS[kind]) or (kind != "bool" and isinstance(value, bool)):
            yield f"{path} is {value!r} and no {kind}"
    elif kind in {"object", "datetime"}:  # an int or a text, mostly
        return
    elif container:
        wanted = list if container["kind"] == "List" else dict
        if not isinstance(value, wanted):
            yield f"{path} is no {wanted.__name__}"
            return
        pairs = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in pairs:
            yield from _check(item, container["inner"], f"{path}[{key}]")
    else:
        yield from _check_model(value, getattr(client, kind), path)


def _check_model(value: Any, model: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON, and a generated class
    if not isinstance(value, dict):
        yield f"{path} is no object"
        return
    known = {theirs: ours for ours, theirs in model.attribute_map.items()}
    for name, item in value.items():
        if name not in known:
            yield f"{path}.{name} is unknown"
        elif item is None:
            yield f"{path}.{name} is empty"
        else:
            yield from _check(item, model.openapi_types[known[name]], f"{path}.{name}")
    names = {ours.lstrip("_"): theirs for theirs, ours in known.items()}  # pydantic takes no leading underscore
    required = {names[ours] for ours, field in model.model_fields.items() if ours in names and field.is_required()}
    yield from (f"{path}.{name} is missing" for name in sorted(required - set(value)))
