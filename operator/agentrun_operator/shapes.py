"""Read JSON whose shape nobody has checked: what is missing or of another type reads as empty, never as an error."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

_SHORT = 40  # characters


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> Sequence[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects in ``value``, if it is a list."""
    return [item for item in sequence(value) if isinstance(item, Mapping)]


def number(value: object) -> int | None:
    """``value`` if it is a whole number, else None."""
    return value if isinstance(value, int) else None


def text(value: object) -> str:
    """``value`` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def word(value: object) -> str:
    """``text(value)``, held only once: for what stands in many objects, such as ids, names and reasons."""
    return sys.intern(text(value))


def share(value: object) -> Any:  # noqa: ANN401 - JSON, with the same types
    """Have an object, in place, hold each short text only once with all others: field names are half of its size."""
    if isinstance(value, dict):
        items = [(sys.intern(key), share(content)) for key, content in value.items()]
        value.clear()
        value.update(items)
    elif isinstance(value, list):
        value[:] = [share(item) for item in value]
    elif isinstance(value, str) and len(value) <= _SHORT:
        return sys.intern(value)
    return value


def present(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {key: value for key, value in values.items() if value is not None}
