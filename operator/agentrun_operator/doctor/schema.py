"""Two schemas of the AgentRun: where they differ, by the paths that users know."""

from collections.abc import Iterator, Mapping
from typing import Any

from agentrun_operator import shapes

PARTS = ("spec", "status")


def find_differences(shipped: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What the cluster lacks or has otherwise, and what only the cluster has: paths such as ``spec.claude.model``."""
    ours, theirs = (shapes.mapping(schema.get("properties")) for schema in (shipped, found))
    lacking: list[str] = []
    extra: list[str] = []
    for part in PARTS:
        for path, is_extra in _compare(ours.get(part), theirs.get(part), part):
            (extra if is_extra else lacking).append(path)
    return lacking, extra


def _compare(ours: object, theirs: object, path: str) -> Iterator[tuple[str, bool]]:
    """Paths, and whether only the cluster has what is there."""
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        if ours != theirs:
            yield path, ours is None
        return
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        if key == "description" and not isinstance(ours.get(key), Mapping):
            continue  # other words, the same fields
        if key in ours and key in theirs and key in {"properties", "items", "additionalProperties"}:
            yield from _compare(ours[key], theirs[key], path if key == "properties" else f"{path}[]")
        elif key in ours and key in theirs and isinstance(ours[key], Mapping):
            yield from _compare(ours[key], theirs[key], f"{path}.{key}")
        elif ours.get(key) != theirs.get(key):
            yield f"{path}.{key}", key not in ours
