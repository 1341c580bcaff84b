"""docs/cli.md shows what the commands really print, and leaves none of them out.

``UPDATE_GOLDENS=1 python -m pytest tests/unit/test_cli_docs.py`` writes the page's output anew; read the diff before
you commit.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

import pytest

from agentrun_operator import cli

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
EXAMPLE = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL))
COMMANDS = [found["command"] for found in EXAMPLE.finditer(PAGE.read_text())]


def output(command: str) -> str:
    """What a user sees, stdout first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTRUN_")}
    # The very interpreter that runs the tests, whatever agentrun is on the PATH.
    script = f'agentrun() {{ {sys.executable} -m agentrun_operator "$@"; }}; {command}'
    ended = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env={**kept, "PYTHONIOENCODING": "utf-8"}, capture_output=True, check=False
    )
    return (ended.stdout + ended.stderr).decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_example_prints_what_the_page_shows(command: str) -> None:
    """Letter by letter."""
    shown = output(command)
    page = PAGE.read_text()
    if os.environ.get("UPDATE_GOLDENS"):
        page = EXAMPLE.sub(
            lambda old: f"```console\n$ {command}\n{shown}```" if old["command"] == command else old[0], page
        )
        PAGE.write_text(page)
    assert f"```console\n$ {command}\n{shown}```" in page


def test_every_command_has_a_section_with_two_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """And says what its exit codes mean."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, flags=re.MULTILINE)
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL))
    assert set(listed) == set(sections) != set()
    for name, text in sections.items():
        assert len([c for c in EXAMPLE.findall(text) if f"agentrun {name}" in c[0]]) == 2
        assert "\nExit code: 0 " in text


@pytest.mark.parametrize("command", sorted(SECTIONS))
def test_every_option_is_documented(command: str) -> None:
    """In the section of its command; those that all have, at the beginning. And none is that is not there."""
    common = {"--help", "--namespace", "--context", "--kubeconfig", "--all-namespaces", "--output"}
    (commands,) = [a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction)]  # noqa: SLF001
    actions = commands.choices[command]._actions  # noqa: SLF001 - argparse has no other way to them
    options = {option for action in actions for option in action.option_strings if option.startswith("--")}
    shown = EXAMPLE.sub("", SECTIONS[command])
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown))
    assert options - common - named == set()
    everybody = {option for c in commands.choices.values() for a in c._actions for option in a.option_strings}  # noqa: SLF001
    assert named - everybody - {"--filename"} == set()
