"""Strategic merge of a pod template patch, as ``kubectl patch`` does it, for the lists a pod template has.

Maps are merged key by key, null deletes a key, lists of objects with a known merge key are merged element by element
(``$patch: delete`` removes one), every other list is replaced whole; other directives are refused. No Python library
offers this: the merge keys live in Go struct tags of k8s.io/api (``patchMergeKey``), from which the table below is
taken.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_DIRECTIVE = "$patch"


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``patch`` applied; neither is changed. Raises ValueError saying what in the patch is impossible."""
    if patch.get(_DIRECTIVE) == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    for key in patch:
        if key.startswith("$"):
            raise ValueError(f"the directive {key}: {patch[key]} is not supported here; null deletes a key")
    merged = dict(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _value(key, base.get(key), value)
    return merged


def _value(key: str, base: object, patch: object) -> Any:  # noqa: ANN401 - JSON
    if isinstance(patch, Mapping):
        return merge(base if isinstance(base, Mapping) else {}, patch)
    if isinstance(patch, list) and key in _MERGE_KEYS:
        return _elements(key, base if isinstance(base, list) else [], patch)
    return patch


def _elements(key: str, base: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    merged = {_identity(key, element): element for element in base}
    for element in patch:
        name = _identity(key, element)
        if element.get(_DIRECTIVE) == "delete":
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name, {}), element)
    return list(merged.values())


def _identity(key: str, element: object) -> str | int:
    merge_key = _MERGE_KEYS[key]
    value = element.get(merge_key) if isinstance(element, Mapping) else None
    if not isinstance(value, str | int):
        raise ValueError(f"every element of {key} needs the key {merge_key!r}")  # noqa: TRY004 - wrong in the user's JSON
    return value
