"""Rights that were used, beside rights that are granted: the comparison that the tests of roles rely on."""

import json
from typing import Any

import pytest

from hack.deployment import rights
from hack.deployment.rights import Right

ACCOUNT = "system:serviceaccount:agentrun-system:agentrun-operator"


def entry(verb: str, resource: str = "", *, user: str = ACCOUNT, decision: str = "allow", **target: str) -> str:
    """A line of an audit log, as the API server of the local clusters writes it."""
    event: dict[str, Any] = {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": user},
        "requestURI": f"/some/path/{resource}?limit=500",
        "responseStatus": {"code": 200 if decision == "allow" else 403},
        "annotations": {"authorization.k8s.io/decision": decision},
    }
    if resource:
        event["objectRef"] = {"resource": resource, **target}
    return json.dumps(event) + "\n"


def rule(group: str, resource: str, *verbs: str, **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **more}


def test_an_entry_tells_the_right_that_it_took() -> None:
    """Group, resource with its subresource, verb, name; the path without its question; what became of it."""
    [one] = rights.read([entry("patch", "agentruns", apiGroup="paperclip.io", subresource="status", name="run-1")])

    assert one.right == Right("paperclip.io", "agentruns/status", "patch", "run-1")
    assert (one.path, one.allowed, one.code) == ("/some/path/agentruns", True, 200)
    assert str(one.right) == "patch agentruns/status.paperclip.io run-1"
    assert str(Right("", "pods", "list")) == "list pods"


def test_a_refusal_is_told() -> None:
    """A right that is lacking shows as a request that was not allowed."""
    [one] = rights.read([entry("list", "secrets", decision="forbid")])

    assert (one.allowed, one.code) == (False, 403)


@pytest.mark.parametrize(
    ("user", "counts"),
    [
        (ACCOUNT, True),
        ("system:serviceaccount:t-1:agentrun-operator", True),
        ("system:serviceaccount:t-1:agentrun-operator-2", False),
        ("system:serviceaccount:t-1:default", False),
        ("admin", False),
        ("", False),
    ],
)
def test_only_the_operators_requests_count(user: str, *, counts: bool) -> None:
    """In whichever namespace it is installed."""
    assert bool(rights.read([entry("get", "pods", user=user)])) is counts


def test_what_doctor_tries_in_the_operators_pod_is_not_the_operators() -> None:
    """It finds out what it may not see."""
    tried = {**json.loads(entry("get", "namespaces", decision="forbid")), "userAgent": "agentrun-doctor/1.2.3"}
    assert rights.read([json.dumps(tried) + "\n"]) == []


def test_a_line_that_is_still_being_written_is_left_out() -> None:
    """The API server may write while the log is read."""
    assert len(rights.read([entry("get", "pods"), entry("list", "pods")[:40]])) == 1


@pytest.mark.parametrize(
    ("used", "granted", "lacking", "unused"),
    [
        ([("get", "pods")], [rule("", "pods", "get")], [], []),
        ([("get", "pods"), ("list", "pods")], [rule("", "pods", "get")], [Right("", "pods", "list")], []),
        ([("get", "pods")], [rule("", "pods", "get", "watch")], [], [Right("", "pods", "watch")]),
        ([], [rule("", "pods", "get")], [], [Right("", "pods", "get")]),
        ([("get", "pods/log")], [rule("", "pods", "get")], [Right("", "pods/log", "get")], [Right("", "pods", "get")]),
        ([("get", "")], [], [], []),  # discovery: a path, and nobody's right
    ],
)
def test_what_does_not_fit_is_named(
    used: list[tuple[str, str]], granted: list[dict[str, Any]], lacking: list[Right], unused: list[Right]
) -> None:
    """Both ways, and each by its verb and resource."""
    lines = []
    for verb, what in used:
        resource, _, subresource = what.partition("/")
        lines.append(entry(verb, resource, **({"subresource": subresource} if subresource else {})))

    difference = rights.compare(rights.read(lines), rights.granted(granted))

    assert difference == rights.Difference(lacking=tuple(lacking), unused=tuple(unused))


def test_a_right_to_one_object_is_none_to_another() -> None:
    """`resourceNames` counts on both sides: used by another name is lacking, and its own name is unused."""
    granted = rights.granted([rule("coordination.k8s.io", "leases", "get", resourceNames=["mine"])])
    group = {"apiGroup": "coordination.k8s.io"}

    own = rights.compare(rights.read([entry("get", "leases", name="mine", **group)]), granted)
    other = rights.compare(rights.read([entry("get", "leases", name="theirs", **group)]), granted)

    assert own == rights.Difference(lacking=(), unused=())
    assert other == rights.Difference(lacking=(Right("coordination.k8s.io", "leases", "get"),), unused=tuple(granted))


def test_the_rules_of_all_roles_are_read() -> None:
    """Of the kinds that are asked for; what is granted twice is twice there."""
    one: dict[str, Any] = {"kind": "Role", "rules": [rule("", "pods", "get")]}
    everywhere: dict[str, Any] = {
        "kind": "ClusterRole",
        "rules": [rule("", "pods", "get"), rule("batch", "jobs", "list")],
    }
    objects = [one, {"kind": "Deployment", "spec": {}}, everywhere]

    assert rights.granted(rights.rules(objects)) == [
        Right("", "pods", "get"),
        Right("", "pods", "get"),
        Right("batch", "jobs", "list"),
    ]
    assert rights.granted(rights.rules(objects, ["Role"])) == [Right("", "pods", "get")]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, "nonResourceURLs"),
        (rule("", "pods", "*"), "wildcard"),
        (rule("", "*", "get"), "wildcard"),
        (rule("*", "pods", "get"), "wildcard"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_refused(bad: dict[str, Any], says: str) -> None:
    """A wildcard would pass for used as soon as anything is."""
    with pytest.raises(ValueError, match=says):
        rights.granted([bad])
