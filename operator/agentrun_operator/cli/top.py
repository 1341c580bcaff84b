"""``agentrun top``: the live runs in a table that moves: phase, turns, cost, and whether anything comes out of them."""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import datetime
import decimal
import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import rich.console
import rich.live
import rich.text

from agentrun_operator import models
from agentrun_operator.cli import cells, cluster, table, terminal, transcript
from agentrun_operator.cli.transcript import Style
from agentrun_operator.client import hub

_FRAME_SECONDS = 1.0
_BUCKET_SECONDS = 5.0  # the operator writes progress about as often
_BUCKETS = 16
_SHOWN_SECONDS = 600.0  # for so long a run stays that has ended
_QUIET_SECONDS = 120.0  # from then on silence is worth a colour
_HEAD_LINES = 4
_ORDER = [models.Phase.RUNNING, models.Phase.PENDING, models.Phase.QUEUED, models.Phase.SUSPENDED]
_COLUMNS = (
    table.Column("NAMESPACE", least=6, optional=True),
    table.Column("NAME", least=18),
    table.Column("AGENT", least=9),
    table.Column("PHASE"),
    table.Column("TURNS", right=True),
    table.Column("COST", right=True),
    table.Column("TAIL", right=True),
    table.Column("OUTPUT", least=6),
    table.Column("DOING", least=4),
    table.Column("AGE", right=True, optional=True),
)


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "top",
        help="watch live AgentRuns in a table",
        description=textwrap.fill(
            "Show live AgentRuns, and those that ended within ten minutes, in a table that moves until Ctrl-C: TAIL is "
            "how long ago the agent printed something, OUTPUT how much it has printed in the last 80 seconds since "
            "the table began, DOING its last tool, or why it waits or ended. In a pipe, or with --once, the table is "
            "shown once, without OUTPUT.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun top -A\n"
        "  agentrun top --company acme --once\n\n"
        "Exit code: 0 it was shown, 1 the cluster did not answer at the start, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cluster.add_to(parser, everywhere=True)
    cluster.add_filters_to(parser)
    parser.add_argument("--once", action="store_true", help="show the table once")
    cluster.add_output_to(parser, what="the objects, once")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with contextlib.suppress(KeyboardInterrupt):  # that is how it ends
        return cluster.run(arguments, lambda session: _top(arguments, session))
    return 0


@dataclasses.dataclass(slots=True)
class Output:
    """How much a run has printed of late: bytes, in buckets of some seconds, the newest last."""

    buckets: collections.deque[int] = dataclasses.field(
        default_factory=lambda: collections.deque([0] * _BUCKETS, maxlen=_BUCKETS)
    )
    last: int | None = None

    def see(self, log_bytes: int) -> None:
        """So many bytes it has printed in all."""
        if self.last is not None:
            self.buckets[-1] += max(log_bytes - self.last, 0)
        self.last = log_bytes


class Board:
    """All that is known of the runs. ``everywhere``: they are of several namespaces."""

    def __init__(self, *, everywhere: bool = False) -> None:
        self.hidden = () if everywhere else ("NAMESPACE",)
        self._runs: dict[str, models.AgentRun] = {}
        self._outputs: dict[str, Output] = collections.defaultdict(Output)

    def take(self, changes: Iterable[hub.Change]) -> None:
        """What changed."""
        for change in changes:
            uid = change.body["metadata"]["uid"]
            if change.gone:
                self._runs.pop(uid, None)
                self._outputs.pop(uid, None)
                continue
            run = models.AgentRun.parse(change.body)
            self._runs[uid] = run
            if not run.is_final:
                self._outputs[uid].see(run.status.log_bytes or 0)

    def turn(self) -> None:
        """A bucket is full."""
        for output in self._outputs.values():
            output.buckets.append(0)

    def forget(self, now: datetime.datetime) -> None:
        """Those that ended long ago."""
        for uid, run in list(self._runs.items()):
            if run.is_final and not _is_recent(run, now):
                del self._runs[uid]
                self._outputs.pop(uid, None)

    def shown(self) -> list[models.AgentRun]:
        """Running ones first, then who waits, then what has ended; the youngest first."""
        runs = sorted(self._runs.values(), key=lambda run: run.metadata.creation_timestamp, reverse=True)
        return sorted(runs, key=_rank)

    def output(self, run: models.AgentRun) -> str:
        """Its sparkline."""
        started = run.status.running_time is not None and not run.is_final
        return "" if not started else cells.sparkline(self._outputs[run.metadata.uid].buckets)


async def _top(arguments: argparse.Namespace, session: cluster.Session) -> int:
    if arguments.once or arguments.output != "text" or not sys.stdout.isatty():
        return await _once(arguments, session)
    board = Board(everywhere=not session.namespace)
    screen = terminal.find(sys.stdout)
    console = table.console(sys.stdout, screen)  # type: ignore[arg-type]  # a terminal is a stream of text
    changes: asyncio.Queue[Sequence[hub.Change]] = asyncio.Queue()

    async def listen() -> None:
        async for some in session.runs.watch_all(**cluster.filters(arguments)):
            changes.put_nowait(some)

    listening = asyncio.create_task(listen())
    try:
        with rich.live.Live(console=console, screen=True, auto_refresh=False) as live:
            await _draw(live, board, changes, listening)
    finally:
        listening.cancel()
    return 0


async def _draw(
    live: rich.live.Live,
    board: Board,
    changes: asyncio.Queue[Sequence[hub.Change]],
    listening: asyncio.Task[None],
) -> None:
    """Frame by frame, until the watch fails for good."""
    loop = asyncio.get_running_loop()
    turn_at = loop.time() + _BUCKET_SECONDS
    while not listening.done():
        while not changes.empty():
            board.take(changes.get_nowait())
        if loop.time() >= turn_at:
            board.turn()
            turn_at += _BUCKET_SECONDS
        size = shutil.get_terminal_size()
        live.console.size = rich.console.ConsoleDimensions(size.columns, size.lines)
        now = datetime.datetime.now(datetime.UTC)
        board.forget(now)
        live.update(picture(board, now, size), refresh=True)
        await asyncio.wait([listening], timeout=_FRAME_SECONDS)
    listening.result()


def picture(board: Board, now: datetime.datetime, size: os.terminal_size) -> rich.console.Group:
    """The screen: a summary, the table, and how many did not fit."""
    runs = board.shown()
    room = max(size.lines - _HEAD_LINES, 1)
    columns, rows = _without(board.hidden, [_row(run, board.output(run), now) for run in runs[:room]])
    parts: list[rich.console.RenderableType] = [_summary(runs, now), "", table.build(columns, rows, size.columns)]
    if len(runs) > room:
        parts.append(rich.text.Text(f"… and {len(runs) - room} more", style="dim"))
    return rich.console.Group(*parts)


def _summary(runs: Sequence[models.AgentRun], now: datetime.datetime) -> rich.text.Text:
    count = collections.Counter(cells.phase(run) for run in runs)
    cost = sum((decimal.Decimal(run.status.cost_usd or 0) for run in runs), decimal.Decimal(0))
    phases = [*_ORDER, *(phase for phase in models.Phase if phase.final)]
    words = [f"{count[phase]} {phase.lower()}" for phase in map(str, phases) if count[phase]]
    text = " · ".join([f"{now:%H:%M:%S} UTC", cells.dollars(cost), *(words or ["no live run"])])
    return rich.text.Text(text, style="bold", no_wrap=True, overflow="ellipsis")


def _row(run: models.AgentRun, output: str, now: datetime.datetime) -> table.Row:
    status = run.status
    silent = cells.moment(status.last_output_time)
    quiet = silent is not None and not run.is_final and (now - silent).total_seconds() > _QUIET_SECONDS
    said = cells.reason(run) if run.is_final or not status.running_time else status.last_tool or ""
    said = said if status.phase else "not seen yet"
    return [
        run.metadata.namespace,
        run.metadata.name,
        table.Cell(f"{run.spec.company_id}/{run.spec.agent.id}", end=True),
        table.Cell(cells.phase(run), cells.style(run)),
        "" if status.turns is None else str(status.turns),
        cells.dollars(status.cost_usd),
        table.Cell(
            "" if run.is_final else cells.age(status.last_output_time, now), Style.YELLOW if quiet else Style.PLAIN
        ),
        table.Cell(output, Style.GREEN, newest_last=True),
        transcript.one_line(said),
        cells.age(run.metadata.creation_timestamp, now),
    ]


async def _once(arguments: argparse.Namespace, session: cluster.Session) -> int:
    now = datetime.datetime.now(datetime.UTC)
    bodies = await session.list(**cluster.filters(arguments))
    pairs = [(models.AgentRun.parse(body), body) for body in bodies]
    live = [(run, body) for run, body in pairs if not run.is_final or _is_recent(run, now)]
    if arguments.output != "text":
        cluster.write(arguments, {"apiVersion": "v1", "kind": "List", "items": [body for _, body in live]})
        return 0
    hidden = (*Board(everywhere=not session.namespace).hidden, "OUTPUT")
    table.show(*_without(hidden, [_row(run, "", now) for run in sorted((run for run, _ in live), key=_rank)]))
    if not live:
        cluster.note(arguments, "there is no live AgentRun, and none that ended within ten minutes")
    return 0


def _without(titles: Collection[str], rows: Sequence[table.Row]) -> tuple[list[table.Column], list[table.Row]]:
    """The columns, and the rows, but for those of these titles."""
    kept = [index for index, column in enumerate(_COLUMNS) if column.title not in titles]
    return [_COLUMNS[index] for index in kept], [[row[index] for index in kept] for row in rows]


def _rank(run: models.AgentRun) -> int:
    phase = run.status.phase or models.Phase.PENDING
    return _ORDER.index(phase) if phase in _ORDER else len(_ORDER)


def _is_recent(run: models.AgentRun, now: datetime.datetime) -> bool:
    end = cells.moment(run.status.completion_time)
    return end is not None and (now - end).total_seconds() < _SHOWN_SECONDS
