"""Unchecked JSON reads as what it is, or as empty."""

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
