"""The ``agentrun`` command; ``kubectl agentrun`` finds it too. Each sub-command is a module of its own."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence

import agentrun_operator
from agentrun_operator import errors
from agentrun_operator.cli import advice, documents, transcript, usage

EXIT_TROUBLE = 1
# Modules of this package, loaded when they are wanted: all of them take a second, half of it the Kubernetes library.
COMMANDS = (
    "run", "get", "describe", "top", "logs", "cancel", "retry", "cost", "validate", "render", "inspect", "doctor",
    "operator", "release", "completion",
)  # fmt: skip


def build_parser(prog: str = "agentrun", only: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of the whole command line; what it finds has ``run``, which takes it and returns the exit code.

    ``only``: knows these commands and no others.
    """
    parser = usage.Parser(
        prog=prog,
        description="Run Claude Code agents as Kubernetes Jobs.",
        epilog="agentrun COMMAND --help explains a command, with examples and its exit codes. What asks a cluster "
        "takes -n/--namespace, --context and --kubeconfig, before the command, too.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"agentrun {agentrun_operator.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in only:
        command = importlib.import_module(f"{__name__}.{name}")
        command.add_to(commands, *((build_parser,) if name == "completion" else ()))
    return parser


def main(argv: Sequence[str] | None = None, *, prog: str = "agentrun") -> int:
    """Run the command. Returns the exit code: 0 fine, 1 it did not work (stderr says why), 2 wrong usage."""
    arguments = _parse(usage.arrange(sys.argv[1:] if argv is None else argv), prog)
    try:
        with _kubeconfig(arguments):
            return int(arguments.run(arguments))
    except errors.AgentRunError as e:
        text = transcript.clean(advice.explain(e))
        documents.tell(f"agentrun {arguments.command}: {text}")
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        return EXIT_TROUBLE
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
        return 0


def kubectl() -> int:
    """As a plugin: kubectl passes on what stands behind ``kubectl agentrun``, and people type that."""
    return main(prog="kubectl agentrun")


def complete_for_kubectl() -> int:
    """Print what may stand in the place of the last argument, as kubectl asks its plugins."""
    from agentrun_operator.cli import completion  # noqa: PLC0415 - as the commands

    words = sys.argv[1:]
    only = words[:1] if words[1:] and words[0] in COMMANDS else COMMANDS
    found = completion.answer(build_parser(only=only), words, main)
    documents.write(sys.stdout, "".join(f"{line}\n" for line in found))
    return 0


def _parse(words: Sequence[str], prog: str) -> argparse.Namespace:
    first = words[0] if words else ""
    if first in COMMANDS:
        return build_parser(prog, [first]).parse_args(words)
    if first == "--version" or (first and not first.startswith("-")):
        parser = build_parser(prog, ())
        return (
            parser.parse_args(words) if first.startswith("-") else parser.error(usage.unknown_command(first, COMMANDS))
        )
    return build_parser(prog).parse_args(words)


@contextlib.contextmanager
def _kubeconfig(arguments: argparse.Namespace) -> Iterator[None]:
    """The file that the command names, for all that heed the environment."""
    named, before = getattr(arguments, "kubeconfig", None), os.environ.get("KUBECONFIG")
    if named is not None:
        os.environ["KUBECONFIG"] = named
    try:
        yield
    finally:
        if named is not None:
            os.environ.pop("KUBECONFIG")
            os.environ.update({} if before is None else {"KUBECONFIG": before})
