"""``agentrun cost``: what runs have cost, by agent, company, task, model or day."""

import argparse
import datetime
import textwrap
from collections.abc import Sequence
from typing import Any

from agentrun_operator import client
from agentrun_operator.cli import cells, cluster, moments, table, validate
from agentrun_operator.cli.transcript import Style

_UNPRICED = "?"


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "cost",
        help="sum up what runs have cost",
        description=textwrap.fill(
            "Sum up tokens and cost of AgentRuns, of live ones what they have used so far. Only runs that are still "
            "there are counted. Prices are those of the CLI's own table: a guide, and no invoice. A cost with ? lacks "
            "runs that nobody has priced.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun cost\n"
        "  agentrun cost --by company day --since 7d -A\n"
        "  agentrun cost --by model --company acme -o json\n\n"
        "Exit code: 0 they are summed up, 1 the cluster did not answer, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cluster.add_to(parser, everywhere=True)
    cluster.add_filters_to(parser)
    parser.add_argument(
        "--by",
        nargs="+",
        action="extend",
        choices=[str(by) for by in client.By],
        help="what runs are put together by (default: agent); may be repeated. A run counts for the day (UTC) "
        "of its end",
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="only what counts for that day or a later one: a duration (7d) or a day (2026-11-01)",
    )
    cluster.add_output_to(parser, what="a list")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    since = ""
    if arguments.since is not None:
        try:
            since = moments.parse_since(arguments.since, datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%d")
        except ValueError as e:
            return validate.complain(arguments, f"--since: {e}")
    return cluster.run(arguments, lambda session: _cost(arguments, session, since))


async def _cost(arguments: argparse.Namespace, session: cluster.Session, since: str) -> int:
    by = [client.By(part) for part in dict.fromkeys(arguments.by or ["agent"])]
    found = await session.runs.cost(*by, since=since, **cluster.filters(arguments))
    if arguments.output == "text":
        _show(by, found)
    else:
        cluster.write(arguments, [_as_json(by, cost) for cost in found])
    return 0


def _show(by: Sequence[client.By], found: Sequence[client.Cost]) -> None:
    titles = ("RUNS", "FAILED", "IN", "OUT", "CACHED", "COST")
    columns = [table.Column(part.upper(), least=8) for part in by]
    columns += [table.Column(title, right=True) for title in titles]
    rows: list[table.Row] = [[*[part or "-" for part in cost.key], *_numbers(cost)] for cost in found]
    total = client.Cost(key=())
    for cost in found:
        total = total.plus_all(cost)
    label: list[table.Cell | str] = [table.Cell("total", Style.BOLD), *[""] * (len(by) - 1)]
    table.show(columns, [*rows, [*label, *_numbers(total)]])


def _numbers(cost: client.Cost) -> list[table.Cell | str]:
    usage = cost.usage
    return [
        str(cost.runs),
        table.Cell(str(cost.failed), Style.RED if cost.failed else Style.PLAIN),
        cells.count(usage.input_tokens),
        cells.count(usage.output_tokens),
        cells.count(usage.cache_read_tokens),
        cells.dollars(cost.usd) + (_UNPRICED if cost.unpriced else ""),
    ]


def _as_json(by: Sequence[client.By], cost: client.Cost) -> dict[str, Any]:
    return {
        **dict(zip(by, cost.key, strict=True)),
        "runs": cost.runs,
        "failed": cost.failed,
        "costUSD": str(cost.usd),
        "unpriced": cost.unpriced,
        "usage": cost.usage.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
