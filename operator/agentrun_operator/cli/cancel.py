"""``agentrun cancel``: stop runs. What they have done and cost is kept."""

import argparse
import asyncio
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from agentrun_operator import errors, models
from agentrun_operator.cli import advice, cells, cluster, documents, transcript, validate


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "cancel",
        help="stop AgentRuns",
        description=textwrap.fill(
            "Stop AgentRuns: their agents are told to end, and their Jobs are gone within 15 seconds. Session, usage "
            "and cost are kept. Without names, all live runs of a company, an agent or a task are stopped. It cannot "
            "be taken back; agentrun retry goes on where a run was stopped.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun cancel fix-login --wait\n"
        "  agentrun cancel --company acme --agent ada\n\n"
        "Exit code: 0 they are told to stop, or had ended (with --wait: they have ended), 1 one is not there or could\n"
        "not be told, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="AgentRuns")
    cluster.add_to(parser)
    cluster.add_filters_to(parser)
    parser.add_argument("--wait", action="store_true", help="until they have ended")
    cluster.add_output_to(parser, what="a list of what was done")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    by = cluster.filters(arguments)
    if bool(arguments.names) == any(by.values()):
        return validate.complain(arguments, "name the runs, or say with --company, --agent or --task whose are meant")
    return cluster.run(arguments, lambda session: _cancel(arguments, session))


async def _cancel(arguments: argparse.Namespace, session: cluster.Session) -> int:
    names = list(arguments.names)
    if not names:
        found = await session.runs.list(**cluster.filters(arguments))
        names = [run.metadata.name for run in found if not run.is_final]
    done = await asyncio.gather(*(_cancel_one(session, name, wait=arguments.wait) for name in names))
    if arguments.output == "text":
        _tell(done)
        if not names:
            cluster.note(arguments, "there is no live AgentRun of that kind")
    else:
        cluster.write(arguments, [_as_json(name, what) for name, what in zip(names, done, strict=True)])
    return 1 if any(isinstance(what, errors.AgentRunError) for what in done) else 0


async def _cancel_one(session: cluster.Session, name: str, *, wait: bool) -> models.AgentRun | errors.AgentRunError:
    try:
        run = await session.runs.get(name)
        if run.is_final:
            return run
        await session.runs.cancel(run)
        return await session.runs.wait(run) if wait else run
    except errors.NotFoundError as e:
        return advice.place(e, session.namespace)
    except errors.AgentRunError as e:
        return e


def _tell(done: Sequence[models.AgentRun | errors.AgentRunError]) -> None:
    for what in done:
        if isinstance(what, models.AgentRun):
            state = f"has ended ({cells.phase(what)})" if what.is_final else "is told to stop"
            documents.write(sys.stdout, f"{what.metadata.name}: {state}\n")
        else:
            documents.tell(f"agentrun cancel: {transcript.clean(advice.explain(what))}")


def _as_json(name: str, what: models.AgentRun | errors.AgentRunError) -> dict[str, Any]:
    if isinstance(what, models.AgentRun):
        return {"name": name, "phase": cells.phase(what), "ended": what.is_final}
    return {"name": name, "error": advice.explain(what)}
