"""One text of YAML or JSON documents → JSON values, as kubectl would read it.

kubectl takes YAML for a spelling of JSON and its scalars for what go-yaml, a reader of YAML 1.1, makes of them: a bare
``on`` is true, ``12e4`` a number, a time a text. A file has to mean the same here as there, so PyYAML only parses it;
what a scalar is, is decided here.
"""

import collections
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import yaml

from agentrun_operator import errors

_MOST_NODES = 1_000_000  # with aliases followed, so that ten lines of them cannot fill the memory
_MOST_LEVELS = 200

_TAG = "tag:yaml.org,2002:"
TEXT_TAG = f"{_TAG}str"
_PLAIN = "!plain"  # the tag of a scalar without quotes and without a tag
_RESOLVED_TAGS = frozenset({_PLAIN, *(_TAG + kind for kind in ("null", "bool", "int", "float"))})
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys("y Y yes Yes YES true True TRUE on On ON".split(), True),
    **dict.fromkeys("n N no No NO false False FALSE off Off OFF".split(), False),
}
_OCTAL = re.compile(r"^([-+]?)0(?=[0-7]+$)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_JSON_START = re.compile(r'\s*[{\[]\s*["{}\[\]]')


class InputError(errors.AgentRunError):
    """What was handed in cannot be read; the text names the file, the place in it and what is wrong there."""


class OddKey(str):
    """A key that YAML takes for something else than text, in kubectl's spelling; ``written`` is the one in the file."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, key: str, written: str) -> "OddKey":
        """``OddKey("true", "on")``."""
        made = super().__new__(cls, key)
        made.written = written
        return made


def parse(text: str, file: str) -> list[Any]:
    """The JSON values of a text of YAML or JSON documents. Raises InputError; ``file`` names the text to people."""
    fault = None
    if _JSON_START.match(text):  # YAML knows neither tabs for indentation nor JSON's way to write an emoji
        try:
            return _parse_json(text, file)
        except json.JSONDecodeError as e:
            fault = f"{file}:{e.lineno}:{e.colno}: this is no JSON: {e.msg}"
        except (ValueError, RecursionError) as e:  # a number of thousands of digits is a ValueError
            fault = f"{file}: this is no JSON: {e}"
    try:
        level = 0
        for event in yaml.parse(text, Loader=_Loader):  # libyaml's composer would overrun the stack
            level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if level > _MOST_LEVELS:
                raise InputError(_too_deep(file))
        return [_Builder(file).build(node) for node in yaml.compose_all(text, Loader=_Loader)]
    except yaml.YAMLError as e:
        raise InputError(fault or _sentence(e, file, text)) from e


# ------------------------------------------------------------------------------------------------------------- JSON


def _parse_json(text: str, file: str) -> list[Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = next(key for key, count in collections.Counter(key for key, _ in pairs).items() if count > 1)
            raise InputError(f"{file}: the key {twice!r} stands twice in one object")
        return made

    decoder = json.JSONDecoder(object_pairs_hook=unique, parse_constant=str)  # NaN: a text, as for YAML
    values, at = [], 0
    while rest := text[at:].lstrip():
        value, length = decoder.raw_decode(rest)
        at = len(text) - len(rest) + length
        values.append(value)
    level = values
    for _ in range(_MOST_LEVELS):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise InputError(_too_deep(file))
    return values


def _too_deep(file: str) -> str:
    return f"{file}: it is nested deeper than {_MOST_LEVELS} levels"


# ------------------------------------------------------------------------------------------------------------- YAML

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # which of the two loaders there is, is known only at run time
    """Marks scalars without quotes instead of resolving them."""

    yaml_implicit_resolvers: dict[str | None, Any] = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 - PyYAML's way


class _Builder:
    """Makes a JSON value of a parsed document."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self._above: set[int] = set()

    def build(self, node: yaml.Node) -> Any:  # noqa: ANN401 - JSON
        """The value of ``node``. Raises InputError for what JSON cannot hold and for keys that stand twice."""
        self._count += 1
        if self._count > _MOST_NODES:
            raise InputError(f"{self._file}: a document is too large with all its aliases")
        if id(node) in self._above:
            self._refuse(node, "the value contains itself through an alias")
        if len(self._above) > _MOST_LEVELS:
            raise InputError(_too_deep(self._file))
        self._above.add(id(node))
        try:
            return self._value(node)
        finally:
            self._above.discard(id(node))

    def _value(self, node: yaml.Node) -> object:
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _RESOLVED_TAGS:
                return resolved(node.value)
            known = node.tag == TEXT_TAG
        else:
            known = node.tag in {f"{_TAG}seq", f"{_TAG}map"}
        if not known:
            self._refuse(node, f"the tag {node.tag} means nothing to Kubernetes; leave it out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        return [self.build(item) for item in node.value] if isinstance(node, yaml.SequenceNode) else node.value

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _PLAIN and key_node.value == "<<":
                merged = self._merged(value_node)
                continue
            key = self._key(key_node)
            if key in own:
                self._refuse(key_node, f"the key {key_node.value!r} stands twice in one mapping")
            own[key] = self.build(value_node)
        return {**merged, **own}

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, "a list or mapping cannot be a key")
        key = self._value(node)
        if isinstance(key, str):
            return key
        spelt = f"{key:g}" if isinstance(key, float) else json.dumps(key)
        return spelt if spelt == node.value else OddKey(spelt, node.value)

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for item in reversed(node.value) if isinstance(node, yaml.SequenceNode) else (node,):
            value = self.build(item)
            if not isinstance(value, dict):
                self._refuse(item, "<< takes a mapping or a list of mappings")
            merged.update(value)
        return merged

    def _refuse(self, node: yaml.Node, sentence: str) -> NoReturn:
        mark = node.start_mark
        raise InputError(f"{self._file}:{mark.line + 1}:{mark.column + 1}: {sentence}")


def resolved(text: str) -> str | int | float | bool | None:
    """What go-yaml makes of a scalar without quotes; .inf and .nan, which JSON does not have, stay texts."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or not text.isascii():
        return text
    digits = text.replace("_", "")
    try:
        return int(_OCTAL.sub(r"\g<1>0o", digits), 0)
    except ValueError:
        number = float(digits) if _FLOAT.fullmatch(digits) else math.inf
        return number if math.isfinite(number) else text


def _sentence(error: yaml.YAMLError, file: str, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        character = chr(int(error.character))
        before = text.partition(character)[0]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return f"{file}:{line}:{column}: this is no YAML: {error.reason} ({character!r})"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        context = f" ({error.context})" if error.context else ""
        return f"{file}:{mark.line + 1}:{mark.column + 1}: this is no YAML: {error.problem}{context}"
    return f"{file}: this is no YAML: {error}"
