"""``agentrun describe``: what became of a run and why, in one sentence, and what happened, in its order."""

import argparse
import datetime
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from agentrun_operator import errors, kube, models
from agentrun_operator.cli import cells, cluster, documents, story, terminal, transcript
from agentrun_operator.cli.transcript import Style

_TEXT_WIDTH = 100  # of sentences that go to no terminal
_ERROR_PAGE = "docs/errors.md"


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "describe",
        help="say what became of an AgentRun, and why",
        description=textwrap.fill(
            "Say what became of an AgentRun and why, in one sentence; what is known of it; and what happened, in its "
            "order and with times, from its status and the Kubernetes Events on it.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun describe fix-login\n"
        "  agentrun describe fix-login -o json | jq .happened\n\n"
        "Exit code: 0 it is described, whatever became of it, 1 it is not there or the cluster did not answer,\n"
        "2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the AgentRun")
    cluster.add_to(parser)
    cluster.add_output_to(parser, what="the object, and under happened the steps")
    parser.set_defaults(run=lambda arguments: cluster.run(arguments, lambda session: _describe(arguments, session)))


async def _describe(arguments: argparse.Namespace, session: cluster.Session) -> int:
    body = await session.api.get_run(session.namespace, arguments.name)
    run = models.AgentRun.parse(body)
    ref = kube.Ref(namespace=run.metadata.namespace, name=run.metadata.name, uid=run.metadata.uid)
    try:
        events = await session.api.list_run_events(ref)
    except errors.ApiError as e:
        events = []
        cluster.note(arguments, f"note: the Events on it could not be read: {e}")
    now = datetime.datetime.now(datetime.UTC)
    steps = story.tell(run, events, now)
    if arguments.output == "text":
        documents.write(sys.stdout, report(run, steps, now))
    else:
        happened = [{"time": step.at.strftime("%Y-%m-%dT%H:%M:%SZ"), "what": step.text} for step in steps]
        cluster.write(arguments, {"run": body, "happened": happened})
    return 0


def report(run: models.AgentRun, steps: Sequence[story.Step], now: datetime.datetime) -> str:
    """For people."""
    screen = terminal.find(sys.stdout)
    width = max((screen.width or _TEXT_WIDTH) - 2, transcript.MIN_WIDTH)
    why = f": {cells.why(run)}" if cells.why(run) else ""
    mark = cells.MARKS.get(run.status.phase, "○") if run.status.phase else "○"
    title = f"{mark} {run.metadata.name} {cells.phase(run)}{why}"
    lines = transcript.paint(cells.style(run), title, color=screen.color, width=screen.width)
    lines += [f"  {line}" for line in textwrap.wrap(cells.sentence(run), width, break_on_hyphens=False)]
    rows = {name: transcript.one_line(text) for name, text in _rows(run, now) if text}
    column = max(map(len, rows))
    lines.append("")
    for name, text in rows.items():
        (label,) = transcript.paint(Style.DIM, f"  {name:<{column}}", color=screen.color, width=None)
        room = screen.width and max(screen.width - column - 4, transcript.MIN_WIDTH)
        lines.append(f"{label}  {transcript.shorten(text, room) if room else text}")
    lines += ["", *_happened(steps, screen)]
    return "\n".join(lines) + "\n"


def _rows(run: models.AgentRun, now: datetime.datetime) -> Iterator[tuple[str, str]]:
    spec, status = run.spec, run.status
    yield "agent", f"{spec.company_id}/{spec.agent.id}" + (f" ({spec.agent.name})" if spec.agent.name else "")
    yield "task", spec.task_id or ""
    yield "run id", spec.run_id or ""
    session = status.session
    if session is not None and session.id:
        yield "session", session.id + (" (not to be resumed)" if session.clear else "")
    yield "model", " · ".join(filter(None, [status.model, status.claude_version and f"claude {status.claude_version}"]))
    yield "turns", "" if status.turns is None else str(status.turns)
    usage = status.usage or models.Usage()
    tokens = {"in": usage.input_tokens, "out": usage.output_tokens, "from the cache": usage.cache_read_tokens}
    estimated = " (estimated)" if usage.estimated else ""
    yield "tokens", " · ".join(f"{number:,} {word}" for word, number in tokens.items() if number) + estimated
    yield "cost", cells.dollars(status.cost_usd)
    yield "worked", cells.lasted(run, now)
    yield "attempt", f"{run.attempt} of at most {spec.retry.limit}" if spec.retry.limit else ""
    yield "job", status.job.name if status.job else ""
    yield "pod", status.pod_name or ""
    yield "log", status.log_path or ""
    yield "exit", _exit(run)
    yield "answer", status.result.text if status.result else ""


def _exit(run: models.AgentRun) -> str:
    end = run.status.exit
    if end is None:
        return ""
    return " · ".join(filter(None, ["" if end.code is None else str(end.code), end.reason, end.detection]))


def _happened(steps: Sequence[story.Step], screen: terminal.Terminal) -> Iterator[str]:
    begin = steps[0].at
    heading = f"what happened from {begin:%Y-%m-%d %H:%M:%S} UTC"
    yield from transcript.paint(Style.BOLD, heading, color=screen.color, width=screen.width)
    places = [f"+{cells.span((step.at - begin).total_seconds())}" for step in steps]
    column = max(map(len, places))
    for place, step in zip(places, steps, strict=True):
        (at,) = transcript.paint(Style.DIM, f"  {step.at:%H:%M:%S}  {place:>{column}}", color=screen.color, width=None)
        room = max((screen.width or _TEXT_WIDTH) - column - 14, transcript.MIN_WIDTH)
        first, *rest = textwrap.wrap(step.text, room, break_on_hyphens=False) or [""]
        for index, line in enumerate([first, *rest]):
            (text,) = transcript.paint(step.style, line, color=screen.color, width=None)
            yield f"{at}  {text}" if index == 0 else f"{'':{column + 14}}{text}"
