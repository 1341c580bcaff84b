"""Whether the tree may be released: facts that are looked at once, and a sentence for each that forbids it."""

import dataclasses
import pathlib
import re
import subprocess

from hack.deployment import rendering
from hack.images import operator

ROOT = pathlib.Path(__file__).resolve().parents[2]

_VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
_UNRELEASED = "Unreleased"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What decides. ``changed``: paths that differ from the commit; ``tagged``: the commit of the version's tag."""

    version: str
    changelog: str
    commit: str
    changed: tuple[str, ...]
    tagged: str
    missing_tools: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The tag that a person sets on the commit of a release."""
        return f"v{self.version}"


def look() -> Facts:
    """Look at the repository and the machine."""
    version = operator.version()
    return Facts(
        version=version,
        changelog=(ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        commit=_git("rev-parse", "HEAD"),
        changed=tuple(line[3:] for line in _git("status", "--porcelain").splitlines()),
        tagged=_git("rev-parse", "--quiet", "--verify", f"refs/tags/v{version}^{{commit}}"),
        missing_tools=tuple(_missing()),
    )


def _git(*arguments: str) -> str:
    """What git says; "" if it fails, as outside of a clone."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""


def _missing() -> list[str]:
    found = []
    for find in (rendering.kubectl, rendering.helm):
        try:
            find()
        except rendering.RenderError as e:
            found.append(str(e))
    return found


def find_problems(facts: Facts, *, draft: bool) -> list[str]:
    """A sentence for each thing that forbids the release; a draft is made of any tree, if only the tools are there."""
    problems = list(facts.missing_tools)
    if draft:
        return problems
    if not _VERSION.fullmatch(facts.version):
        problems.append(f"__version__ is {facts.version}: a release is X.Y.Z, or X.Y.ZrcN before it")
    if not facts.commit:
        problems.append("there is no git commit here: release from a clone, or make a draft with --draft")
    if facts.changed:
        problems.append(f"{len(facts.changed)} files differ from the commit ({facts.changed[0]} …): commit them first")
    if facts.tagged not in {"", facts.commit}:
        problems.append(f"the tag {facts.tag} is on another commit, {facts.tagged[:12]}: raise __version__")
    if not read_notes(facts.changelog, facts.version):
        problems.append(f"CHANGELOG.md has no section [{facts.version}] with a line in it: rename [{_UNRELEASED}]")
    return problems


def read_notes(changelog: str, version: str) -> str:
    """What the changelog says of a version, without its heading; "" if it says nothing."""
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        if heading.startswith(f"[{version}]"):
            return body.partition("\n[")[0].strip()
    return ""


def notes(facts: Facts) -> str:
    """The notes of the release; of a draft whose version has none, what is not released yet."""
    said = read_notes(facts.changelog, facts.version) or read_notes(facts.changelog, _UNRELEASED)
    return f"# {facts.tag}\n\n{said}\n"
