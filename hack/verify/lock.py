"""Check the locks without a network: pinned, hashed, free of addresses, and true to pyproject.toml.

A lock that was edited by hand, or forgotten after a dependency changed, is found here and not by the user whose
install differs from ours.
"""

import itertools
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_ADDRESS = re.compile(r"https?:|file:|--(extra-)?index-url|--find-links|--trusted-host|\s@\s", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One locked distribution; its hashes are counted, not kept."""

    name: str
    version: Version
    hashes: int


def entries(text: str) -> Iterator[str]:
    """Yield each logical line of a requirements file: comments dropped, continuations joined."""
    kept = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for entry in "\n".join(kept).replace("\\\n", " ").splitlines():
        if entry.strip():
            yield entry.strip()


def parse_pins(text: str) -> tuple[dict[str, Pin], list[str]]:
    """Read a lock into its pins by canonical name, and a sentence for each entry that is no pin."""
    pins: dict[str, Pin] = {}
    problems = []
    for entry in entries(text):
        match = _PIN.match(entry)
        if match is None:
            problems.append(f"{entry[:60]!r} is not pinned with '=='")
            continue
        name = canonicalize_name(match["name"])
        pins[name] = Pin(name=name, version=Version(match["version"]), hashes=len(_HASH.findall(entry)))
    return pins, problems


def check_lock(text: str, declared: Iterable[str]) -> list[str]:
    """Return a sentence for each way in which a lock's text is unsafe or does not satisfy the declared requirements."""
    pins, problems = parse_pins(text)
    problems += [
        f"line {number} holds an address or a link option: {line.strip()[:60]!r}"
        for number, line in enumerate(text.splitlines(), start=1)
        if _ADDRESS.search(line)
    ]
    problems += [f"{pin.name}=={pin.version} has no sha256 hash" for pin in pins.values() if pin.hashes == 0]
    for requirement in map(Requirement, declared):
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is None:
            problems.append(f"{requirement.name} is declared in pyproject.toml and not locked")
        elif not requirement.specifier.contains(pin.version, prereleases=True):
            problems.append(f"{requirement} is declared and {pin.version} is locked")
    return problems


def check_agreement(runtime: str, development: str) -> list[str]:
    """Tests must run with the versions that are shipped: every runtime pin stands in the development lock too."""
    shipped, tested = parse_pins(runtime)[0], parse_pins(development)[0]
    return [
        f"{name} is {pin.version} in runtime.txt and {tested[name].version if name in tested else 'absent'} in dev.txt"
        for name, pin in shipped.items()
        if name not in tested or tested[name].version != pin.version
    ]


def main() -> int:
    """Print each problem with its file and the fix; 0 when there is none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    runtime_declared: list[str] = [*project["project"]["dependencies"], *itertools.chain(*extras.values())]
    dev_declared: list[str] = project["dependency-groups"]["dev"]
    runtime = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    development = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    problems = [f"requirements/runtime.txt: {problem}" for problem in check_lock(runtime, runtime_declared)]
    problems += [
        f"requirements/dev.txt: {problem}" for problem in check_lock(development, [*runtime_declared, *dev_declared])
    ]
    problems += [f"requirements: {problem}" for problem in check_agreement(runtime, development)]
    for name in ("docs", "release"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        declared = project["dependency-groups"][name]
        problems += [f"requirements/{name}.txt: {problem}" for problem in check_lock(text, declared)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("The locks are stale or unsafe; recompile them with `make lock`.", file=sys.stderr)
        return 1
    print("The locks are pinned, hashed, free of addresses and satisfy pyproject.toml.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
