"""``agentrun completion``: what a shell needs to complete commands, options, their values, and names of runs.

Made by ``shtab`` from the parser. Names are asked for at the cluster that the words before them say, with ``agentrun
get -o name``. For ``kubectl agentrun`` there is ``kubectl_complete-agentrun``, which kubectl looks for on the PATH.
"""

import argparse
import contextlib
import io
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import shtab

from agentrun_operator.cli import documents

_FILES = ("FILE", "F")  # the metavars of arguments that name files
_NAMES = "NAME"  # and of those that name AgentRuns, if they are no options
_RESUME = "resume"  # an option that does
_SHELLS = ("bash", "zsh", "fish")
_WHERE = ("-n", "--namespace", "--context", "--kubeconfig")
_FILES_TOO, _NO_FILES = ":0", ":4"  # what kubectl is told of words that are nothing it was given

_ASK = 'agentrun get -o name "${where[@]}" 2>/dev/null'
_PREAMBLE = {
    "bash": f"""\
_agentrun_names() {{
  local where=() i
  for ((i = 1; i < COMP_CWORD - 1; i++)); do
    case "${{COMP_WORDS[i]}}" in {"|".join(_WHERE)}) where+=("${{COMP_WORDS[i]}}" "${{COMP_WORDS[i + 1]}}") ;; esac
  done
  compgen -W "$({_ASK})" -- "$1"
}}""",
    "zsh": f"""\
_agentrun_names() {{
  local -a where names; local i
  for ((i = 2; i < CURRENT - 1; i++)); do
    case "$words[i]" in {"|".join(_WHERE)}) where+=("$words[i]" "$words[i+1]") ;; esac
  done
  names=(${{(f)"$({_ASK})"}})
  compadd -a names
}}""",
    "fish": f"""\
function _agentrun_names
  set -l where; set -l words (commandline -opc)
  for i in (seq 2 (math (count $words) - 1))
    contains -- $words[$i] {" ".join(_WHERE)}; and set -a where $words[$i] $words[(math $i + 1)]
  end
  agentrun get -o name $where 2>/dev/null
end""",
}
_RUNS = {"bash": "_agentrun_names", "zsh": "_agentrun_names", "fish": "(_agentrun_names)", "preamble": _PREAMBLE}


def add_to(commands: Any, build: Callable[[], argparse.ArgumentParser]) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command; ``build`` makes the parser of the whole command."""
    parser = commands.add_parser(
        "completion",
        help="print completions for a shell",
        description=textwrap.fill(
            "Print what a shell needs to complete the commands and options of agentrun, and the names of runs. "
            "kubectl agentrun is completed by kubectl's own completion, without this.",
            width=100,
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
        elif _names_runs(action):
            action.complete = _RUNS  # type: ignore[attr-defined]
    documents.write(sys.stdout, shtab.complete(parser, shell=arguments.shell) + "\n")
    return 0


def answer(parser: argparse.ArgumentParser, words: Sequence[str], ask: Callable[[Sequence[str]], int]) -> list[str]:
    """What may stand in the place of the last word, and for kubectl what else may; ``ask`` runs a command."""
    *before, last = words or [""]
    parsers = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no other way to them
    if not before:
        return [*(name for name in parsers if name.startswith(last)), _NO_FILES]
    command = parsers.get(before[0])
    actions = command._actions if command else []  # noqa: SLF001 - as above
    opened = next((a for a in actions if before[-1] in a.option_strings and a.nargs != 0), None)
    if opened is None and last.startswith("-"):
        return [*(o for a in actions for o in a.option_strings if o.startswith(last)), _NO_FILES]
    places = [a for a in actions if not a.option_strings]
    for action in [opened] if opened else places:
        if action.metavar in _FILES:
            return [_FILES_TOO]
        found = _ask_names(before, ask) if _names_runs(action) else [str(choice) for choice in action.choices or ()]
        return [*(word for word in found if word.startswith(last)), _NO_FILES]
    return [_NO_FILES]


def _ask_names(words: Sequence[str], ask: Callable[[Sequence[str]], int]) -> list[str]:
    where = [part for i, word in enumerate(words[:-1]) if word in _WHERE for part in (word, words[i + 1])]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        ask(["get", "-o", "name", *where])
    return said.getvalue().split()


def _names_runs(action: argparse.Action) -> bool:
    """Whether its value is the name of an AgentRun that is there."""
    return action.dest == _RESUME or (action.metavar == _NAMES and not action.option_strings)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments, those of the commands too."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - nor to these
            for command in action.choices.values():
                yield from _actions(command)
