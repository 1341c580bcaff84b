"""The page of options has all that the commands' own help has, readable in a table."""

import pathlib
import re

import pytest

from agentrun_operator import cli, settings
from hack.generate import options

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "options.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_the_page_is_what_would_be_made_of_it() -> None:
    assert options.build_page() == PAGE


@pytest.mark.parametrize("name", ["run", "logs", "doctor", "completion"])
def test_a_command_has_the_options_of_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a person reads them there."""
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    helped = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}

    assert helped <= set(re.findall(r"--[a-z][a-z-]+", SECTIONS[name]))


def test_every_setting_has_a_row() -> None:
    rows = re.findall(r"^\| `AGENTRUN_(\w+)` \| .+ \| .+ \|$", PAGE, flags=re.MULTILINE)
    assert [row.lower() for row in rows] == list(settings.Settings.model_fields)


def test_no_cell_breaks_its_table() -> None:
    """Each row has as many cells as the head of its table; a bar inside of one is escaped."""
    widths = {line.replace("\\|", "").count("|") for line in PAGE.splitlines() if line.startswith("| ")}
    assert widths == {3, 4}
    assert "`-o`, `--output text\\|json\\|yaml`" in SECTIONS["run"]
