"""``agentrun retry``: the work of an earlier run again, as a run of its own."""

import argparse
import secrets
import textwrap
from typing import Any

from agentrun_operator import client
from agentrun_operator.cli import cluster, following

_NAME = 56  # characters that leave room for what makes it another name


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "retry",
        help="do the work of an AgentRun again",
        description=textwrap.fill(
            "Create an AgentRun that does the same as an earlier one, in the session in which that one ended: what the "
            "agent knows by then is kept. With --fresh, or if that session must not be resumed, it begins a new one. "
            "The earlier run stays as it is.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun retry fix-login --watch\n"
        "  agentrun retry fix-login --fresh --run-id run-2\n\n"
        "Exit code: 0 it is created (with --watch: it succeeded), 1 it is refused or the cluster did not answer,\n"
        "2 wrong usage; with --watch also 3 it failed, 4 it was cancelled.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the earlier AgentRun")
    cluster.add_to(parser)
    parser.add_argument("--fresh", action="store_true", help="begin a new session")
    parser.add_argument("--run-id", metavar="ID", help="your id of the new run: with one, it is created once")
    following.add_to(parser)
    parser.set_defaults(run=lambda arguments: cluster.run(arguments, lambda session: _retry(arguments, session)))


async def _retry(arguments: argparse.Namespace, session: cluster.Session) -> int:
    before = await session.runs.get(arguments.name)
    if not before.is_final:
        cluster.note(arguments, f"note: {arguments.name} has not ended; the new run waits for it, as its agent does")
    resume = not arguments.fresh
    if resume and client.session_after(before) is None:
        cluster.note(arguments, f"note: {arguments.name} has no session that can be resumed; a new one is begun")
    name = None if arguments.run_id else f"{arguments.name[:_NAME].rstrip('-.')}-{secrets.token_hex(3)}"
    made = await session.runs.retry(before, run_id=arguments.run_id, name=name, resume=resume)
    return await following.finish(arguments, session, [following.tell(arguments, made)])
