"""The forms that a setting's text may have: lists, pairs, labels; and the name of its variable."""

import json
import re
from collections.abc import Iterable

PREFIX = "AGENTRUN_"

# What the API server demands of a label; a node selector's keys and values are labels too.
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"((?=[^/]{{1,253}}/){_DNS_LABEL}(\.{_DNS_LABEL})*/)?{_LABEL_NAME}")
_LABEL_VALUE = re.compile(rf"({_LABEL_NAME})?")


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def parse_list(text: str) -> tuple[str, ...]:
    """The items of a comma-separated list, without spaces around them; empty items are ignored."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def parse_pairs(text: str) -> dict[str, str]:
    """Pairs from a JSON object of strings or from lines ``key=value``; blank lines and lines with # are ignored.

    Raises ValueError naming the line or key that is malformed or doubled; a pair left out would be missed late.
    """
    if text.lstrip().startswith(("{", "[")):
        try:
            parsed = json.loads(text, object_pairs_hook=tuple)  # keeps doubled keys; an array is a list
        except ValueError as e:
            raise ValueError(f"it begins like JSON but is none ({e}); write a JSON object or lines key=value") from e
        if not isinstance(parsed, tuple):
            raise ValueError("a JSON array has no keys; write a JSON object or lines key=value")
        return unique(("", key, value) for key, value in parsed)
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if not key or not equals:
            raise ValueError(f"line {number} is {stripped!r}; write key=value, or # before a comment")
        pairs.append((f"line {number}: ", key, value))
    return unique(pairs)


def unique(pairs: Iterable[tuple[str, object, object]]) -> dict[str, str]:
    """Triples of place (how a sentence about the pair begins), key and value as a mapping of texts."""
    found: dict[str, str] = {}
    for place, key, value in pairs:
        if not isinstance(key, str) or not key:
            raise ValueError(f"{place}the key {key!r} is not a text or is empty; write a name")
        if not isinstance(value, str):  # ValueError throughout, for pydantic makes a sentence of no other error
            raise ValueError(f"{place}the value of {key} is {value!r} and not a text; put it in quotes")  # noqa: TRY004 - see above
        if key in found:
            raise ValueError(f"{place}{key} is given twice; keep one of them")
        found[key] = value
    return found


def check_label(key: str, value: str) -> None:
    """Raises ValueError saying what Kubernetes would not take."""
    if not _LABEL_KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no label key; Kubernetes wants [prefix/]name, with a name like a value")
    if not _LABEL_VALUE.fullmatch(value):
        raise ValueError(
            f"{key}={value!r}: no label value; Kubernetes wants at most 63 letters, digits, '-', '_', '.', "
            "with a letter or digit at both ends"
        )
