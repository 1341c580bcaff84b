"""Strategic merge of a pod template patch: what holds for every patch, then each kind of list."""

import copy
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator.manifest import strategic

KEYS = st.text("abc", min_size=1, max_size=2)
SCALARS = st.none() | st.booleans() | st.integers() | st.text("xyz", max_size=2)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner), max_leaves=10)
MAPS = st.dictionaries(KEYS, VALUES, max_size=4)


@hypothesis.given(MAPS)
def test_an_empty_patch_changes_nothing(base: dict[str, Any]) -> None:
    """It is the identity."""
    assert strategic.merge(base, {}) == base


@hypothesis.given(MAPS, MAPS)
def test_a_patch_applied_twice_is_a_patch_applied_once(base: dict[str, Any], patch: dict[str, Any]) -> None:
    """Every patch says what is to be, not what is to happen."""
    once = strategic.merge(base, patch)
    assert strategic.merge(once, patch) == once


@hypothesis.given(MAPS, MAPS)
def test_neither_side_is_changed(base: dict[str, Any], patch: dict[str, Any]) -> None:
    """Both are shared with others."""
    before = copy.deepcopy((base, patch))
    strategic.merge(base, patch)
    assert (base, patch) == before


@pytest.mark.parametrize(
    ("base", "patch", "expected"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="keys are added"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, id="and replaced"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null deletes"),
        pytest.param({}, {"a": None}, {}, id="null deletes what is not there"),
        pytest.param({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}, id="null never stays, in a new map either"),
        pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="maps are merged"),
        pytest.param({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a map replaces a value"),
        pytest.param({"a": {"b": 1}}, {"a": 1}, {"a": 1}, id="a value replaces a map"),
        pytest.param({"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}, id="replace"),
        pytest.param({"a": 1}, {"$patch": "replace", "c": 2}, {"c": 2}, id="replace at the top"),
        pytest.param({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}, id="other lists are replaced whole"),
        pytest.param({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
        pytest.param(
            {"env": [{"name": "A"}]}, {"env": []}, {"env": [{"name": "A"}]}, id="an empty list changes nothing"
        ),
        pytest.param({"env": "x"}, {"env": [{"name": "A"}]}, {"env": [{"name": "A"}]}, id="a list replaces a value"),
    ],
)
def test_maps_and_plain_lists(base: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    """As kubectl patch does it."""
    assert strategic.merge(base, patch) == expected


@pytest.mark.parametrize(
    ("key", "merge_key", "first", "second"),
    [
        ("containers", "name", "claude", "sidecar"),
        ("initContainers", "name", "prepare", "clone"),
        ("volumes", "name", "data", "cache"),
        ("env", "name", "A", "B"),
        ("imagePullSecrets", "name", "a", "b"),
        ("volumeMounts", "mountPath", "/a", "/b"),
        ("volumeDevices", "devicePath", "/dev/a", "/dev/b"),
        ("ports", "containerPort", 80, 443),
        ("hostAliases", "ip", "10.0.0.1", "10.0.0.2"),
        ("topologySpreadConstraints", "topologyKey", "zone", "host"),
    ],
)
def test_lists_of_objects_are_merged_by_their_key(key: str, merge_key: str, first: object, second: object) -> None:
    """An element of the same key is merged in its place, another one added, a marked one deleted."""
    base = {key: [{merge_key: first, "x": 1, "y": 1}]}
    assert strategic.merge(base, {key: [{merge_key: first, "y": 2}, {merge_key: second}]}) == {
        key: [{merge_key: first, "x": 1, "y": 2}, {merge_key: second}]
    }
    assert strategic.merge(base, {key: [{merge_key: first, "$patch": "replace"}]}) == {key: [{merge_key: first}]}
    assert strategic.merge(base, {key: [{merge_key: first, "$patch": "delete"}]}) == {key: []}
    assert strategic.merge(base, {key: [{merge_key: second, "$patch": "delete"}]}) == base


def test_lists_inside_elements_are_merged_too() -> None:
    """A pod template nests them: containers, and in each its variables and mounts."""
    base = {"containers": [{"name": "claude", "env": [{"name": "A", "value": "1"}], "args": ["x"]}]}
    patch = {"containers": [{"name": "claude", "env": [{"name": "B", "value": "2"}]}]}
    assert strategic.merge(base, patch) == {
        "containers": [
            {"name": "claude", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["x"]}
        ]
    }


@pytest.mark.parametrize(
    ("base", "patch", "message"),
    [
        ({}, {"containers": [{"image": "x"}]}, "every element of containers needs the key 'name'"),
        ({}, {"volumeMounts": [{"name": "x"}]}, "every element of volumeMounts needs the key 'mountPath'"),
        ({}, {"env": ["A=1"]}, "every element of env needs the key 'name'"),
        ({}, {"env": [None]}, "every element of env needs the key 'name'"),
        ({}, {"env": [{"name": ["A"]}]}, "every element of env needs the key 'name'"),
        (
            {"imagePullSecrets": [{}]},
            {"imagePullSecrets": []},
            "every element of imagePullSecrets needs the key 'name'",
        ),
        ({}, {"a": {"$patch": "delete"}}, "the directive $patch: delete is not supported here"),
        ({}, {"$retainKeys": ["a"]}, "the directive $retainKeys: ['a'] is not supported here"),
        ({}, {"env": [{"name": "A", "$patch": "merge"}]}, "the directive $patch: merge is not supported here"),
    ],
)
def test_what_cannot_be_merged_is_refused(base: dict[str, Any], patch: dict[str, Any], message: str) -> None:
    """A directive that was passed on would be dropped by the API server without a word."""
    with pytest.raises(ValueError, match=".") as caught:
        strategic.merge(base, patch)
    assert message in str(caught.value)
