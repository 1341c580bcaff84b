"""``agentrun release``: let AgentRuns go that wait for an operator which does not come back."""

import argparse
import asyncio
import dataclasses
import datetime
import math
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from agentrun_operator import errors, facts, kube, names
from agentrun_operator.cli import cluster, documents

EXIT_LEFT = 1

_ALIVE_SECONDS = 300.0  # a live run's heartbeatTime is never older while an operator is at work
_ATTEMPTS = 5  # each of them lost to somebody else's change of the same object
_REQUEST_SECONDS = 30.0


class Client(Protocol):
    """What is asked of the Kubernetes API; every method raises ``errors.ApiError`` subclasses only."""

    async def list_run_metadata(self, namespace: str = "") -> list[Mapping[str, Any]]:
        """The metadata of all AgentRuns in ``namespace`` ("" = everywhere)."""

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One AgentRun as JSON. Raises NotFoundError."""

    async def remove_finalizer(self, run: kube.Ref, finalizer: str, *, index: int) -> None:
        """Remove the finalizer at that place. Raises NotFoundError, ConflictError."""

    async def list_jobs(self, namespace: str = "") -> list[facts.JobFacts]:
        """The operator's Jobs in ``namespace`` ("" = everywhere)."""

    async def let_job_go(self, job: facts.JobFacts) -> facts.JobFacts:
        """Take the finalizer of an adoption off. Raises NotFoundError, ConflictError."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """``everything``: also runs that nobody deletes. ``force``: also where an operator seems to be at work."""

    everything: bool = False
    dry_run: bool = False
    force: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one object. ``left``: it is as it was, and ``text`` says why."""

    kind: str
    namespace: str
    name: str
    left: bool
    text: str


