"""The ``agentrun`` command; ``kubectl agentrun`` finds it too. Each sub-command is a module of its own."""

import argparse
import sys
from collections.abc import Sequence

import agentrun_operator
from agentrun_operator import errors
from agentrun_operator.cli import (
    cancel,
    completion,
    cost,
    describe,
    doctor,
    documents,
    get,
    inspect,
    logs,
    operator,
    release,
    render,
    retry,
    run,
    top,
    transcript,
    validate,
)

EXIT_TROUBLE = 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; what it finds has ``run``, which takes it and returns the exit code."""
    parser = argparse.ArgumentParser(prog="agentrun", description="Run Claude Code agents as Kubernetes Jobs.")
    parser.add_argument("--version", action="version", version=f"agentrun {agentrun_operator.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (
        run,
        get,
        describe,
        top,
        logs,
        cancel,
        retry,
        cost,
        validate,
        render,
        inspect,
        doctor,
        operator,
        release,
    ):
        command.add_to(commands)
    completion.add_to(commands, build_parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 fine, 1 it did not work (stderr says why), 2 wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except errors.AgentRunError as e:
        text = transcript.clean(str(e))
        documents.write(sys.stderr, f"agentrun {arguments.command}: {text}\n")
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        return EXIT_TROUBLE
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
        return 0
