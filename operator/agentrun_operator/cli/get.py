"""``agentrun get``: AgentRuns in a table, or as they are."""

import argparse
import datetime
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from agentrun_operator import errors, models
from agentrun_operator.cli import advice, cells, cluster, documents, table, validate

_SHORT = 8  # characters of a session's id


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "get",
        help="list AgentRuns",
        description=textwrap.fill(
            "List AgentRuns, oldest first, with what became of them; or those that are named. -o wide shows more, name "
            "the names alone, json and yaml the objects as they are.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun get\n"
        "  agentrun get -A --company acme --phase Failed\n"
        "  agentrun get fix-login -o json | jq .status.usage\n"
        "  agentrun get --phase Failed -o name | xargs -n1 agentrun retry\n\n"
        "Exit code: 0 they are shown, 1 one is not there or the cluster did not answer, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="AgentRuns (default: all)")
    cluster.add_to(parser, everywhere=True)
    cluster.add_filters_to(parser)
    parser.add_argument(
        "--phase", choices=[str(phase) for phase in models.Phase], action="append", help="only these; may be repeated"
    )
    cluster.add_output_to(parser, "wide", "name", what="the objects, or names alone")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.names and arguments.all_namespaces:
        return validate.complain(arguments, "a name belongs to one namespace: give it with -n, or leave out the names")
    if arguments.names and any(cluster.filters(arguments).values()):
        return validate.complain(arguments, "--company, --agent and --task choose among all: leave out the names")
    return cluster.run(arguments, lambda session: _get(arguments, session))


async def _get(arguments: argparse.Namespace, session: cluster.Session) -> int:
    missing = 0
    if arguments.names:
        bodies, missing = await _named(arguments, session)
    else:
        bodies = await session.list(**cluster.filters(arguments))
    if arguments.phase:
        bodies = [body for body in bodies if cells.phase(models.AgentRun.parse(body)) in arguments.phase]
    if arguments.output in {"json", "yaml"}:
        one = len(arguments.names) == 1 and len(bodies) == 1
        if one or not missing or len(arguments.names) > 1:
            cluster.write(arguments, bodies[0] if one else {"apiVersion": "v1", "kind": "List", "items": bodies})
    elif bodies and arguments.output == "name":
        documents.write(sys.stdout, "".join(f"{body['metadata']['name']}\n" for body in bodies))
    elif bodies:
        runs = [models.AgentRun.parse(body) for body in bodies]
        show(runs, namespaces=not session.namespace, wide=arguments.output == "wide")
    elif not missing:
        such = "such " if arguments.names or arguments.phase or any(cluster.filters(arguments).values()) else ""
        cluster.note(arguments, f"there is no {such}AgentRun {_where(session)}")
    return 1 if missing else 0


def _where(session: cluster.Session) -> str:
    return f"in the namespace {session.namespace}; -A looks everywhere" if session.namespace else "in any namespace"


async def _named(arguments: argparse.Namespace, session: cluster.Session) -> tuple[list[Mapping[str, Any]], int]:
    """Those that are there, and how many are not; each of these is named."""
    found, missing = [], 0
    for name in arguments.names:
        try:
            found.append(await session.api.get_run(session.namespace, name))
        except errors.NotFoundError as e:
            cluster.note(arguments, advice.explain(advice.place(e, session.namespace)))
            missing += 1
    return found, missing


def show(runs: Sequence[models.AgentRun], *, namespaces: bool, wide: bool) -> None:
    """Print a table of them."""
    now = datetime.datetime.now(datetime.UTC)
    columns = [
        *([table.Column("NAMESPACE", least=6)] if namespaces else ()),
        table.Column("NAME", least=24),
        table.Column("PHASE"),
        table.Column("REASON", least=8),
        table.Column("AGENT", least=8),
        table.Column("MODEL", least=6, optional=True),
        table.Column("TURNS", right=True),
        table.Column("COST", right=True),
        table.Column("AGE", right=True),
    ]
    if wide:
        columns += [table.Column(title, least=8) for title in ("COMPANY", "TASK", "SESSION", "NODE")]
        columns += [table.Column("EXIT", right=True), table.Column("LAST-OUTPUT", right=True)]
    rows = []
    for run in runs:
        cost = cells.dollars(run.status.cost_usd)
        row: list[table.Cell | str] = [run.metadata.namespace] if namespaces else []
        row += [run.metadata.name, table.Cell(cells.phase(run), cells.style(run)), cells.reason(run), run.spec.agent.id]
        row += [run.status.model or "", "" if run.status.turns is None else str(run.status.turns), cost]
        row += [cells.age(run.metadata.creation_timestamp, now), *(_wide(run, now) if wide else ())]
        rows.append(row)
    table.show(columns, rows)


def _wide(run: models.AgentRun, now: datetime.datetime) -> list[str]:
    session = run.status.session.id if run.status.session else None
    code = run.status.exit.code if run.status.exit else None
    return [
        run.spec.company_id,
        run.spec.task_id or "",
        (session or "")[:_SHORT],
        run.status.node_name or "",
        "" if code is None else str(code),
        cells.age(run.status.last_output_time, now),
    ]
