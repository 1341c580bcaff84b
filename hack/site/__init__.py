"""The site: the repository's own Markdown pages, as they stand, with an order, a menu and a search.

A page is written once and read in three places: here, on a forge and in an editor. So nothing is rewritten: what a page
links to keeps its place beside it, and a page that is in no section is missing in the menu and fails the tests. The
built site asks no other host for anything: it can be opened from a disk, and tells nobody who reads it.
"""

import dataclasses
import html.parser
import pathlib
import re
import shutil
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = "README.md"

_FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_LOADS = {"link": "href", "script": "src", "img": "src", "source": "src", "iframe": "src", "object": "data"}
_CSS_ADDRESS = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"\s]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the menu; pages are named by their paths in the repository."""

    title: str
    pages: tuple[str, ...]


SECTIONS = (
    Section(
        title="Begin",
        pages=("docs/quickstart.md", "docs/concepts.md", "docs/install.md", "examples/README.md", "docs/faq.md"),
    ),
    Section(
        title="Create runs",
        pages=(
            *("docs/cli.md", "docs/options.md", "docs/client.md", "docs/api.md", "docs/errors.md"),
            "docs/migration.md",
        ),
    ),
    Section(
        title="Operate",
        pages=(
            *("docs/operations.md", "docs/doctor.md", "docs/metrics.md", "docs/tracing.md", "docs/security.md"),
            "docs/scaling.md",
            "deploy/chart/agentrun-operator/README.md",
        ),
    ),
    Section(
        title="Judge",
        pages=("docs/comparison.md", "docs/benchmarks.md", "docs/architecture.md", "docs/adr/README.md"),
    ),
    Section(
        title="Take part",
        pages=(
            *("CONTRIBUTING.md", "hack/cluster/README.md", "docs/releasing.md", "docs/licences.md", "CHANGELOG.md"),
        ),
    ),
)

# Pages that stand in the menu below another one.
BELOW = {
    "examples/README.md": "examples/*/README.md",
    "docs/adr/README.md": "docs/adr/[0-9]*.md",
}


def below(page: str) -> list[str]:
    """The pages that stand below a page, by their paths in the repository."""
    pattern = BELOW.get(page)
    return sorted(str(found.relative_to(ROOT)) for found in ROOT.glob(pattern)) if pattern else []


def pages() -> list[str]:
    """Every page of the site but its home, in the order of the menu."""
    return [name for section in SECTIONS for page in section.pages for name in (page, *below(page))]


def links(text: str) -> list[str]:
    """Where the links and pictures of a page lead inside the repository, as the page writes it."""
    return [target for target in _LINK.findall(_FENCE.sub("", text)) if "://" not in target]


def stage(target: pathlib.Path) -> None:
    """Lay the pages and all that they link to into a new folder, each at its place in the repository."""
    shutil.rmtree(target, ignore_errors=True)
    for name in (HOME, *pages()):
        text = (ROOT / name).read_text(encoding="utf-8")
        place = target / ("index.md" if name == HOME else name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + render_menu(name), encoding="utf-8")
        for link in links(text):
            _copy((ROOT / name).parent / link, target)


def _copy(file: pathlib.Path, target: pathlib.Path) -> None:
    """Lay a file that is no page beside the pages."""
    if file.suffix == ".md" or not file.is_file():
        return
    place = target / file.resolve().relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)


def render_menu(name: str) -> str:
    """The part of the menu that begins at a page, in the words of Sphinx; "" where none does."""
    if name == HOME:
        return "".join(_tree(section.pages, caption=section.title) for section in SECTIONS)
    folder = pathlib.PurePosixPath(name).parent
    return _tree([str(pathlib.PurePosixPath(page).relative_to(folder)) for page in below(name)])


def _tree(entries: list[str] | tuple[str, ...], *, caption: str = "") -> str:
    if not entries:
        return ""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *entries, "```", ""])


def find_foreign(folder: pathlib.Path) -> list[str]:
    """A sentence for each thing of a built site that a browser would ask another host for; links are not."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".html":
            asked: list[str] = _Loads.of(file.read_text(encoding="utf-8"))
        elif file.suffix == ".css":
            asked = _CSS_ADDRESS.findall(file.read_text(encoding="utf-8"))
        else:
            continue
        found += [f"{file.relative_to(folder)} asks another host: {address}" for address in asked]
    return found


class _Loads(html.parser.HTMLParser):
    """Collects what a page loads from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    @classmethod
    def of(cls, text: str) -> list[str]:
        parser = cls()
        parser.feed(text)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += _foreign(tag, dict(attrs))


def _foreign(tag: str, attributes: dict[str, str | None]) -> Iterator[str]:
    address = attributes.get(_LOADS.get(tag, "")) or ""
    told_only = tag == "link" and attributes.get("rel") in {"canonical", "license", "author"}
    if re.match(r"(?:https?:)?//", address) and not told_only:
        yield address
