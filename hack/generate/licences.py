"""docs/licences.md: what the operator is made of and under which licences, as the packages themselves say it."""

import importlib.metadata
import pathlib
from collections.abc import Mapping, Sequence

from hack.verify import lock

_LOCK = pathlib.Path(__file__).resolve().parents[2] / "requirements" / "runtime.txt"
_CLASSIFIER = "License :: "
_LONG = 60  # a longer text is the licence itself and not its name

_PAGE = """\
# Licences

The operator is under the [Apache License 2.0](../LICENSE). Its image brings, and its wheel with the extra `otel` asks
for, the packages below, in the versions of `requirements/runtime.txt`; the licence is what the package says of itself,
and its text is in the package. Made by `make generate`; `make release` puts this page, and the same for programs
(CycloneDX), beside what it makes.

| package | version | licence |
|---|---|---|
{rows}

The image holds Debian's Python and C libraries, too; their licences are those of the Debian packages that
`hack/images/operator.py` names. The Claude Code CLI is in no file of a release: the agents' image is yours.
"""


def pins() -> dict[str, str]:
    """What is locked for the operator: versions by name."""
    found, problems = lock.parse_pins(_LOCK.read_text(encoding="utf-8"))
    if problems:
        raise ValueError(f"{_LOCK.name}: {problems[0]}")
    return {name: str(pin.version) for name, pin in sorted(found.items())}


def licence_of(metadata: Mapping[str, str | None], classifiers: Sequence[str]) -> str:
    """The name of a licence, from what a package says of itself; "" if it does not."""
    expression = metadata.get("License-Expression") or ""
    if expression:
        return expression
    named = (metadata.get("License") or "").strip()
    if named and "\n" not in named and len(named) <= _LONG:
        return named
    kinds = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith(_CLASSIFIER)]
    return ", ".join(kinds)


def licences() -> dict[str, str]:
    """The licence of each locked package, by name. Raises LookupError for one that says none, or is not installed."""
    found = {}
    for name in pins():
        try:
            said = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError as e:
            raise LookupError(f"{name} is locked and not installed: run `make venv`") from e
        fields = {key: said[key] if key in said else None for key in ("License-Expression", "License")}
        found[name] = licence_of(fields, said.get_all("Classifier") or [])
        if not found[name]:
            raise LookupError(f"{name} does not say its licence: look it up before it is shipped")
    return found


def build_page() -> str:
    """The page."""
    of = licences()
    rows = [f"| {name} | {version} | {of[name]} |" for name, version in pins().items()]
    return _PAGE.format(rows="\n".join(rows))
