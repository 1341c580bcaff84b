"""docs/options.md: every option of every command, and every setting of the operator, from the parser and the model."""

import argparse
import re
from collections.abc import Iterable, Iterator

from agentrun_operator import cli, settings

_OPTION = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*\w|-[a-zA-Z](?: (?:wide|json|yaml)\b)?(?![\w-]))")
_FEW = 4  # choices that stand beside the option
_HEAD = """\
<!-- Generated from the command's parser and the operator's settings by `make generate`. Do not edit. -->

# Options and settings

Every option of the [`agentrun` command](cli.md), which has examples, output and exit codes; then
[every setting](#settings-of-the-operator) of the operator. `agentrun COMMAND --help` says the same.

"""
_SETTINGS = """\
## Settings of the operator
Environment variables of `agentrun operator`; [install](install.md) shows where they are written, and the
[chart](../deploy/chart/agentrun-operator/README.md) takes them under `settings`. One that is not understood
keeps the operator from starting and is named.

"""


def build_page() -> str:
    """The page."""
    parser = cli.build_parser()
    commands = "".join(_command(name, command) for name, command in _commands(parser))
    return _HEAD + commands + _SETTINGS + "\n".join(_settings()) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public way to ask
            yield from action.choices.items()


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - as above


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [_option(action) for action in _actions(parser) if not isinstance(action, argparse._HelpAction)]  # noqa: SLF001
    table = ["| option | meaning |", "|---|---|", *rows, ""] if rows else []
    about = _marked(" ".join((parser.description or "").split()))
    return "\n".join([f"## {name}", about, "", *table, ""])


def _option(action: argparse.Action) -> str:
    takes_value = action.nargs != 0
    shown = [f"`{name}`" for name in action.option_strings] or [f"`{_word(action)}`"]
    if action.option_strings and takes_value:
        shown[-1] = f"`{action.option_strings[-1]} {_word(action)}`"
    return f"| {_cell(', '.join(shown))} | {_cell(_help(action))} |"


def _word(action: argparse.Action) -> str:
    """What stands for the value."""
    choices = list(map(str, action.choices or ()))
    if choices and len(choices) <= _FEW and action.metavar is None:
        return "|".join(choices)
    return str(action.metavar or action.dest.upper())


def _help(action: argparse.Action) -> str:
    text = " ".join((action.help or "").split()).replace("%(default)s", str(action.default)).replace("%%", "%")
    choices = list(map(str, action.choices or ()))
    listed = f": {', '.join(choices)}" if len(choices) > _FEW else ""
    return _marked(f"{text[:1].upper()}{text[1:]}{listed}")


def _marked(text: str) -> str:
    """A sentence in which options are marked as code."""
    return _OPTION.sub(r"`\1`", text)


def _settings() -> Iterable[str]:
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, field in settings.Settings.model_fields.items():
        default = f"`{field.default}`" if field.default not in ("", None) else "(empty)"
        yield f"| `{settings.PREFIX}{name.upper()}` | {_cell(default)} | {_cell(field.description or '')} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
