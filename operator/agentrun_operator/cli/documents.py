"""Objects in files: read as kubectl would read them, and printed so that people can read them."""

import argparse
import base64
import dataclasses
import json
import pathlib
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import yaml

from agentrun_operator import names, settings
from agentrun_operator.cli import terminal, yaml_input

STDIN = "-"
_STDIN_NAME = "<stdin>"
_SUFFIXES = (".yaml", ".yml", ".json")
_LISTS = ("List", f"{names.KIND}List")
_WIDTH = 120

InputError = yaml_input.InputError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One object; ``file`` is where it stood, as the user named it, and ``index`` its place there, from 1."""

    file: str
    index: int
    body: dict[str, Any]


def add_input_to(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what to read."""
    parser.add_argument(
        "-f",
        "--filename",
        dest="files",
        metavar="FILE",
        nargs="+",
        action="extend",
        required=True,
        help="YAML or JSON with any number of documents; a directory; or - for standard input. May be repeated",
    )
    parser.add_argument(
        "-n", "--namespace", default="default", help="namespace of what names none itself (default: default)"
    )
    parser.add_argument(
        "--settings",
        metavar="FILE",
        help=f"YAML with the operator's settings, as image: … or {settings.PREFIX}IMAGE: …; without it, those in the "
        "environment",
    )
    parser.add_argument(
        "--own-pod",
        metavar="FILE",
        help="the operator's own pod, from which agents inherit, as kubectl get pod -o yaml prints it",
    )


def read(sources: Iterable[str]) -> list[Document]:
    """The objects in files, in the files of a directory, and in standard input (``-``), with Lists unpacked.

    Raises InputError naming every source that cannot be read, and why.
    """
    found: list[Document] = []
    faults: list[str] = []
    for source in sources:
        try:
            for file in _files(source):
                found += _documents(file)
        except InputError as e:
            faults.append(str(e))
    if faults:
        raise InputError("\n".join(faults))
    return found


def as_meant(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, yaml_input.OddKey]]]:
    """``body`` with its odd keys as their author wrote them, and these keys with their paths."""
    odd: list[tuple[str, yaml_input.OddKey]] = []

    def fields(value: Mapping[str, Any], path: str) -> dict[str, Any]:
        made = {}
        for key, item in value.items():
            name = key.written if isinstance(key, yaml_input.OddKey) else key
            below = f"{path}.{name}" if path else name
            if isinstance(key, yaml_input.OddKey):
                odd.append((below, key))
            made[name] = walk(item, below)
        return made

    def walk(value: object, path: str) -> object:
        if isinstance(value, list):
            return [walk(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return fields(value, path) if isinstance(value, dict) else value

    return fields(body, ""), odd


def read_key(body: Mapping[str, Any], key: str) -> bytes:
    """The value behind a key of a Secret or ConfigMap. Raises ValueError saying why there is none."""
    plain, coded = ("stringData", "data") if body["kind"] == "Secret" else ("data", "binaryData")
    known = {field: values for field in (plain, coded) if isinstance(values := body.get(field), Mapping)}
    field = next((field for field, values in known.items() if key in values), None)
    if field is None:
        keys = ", ".join(key for values in known.values() for key in values)
        raise ValueError(
            f"there is no key {key} in it, only {keys}" if keys else f"there is no key {key} in it, nor any"
        )
    value = known[field][key]
    if not isinstance(value, str):
        raise ValueError(f"{field}.{key} is no text; write it in quotes")  # noqa: TRY004 - of what the file holds
    if field == plain:
        return value.encode(errors="surrogatepass")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except ValueError:
        raise ValueError(f"{field}.{key} is no base64") from None


def to_yaml(value: object) -> str:
    """``value``, which JSON can hold, as YAML for people: texts of many lines as blocks, fields in their order."""
    plain = json.loads(json.dumps(value))
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH))


def to_json(value: object) -> str:
    """``value`` as JSON for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write(stream: TextIO, text: str) -> None:
    """Print ``text``; what the stream's encoding cannot say is escaped."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def tell(text: str) -> None:
    """Print what goes beside the output: on a terminal in whole words, elsewhere in one line each."""
    width = terminal.find(sys.stderr).width
    for line in text.splitlines():
        parts = [line] if width is None else _fold(line, width)
        write(sys.stderr, "".join(f"{part}\n" for part in parts))


def _fold(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


# ------------------------------------------------------------------------------------------------------------ files


def _files(source: str) -> Iterator[tuple[str, bytes]]:
    if source == STDIN:
        yield _STDIN_NAME, sys.stdin.buffer.read()
        return
    path = pathlib.Path(source)
    try:
        if not path.is_dir():
            yield source, path.read_bytes()
            return
        below = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file())
        if not below:
            raise InputError(f"{source}: the directory holds no *.yaml, *.yml or *.json file")
        for file in below:
            yield str(file), file.read_bytes()
    except (OSError, ValueError) as e:  # a NUL in a path is a ValueError
        raise InputError(f"{source}: {getattr(e, 'strerror', None) or e}") from e


def _documents(named: tuple[str, bytes]) -> list[Document]:
    file, content = named
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InputError(f"{file}: this is no text in UTF-8 (byte {e.start})") from e
    bodies = _objects(yaml_input.parse(text, file), file)
    return [Document(file=file, index=index, body=body) for index, body in enumerate(bodies, start=1)]


def _objects(values: Sequence[Any], file: str) -> Iterator[dict[str, Any]]:
    """The objects among ``values``, without empty documents and with Lists unpacked."""
    for value in values:
        if value is None:
            continue
        if not isinstance(value, dict):
            raise InputError(f"{file}: it holds {json.dumps(value)[:40]} where an object should be")
        if value.get("kind") in _LISTS and isinstance(value.get("items"), list):
            yield from _objects(value["items"], file)
        else:
            yield value


# ---------------------------------------------------------------------------------------------------------- output


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: no anchors, and texts of many lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if style is None and not isinstance(yaml_input.resolved(text), str):
        # PyYAML itself would write 12e4 and y without quotes.
        style = "'"
    return dumper.represent_scalar(yaml_input.TEXT_TAG, text, style=style)


_Dumper.add_representer(str, _represent_text)
