"""A link to a heading leads to one, on its own page or on another."""

import pathlib
import re
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("hack/*/*.md"), *ROOT.glob("deploy/**/*.md")]
)
FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", FENCE.sub("", text), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(1 for one in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", one))
        found.add(f"{slug}-{number}" if number else slug)
    return found


def links(page: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Of all links with an anchor to a page of ours: the page ("" for itself) and the anchor."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, mark, anchor = target.partition("#")
        if mark and "://" not in target:
            yield file, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_anchor_leads_to_a_heading(page: pathlib.Path) -> None:
    """As a reader follows it."""
    lost = [
        f"{file}#{anchor}"
        for file, anchor in links(page)
        if (page.parent / file if file else page).suffix == ".md"
        and anchor not in anchors((page.parent / file if file else page).read_text(encoding="utf-8"))
    ]
    assert lost == []


def test_anchors_are_those_of_github() -> None:
    """Without marks and punctuation; a second one of the same name is numbered."""
    text = "# What `is`, it?\n## [A link](x.md) – here\n```\n# no heading\n```\n## Again\n## Again\n"
    assert anchors(text) == {"what-is-it", "a-link--here", "again", "again-1"}
