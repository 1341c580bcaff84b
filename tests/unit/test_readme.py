"""What the README shows is true: its AgentRun is valid, its links lead somewhere."""

import pathlib
import re

import pytest
import yaml

from agentrun_operator import models

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("hack/*/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
    if page.is_file()
)


def test_the_example_is_a_valid_agent_run() -> None:
    """A reader may copy it as it stands."""
    text = (ROOT / "README.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    body = yaml.safe_load(example)
    body["metadata"].update(namespace="default", uid="11111111-1111-4111-8111-111111111111")

    run = models.AgentRun.parse(body)

    assert set(body["spec"]) <= {field.alias for field in models.AgentRunSpec.model_fields.values()}
    assert run.spec.claude.max_budget_usd == "5"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: pathlib.Path) -> None:
    """Every relative link names a file that is there."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("NNNN")]

    assert [link for link in local if not (page.parent / link).exists()] == []
