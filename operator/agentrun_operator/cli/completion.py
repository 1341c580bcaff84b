"""``agentrun completion``: what a shell needs to complete commands and options, made by ``shtab`` from the parser."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import shtab

from agentrun_operator.cli import documents

_FILES = ("FILE", "F")  # the metavars of arguments that name files
_SHELLS = ("bash", "zsh", "fish")


def add_to(commands: Any, build: Callable[[], argparse.ArgumentParser]) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command; ``build`` makes the parser of the whole command."""
    parser = commands.add_parser(
        "completion",
        help="print completions for a shell",
        description=textwrap.fill(
            "Print what a shell needs to complete the commands and options of agentrun.", width=100
        ),
        epilog="examples:\n"
        "  source <(agentrun completion bash)\n"
        '  agentrun completion zsh >"${fpath[1]}/_agentrun"\n'
        "  agentrun completion fish >~/.config/fish/completions/agentrun.fish\n\n"
        "Exit code: 0 they are printed, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell")
    parser.set_defaults(run=lambda arguments: _print(arguments, build()))


def _print(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    for action in _actions(parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    documents.write(sys.stdout, shtab.complete(parser, shell=arguments.shell) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments, those of the commands too."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - nor to these
            for command in action.choices.values():
                yield from _actions(command)