class KeptError(errors.AgentRunError):
    """The run was left as it is; the text says why."""


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "release",
        help="let AgentRuns go that wait for an operator which is gone",
        description=textwrap.fill(
            "Take the operator's finalizer off AgentRuns that are being deleted, so that they go without an operator; "
            "their Jobs and Secrets go with them, for Kubernetes removes what a deleted object owns. Finalizers of "
            "others stay. A run with a sign of life from an operator in the last five minutes is left alone. "
            "A Job that an operator had just adopted when it died is let go, too.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun release -A --dry-run\n"
        "  agentrun release -n team-a\n"
        "  agentrun release -A --all   # before the operator is removed for good\n\n"
        "Exit code: 0 nothing waits any more, 1 something was left or could not be changed, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cluster.add_to(parser, everywhere=True)
    parser.add_argument("--all", action="store_true", help="also AgentRuns that nobody deletes: they stay, and lose it")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--force", action="store_true", help="also where an operator seems to be at work")
    cluster.add_output_to(parser, what="a list of what was done")
    parser.set_defaults(run=lambda arguments: asyncio.run(_run(arguments)))


async def _run(arguments: argparse.Namespace) -> int:
    wishes = Wishes(everything=arguments.all, dry_run=arguments.dry_run, force=arguments.force)
    namespace = cluster.namespace_of(arguments)
    client = await kube.connect(timeout=_REQUEST_SECONDS, context=arguments.context)
    outcomes: list[Outcome] = []
    try:
        code = await release(client, namespace, wishes, show=_say if arguments.output == "text" else outcomes.append)
    finally:
        await client.close()
    if arguments.output != "text":
        cluster.write(arguments, [dataclasses.asdict(outcome) for outcome in outcomes])
    return code


def _say(outcome: Outcome) -> None:
    what = f"{outcome.namespace}/{outcome.name}"
    what = what if outcome.kind == names.KIND else f"{outcome.kind} {what}"
    if outcome.left:
        documents.write(sys.stderr, f"{what}: left as it is: {outcome.text}\n")
    else:
        documents.write(sys.stdout, f"{what}: {outcome.text}\n")


async def release(client: Client, namespace: str, wishes: Wishes, *, show: Callable[[Outcome], None] = _say) -> int:
    """Release the runs in ``namespace`` ("" = everywhere) and say what was done. Returns the exit code.

    Raises ApiError if they cannot be listed.
    """
    found = find(await client.list_run_metadata(namespace), everything=wishes.everything)
    left = 0
    for run in found:
        outcome = await _outcome(names.KIND, run.namespace, run.name, work=_release_one(client, run, wishes))
        show(outcome)
        left += outcome.left
    jobs = [job for job in await client.list_jobs(namespace) if job.adopting and (wishes.everything or job.deleting)]
    for job in jobs:
        outcome = await _outcome("Job", job.namespace, job.name, work=_release_job(client, job, wishes))
        show(outcome)
        left += outcome.left
    if not found and not jobs:
        waits = "carries the operator's finalizer" if wishes.everything else "waits for an operator to be deleted"
        documents.write(sys.stderr, f"agentrun release: no AgentRun {waits}\n")
    return EXIT_LEFT if left else 0


async def _outcome(kind: str, namespace: str, name: str, *, work: Awaitable[str]) -> Outcome:
    try:
        done, left = await work, False
    except (KeptError, errors.ApiError) as e:
        done, left = str(e), True
    return Outcome(kind=kind, namespace=namespace, name=name, left=left, text=done)


async def _release_job(client: Client, job: facts.JobFacts, wishes: Wishes) -> str:
    """A Job that an operator had just adopted when it died. An operator at work does this itself, within seconds."""
    if wishes.dry_run:
        return "would be released"
    try:
        await client.let_job_go(job)
    except errors.NotFoundError:
        return "is gone"
    return "released"


def find(listed: Iterable[Mapping[str, Any]], *, everything: bool) -> Sequence[kube.Ref]:
    """Of the metadata of AgentRuns those that carry our finalizer and are being deleted, or ``everything`` with it."""
    return [
        kube.Ref(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
        for meta in listed
        if names.FINALIZER in meta.get("finalizers", ()) and (everything or meta.get("deletionTimestamp"))
    ]


async def _release_one(client: Client, run: kube.Ref, wishes: Wishes) -> str:
    """Returns what was done. Raises KeptError, ApiError."""
    for _ in range(_ATTEMPTS):
        try:
            body = await client.get_run(run.namespace, run.name)
        except errors.NotFoundError:
            return "is gone"
        finalizers = list(body["metadata"].get("finalizers", ()))
        if body["metadata"]["uid"] != run.uid:
            return "is gone"  # another one has its name
        if names.FINALIZER not in finalizers:
            return "has been released by somebody else"
        age = _seconds_since_heartbeat(body)
        if age is not None and age < _ALIVE_SECONDS and not wishes.force:
            raise KeptError(
                f"an operator was at work on it {max(age, 0):.0f} s ago. If there is none any more, try again in "
                f"{math.ceil((_ALIVE_SECONDS - age) / 60)} min, or use --force"
            )
        others = [finalizer for finalizer in finalizers if finalizer != names.FINALIZER]
        waits = f"; it still waits for {', '.join(others)}" if others else ""
        if wishes.dry_run:
            return f"would be released{waits}"
        try:
            await client.remove_finalizer(run, names.FINALIZER, index=finalizers.index(names.FINALIZER))
        except errors.NotFoundError:
            return "is gone"
        except errors.ConflictError:
            continue  # somebody changed its finalizers since they were read
        return f"released{waits}"
    raise KeptError(f"it was changed by somebody else {_ATTEMPTS} times in a row; try again")


def _seconds_since_heartbeat(body: Mapping[str, Any]) -> float | None:
    """None if there never was one, or it cannot be read."""
    try:
        beat = datetime.datetime.fromisoformat((body.get("status") or {})["heartbeatTime"])
        return (datetime.datetime.now(datetime.UTC) - beat).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None
