"""Unchecked JSON reads as what it is, or as empty."""

import json

import pytest

from agentrun_operator import shapes


@pytest.mark.parametrize("value", [None, 1, 1.5, True, "x", [1, {"a": 1}], {"a": 1}, (2,)])
def test_whatever_it_is_it_reads_as_something(value: object) -> None:
    """Never an error: the object may come from anybody."""
    assert shapes.mapping(value) == (value if isinstance(value, dict) else {})
    assert list(shapes.sequence(value)) == (list(value) if isinstance(value, list | tuple) else [])
    assert shapes.objects(value) == ([{"a": 1}] if isinstance(value, list) else [])
    assert shapes.number(value) == (value if isinstance(value, int) else None)
    assert shapes.text(value) == (value if isinstance(value, str) else "")


def test_what_is_shared_stays_the_same_and_is_held_once() -> None:
    """Names and short words of all objects are one text each; long ones are left alone."""
    texts = [
        '{"phase": "Running", "conditions": [{"type": "PodReady", "n": 1, "long": "%s"}], "none": null}' % ("x" * 60)
    ] * 2
    one, other = (json.loads(text) for text in texts)
    assert shapes.share(one) is one
    shapes.share(other)
    assert one == other == json.loads(texts[0])
    assert one["phase"] is other["phase"]
    assert [*map(id, one)] == [*map(id, other)]
    assert one["conditions"][0]["long"] is not other["conditions"][0]["long"]
