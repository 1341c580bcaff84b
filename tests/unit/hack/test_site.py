"""The site has every page, each with all that it links to, and asks no other host for anything."""

import pathlib
import re

import pytest

from agentrun_operator import models
from hack import site

HAND_DRAWN = site.ROOT / "docs" / "lifecycle.svg"


def markdown(*patterns: str) -> set[str]:
    return {str(path.relative_to(site.ROOT)) for pattern in patterns for path in site.ROOT.glob(pattern)}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site") / "source"
    site.stage(folder)
    return folder


def test_every_page_is_in_the_menu_once() -> None:
    """A page that is in no section is found by nobody."""
    pages = site.pages()

    assert len(pages) == len(set(pages))
    assert set(pages) == markdown("docs/*.md", "docs/adr/*.md", "examples/**/*.md", "deploy/**/*.md", "hack/*/*.md") | {
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    }


def test_a_staged_page_finds_all_that_it_links_to(staged: pathlib.Path) -> None:
    """Pages, pictures and files, at the same places as in the repository."""
    lost = []
    for page in sorted(staged.rglob("*.md")):
        for link in site.links(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if not target.is_file():
                lost.append(f"{page.relative_to(staged)}: {link}")
    assert lost == []


def test_a_staged_page_is_the_page_itself(staged: pathlib.Path) -> None:
    """Nothing is rewritten; a part of the menu may follow."""
    for name in site.pages():
        assert (staged / name).read_text(encoding="utf-8").startswith((site.ROOT / name).read_text(encoding="utf-8"))


def test_the_menu_names_pages_that_are_there(staged: pathlib.Path) -> None:
    """As each page names them, from where it stands."""
    named = []
    for page in staged.rglob("*.md"):
        for entries in re.findall(r"```\{toctree\}\n(?::.*\n)+\n((?:.+\n)+?)```", page.read_text(encoding="utf-8")):
            named += [(page.parent / entry).relative_to(staged) for entry in entries.split()]
    assert sorted(map(str, named)) == sorted(site.pages())


def test_a_page_begins_with_its_title() -> None:
    """The menu takes its words from there; a note for editors may stand before it."""
    texts = {name: (site.ROOT / name).read_text(encoding="utf-8") for name in site.pages()}
    assert [name for name, text in texts.items() if not re.match(r"(?:<!--.*?-->\s*)?# \S", text, re.DOTALL)] == []


def test_what_another_host_would_be_asked_for_is_found(tmp_path: pathlib.Path) -> None:
    """A font, a script, a picture; a link is the reader's own choice."""
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="https://fonts.example/x.css"><link rel="canonical" href="https://docs.example/">'
        '<script src="//cdn.example/x.js"></script><script src="_static/x.js"></script>'
        '<img src="http://pictures.example/x.png"><a href="https://example.com">there</a>'
    )
    (tmp_path / "b.css").write_text("@font-face { src: url(https://fonts.example/x.woff2) } a { color: url(#x) }")

    assert site.find_foreign(tmp_path) == [
        "a.html asks another host: https://fonts.example/x.css",
        "a.html asks another host: //cdn.example/x.js",
        "a.html asks another host: http://pictures.example/x.png",
        "b.css asks another host: url(https://fonts.example/x.woff2",
    ]


def test_the_drawing_names_every_phase_and_stands_alone() -> None:
    """It is drawn by hand: a phase that is added is missed here."""
    text = HAND_DRAWN.read_text(encoding="utf-8")

    assert set(re.findall(r'class="name"[^>]*>(\w+)<', text)) == {phase.value for phase in models.Phase}
    assert re.findall(r"(?:href|src)=", text) == []
