"""What a command does after it has made a run: say so, and with --watch show it to its end."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence

from agentrun_operator import models
from agentrun_operator.cli import cells, cluster, credentials, documents, logs, terminal, transcript
from agentrun_operator.client import runlog


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--watch", action="store_true", help="show what the agent does, until the run has ended")
    cluster.add_output_to(parser, what="the object; with --watch as it is at the end")


def tell(arguments: argparse.Namespace, run: models.AgentRun) -> models.AgentRun:
    """Say that the run is there, at once: what follows may fail. Returns it."""
    seen = f"is there already ({cells.phase(run)})" if run.status.phase else "is submitted"
    documents.write(sys.stdout if arguments.output == "text" else sys.stderr, f"{run.metadata.name}: {seen}\n")
    return run


async def finish(arguments: argparse.Namespace, session: cluster.Session, made: Sequence[models.AgentRun]) -> int:
    """Follow the runs, if asked to. Returns the exit code."""
    ended = await _follow(arguments, session, made) if arguments.watch else made
    if arguments.output != "text":
        bodies = [await session.api.get_run(run.metadata.namespace, run.metadata.name) for run in ended]
        one = len(bodies) == 1
        cluster.write(arguments, bodies[0] if one else {"apiVersion": "v1", "kind": "List", "items": bodies})
    return max((cluster.exit_code(run) for run in ended), default=0) if arguments.watch else 0


async def _follow(
    arguments: argparse.Namespace, session: cluster.Session, made: Sequence[models.AgentRun]
) -> list[models.AgentRun]:
    try:
        if len(made) == 1 and arguments.output == "text":
            await _show_log(arguments, session, made[0])
        return await asyncio.gather(*(_tell_phases(arguments, session, run, alone=len(made) == 1) for run in made))
    except asyncio.CancelledError:
        names = " ".join(run.metadata.name for run in made)
        cluster.note(arguments, f"note: it goes on by itself; agentrun cancel {names} stops it")
        raise


async def _show_log(arguments: argparse.Namespace, session: cluster.Session, run: models.AgentRun) -> None:
    """The transcript, as ``agentrun logs --follow`` shows it."""

    def tell(text: str) -> None:
        cluster.note(arguments, f"note: {transcript.one_line(text)}")

    wanted = runlog.Wanted(namespace=run.metadata.namespace, name=run.metadata.name, follow=True)
    writer = logs.Writer()
    log = runlog.RunLog(
        session.api,
        session.config,
        wanted,
        find_secrets=lambda body: credentials.read(session.api, session.config, body),
        tell=tell,
    )
    try:
        async with contextlib.aclosing(log.read(writer)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                writer.feed(chunk)
    except runlog.NoLogError as e:
        tell(str(e))
    writer.finish()


async def _tell_phases(
    arguments: argparse.Namespace, session: cluster.Session, run: models.AgentRun, *, alone: bool
) -> models.AgentRun:
    """Each phase in a line; of a run whose log was shown, only the last one."""
    screen, told = terminal.find(sys.stderr), ""
    state = run
    async with contextlib.aclosing(session.runs.watch(run)) as states:  # type: ignore[type-var]
        async for state in states:
            line = f"{state.metadata.name}: {cells.phase(state)}: {cells.sentence(state)}"
            if line != told and (state.is_final or not alone) and state.status.phase:
                told = line
                for text in transcript.paint(cells.style(state), line, color=screen.color, width=None):
                    documents.write(sys.stderr, f"{text}\n")
    del arguments
    return state
