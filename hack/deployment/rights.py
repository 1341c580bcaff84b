"""Rights that roles grant, beside rights that were used by the API server's own record: its audit log.

A right that is used and not granted means that something else grants it, or that the operator meets a 403; one that is
granted and not used is granted in reserve. Paths that are no resources (discovery) are nobody's rights and left out.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What looks at a cluster from inside the operator's pod tries what the operator itself neither does nor may do.
_DOCTOR = "agentrun-doctor/"

# The operator's service account, in whichever namespace it is installed.
OPERATOR = re.compile(r"system:serviceaccount:[^:]+:agentrun-operator")

_ROLES = ("Role", "ClusterRole")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource (a subresource after a slash); ``name``: of one object only."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def covers(self, other: "Right") -> bool:
        """Whether who has this one may do the ``other``."""
        same = (self.group, self.resource, self.verb) == (other.group, other.resource, other.verb)
        return same and self.name in {"", other.name}

    def __str__(self) -> str:
        of = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}{of}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the API server recorded it. ``resource`` is "" for a path that is no resource."""

    group: str
    resource: str
    verb: str
    name: str
    path: str
    allowed: bool
    code: int

    @property
    def right(self) -> Right:
        """The right that it took."""
        return Right(self.group, self.resource, self.verb, self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What does not fit: ``lacking`` rights were used and are not granted, ``unused`` ones the other way round."""

    lacking: tuple[Right, ...]
    unused: tuple[Right, ...]


def parse_entry(entry: Mapping[str, Any]) -> Request:
    """An entry of the audit log."""
    target = entry.get("objectRef") or {}
    return Request(
        group=target.get("apiGroup", ""),
        resource="/".join(part for part in (target.get("resource"), target.get("subresource")) if part),
        verb=str(entry["verb"]),
        name=target.get("name", ""),
        path=str(entry["requestURI"]).partition("?")[0],
        allowed=(entry.get("annotations") or {}).get("authorization.k8s.io/decision") == "allow",
        code=int((entry.get("responseStatus") or {}).get("code", 0)),
    )


def read(lines: Iterable[str], *, user: re.Pattern[str] = OPERATOR) -> list[Request]:
    """The requests of one kind of user among the lines of an audit log, but for those of `agentrun doctor`.

    A last line that is cut short is left out.
    """
    found = []
    for line in lines:
        if not line.endswith("\n"):
            continue
        entry = json.loads(line)
        doctor = str(entry.get("userAgent", "")).startswith(_DOCTOR)
        if user.fullmatch(entry["user"].get("username", "")) and not doctor:
            found.append(parse_entry(entry))
    return found


def rules(objects: Iterable[Mapping[str, Any]], kinds: Sequence[str] = _ROLES) -> list[Mapping[str, Any]]:
    """The rules of all roles of these kinds among the objects."""
    return [rule for one in objects if one["kind"] in kinds for rule in one["rules"]]


def granted(found: Iterable[Mapping[str, Any]]) -> list[Right]:
    """Every right that the rules grant, one that is granted twice twice. Raises ValueError for what is no plain rule.

    A wildcard would be used as soon as anything is, and a path is no resource: neither can be judged here.
    """
    rights = []
    for rule in found:
        if strange := set(rule) - {"apiGroups", "resources", "resourceNames", "verbs"}:
            raise ValueError(f"a rule has {', '.join(sorted(strange))}; only rules about resources can be judged")
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    rights += [Right(group, resource, verb, name) for name in rule.get("resourceNames") or ("",)]
    if wild := [right for right in rights if "*" in (right.group, right.resource, right.verb)]:
        raise ValueError(f"{wild[0]} is a wildcard; name what is meant")
    return rights


def compare(used: Iterable[Request], allowed: Iterable[Right]) -> Difference:
    """Hold the requests against the rights."""
    taken = {request.right for request in used if request.resource}
    given = set(allowed)
    lacking = {dataclasses.replace(one, name="") for one in taken if not any(other.covers(one) for other in given)}
    unused = {one for one in given if not any(one.covers(other) for other in taken)}
    return Difference(lacking=tuple(sorted(lacking)), unused=tuple(sorted(unused)))
