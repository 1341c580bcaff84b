"""How the command line is read where ``argparse`` alone would make people look twice.

Options that say where may stand before the command, as kubectl has them; what is not known is answered with what is
like it.
"""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_WHERE = ("-n", "--namespace", "--context", "--kubeconfig")  # and their values


class Parser(argparse.ArgumentParser):
    """Of one command: it answers for its own options, with its own usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:  # noqa: ANN401 - argparse has overloads
        """As argparse, but nothing unknown is handed on: the parser above would show a usage that does not help."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            first = next((word for word in unknown if word.startswith("-")), "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_alike(first.partition('=')[0], options)}")
        return found, unknown


def arrange(argv: Sequence[str]) -> list[str]:
    """The words with the options that stand before the command behind it."""
    rest = list(argv)
    before: list[str] = []
    while rest and rest[0].startswith("-") and rest[0] not in {"-h", "--help", "-V", "--version", "--"}:
        before += rest[: 2 if rest[0] in _WHERE else 1]
        del rest[: 2 if rest[0] in _WHERE else 1]
    return [rest[0], *before, *rest[1:]] if rest else before


def unknown_command(word: str, commands: Iterable[str]) -> str:
    """What is said of a command that is not there."""
    known = list(commands)
    return f"there is no command {word!r}{_alike(word, known) or '.'} There are {', '.join(known)}"


def _alike(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""
