"""``agentrun run``: create AgentRuns from files, or one from a prompt, and watch them."""

import argparse
import secrets
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from agentrun_operator import client, errors, models, shapes
from agentrun_operator.cli import advice, cluster, documents, following, validate

_OF_PROMPT = ("company", "agent", "task", "model", "budget", "image", "resume", "run_id", "name")


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "run",
        help="create AgentRuns, and watch them",
        description=textwrap.fill(
            "Create the AgentRuns in files, or one from a prompt; with --watch show what the agent does, until it has "
            "ended. What is there already is not created again: the same file or run id can be given twice. Ctrl-C "
            "ends the watching, not the run.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun run -f run.yaml --watch\n"
        "  agentrun run -p 'Fix the login page.' --company acme --agent ada --watch\n"
        "  agentrun run -p - --company acme --agent ada --resume fix-login <prompt.md\n\n"
        "Exit code: 0 they are created (with --watch: they succeeded), 1 one is refused, and the others\n"
        "are created, or there is no answer, 2 wrong usage or input that cannot be read; with --watch also 3 a run\n"
        "failed, 4 a run was cancelled.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "-f",
        "--filename",
        dest="files",
        metavar="FILE",
        nargs="+",
        action="extend",
        help="YAML or JSON with AgentRuns; a directory; or - for standard input. May be repeated",
    )
    source.add_argument("-p", "--prompt", metavar="TEXT", help="what the agent is told; - reads it from standard input")
    cluster.add_to(parser)
    with_prompt = parser.add_argument_group("with a prompt")
    with_prompt.add_argument("--company", metavar="ID", help="the company (required)")
    with_prompt.add_argument("--agent", metavar="ID", help="the agent (required)")
    with_prompt.add_argument("--task", metavar="ID", help="task that the run works on")
    with_prompt.add_argument("--model", help="model id or alias")
    with_prompt.add_argument("--budget", metavar="USD", help="spend limit in US dollars, such as 2.50")
    with_prompt.add_argument("--image", help="image with the claude executable (default: the operator's)")
    with_prompt.add_argument("--resume", metavar="NAME", help="go on in the session of that earlier AgentRun")
    with_prompt.add_argument("--run-id", metavar="ID", help="your id of this run: with one, it is created once")
    with_prompt.add_argument("--name", help="name of the AgentRun (default: one is made up)")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be created; asks no cluster")
    following.add_to(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.files:
        extra = [name for name in _OF_PROMPT if getattr(arguments, name) is not None]
        if extra:
            option = extra[0].replace("_", "-")
            return validate.complain(
                arguments, f"--{option} goes with --prompt; with --filename, write it into the file"
            )
        return _run_files(arguments)
    if arguments.company is None or arguments.agent is None:
        return validate.complain(arguments, "--prompt needs --company and --agent: whose work is it?")
    return _run_prompt(arguments)


def _run_files(arguments: argparse.Namespace) -> int:
    try:
        given = documents.read(arguments.files)
        candidates = validate.find_runs(given, namespace=arguments.namespace or "default")
    except documents.InputError as e:
        return validate.complain(arguments, e)
    if not candidates:
        return validate.complain(arguments, "there is no AgentRun in the input")
    found = [candidate.line(problem) for candidate in candidates for problem in candidate.problems]
    if found:
        documents.write(sys.stderr, "".join(found))
        return validate.EXIT_INVALID
    others = len(given) - len(candidates)
    if others:
        cluster.note(
            arguments, f"note: {others} objects are no AgentRuns and are left alone; kubectl apply creates them"
        )
    bodies = [candidate.document.body for candidate in candidates]
    if arguments.dry_run:
        return _print(arguments, bodies)
    return cluster.run(arguments, lambda session: _submit_files(arguments, session, bodies))


async def _submit_files(
    arguments: argparse.Namespace, session: cluster.Session, bodies: Sequence[Mapping[str, Any]]
) -> int:
    places = [shapes.text(body["metadata"].get("namespace")) or session.namespace for body in bodies]
    wrong = next((place for place in places if arguments.namespace and place != arguments.namespace), None)
    if wrong is not None:
        raise errors.SettingsError(
            f"--namespace {arguments.namespace}: the file says {wrong}; leave one of them out, or make them the same"
        )
    made, refused = [], 0
    for body, place in zip(bodies, places, strict=True):
        meta = body["metadata"]
        name = meta.get("name") or f"{meta['generateName']}{secrets.token_hex(3)}"
        try:
            run = await session.runs_in(place).submit(
                body["spec"], name=name, labels=meta.get("labels"), annotations=meta.get("annotations")
            )
            made.append(following.tell(arguments, run))
        except (errors.AlreadyExistsError, errors.RejectedError, errors.NotFoundError, client.OtherRunError) as e:
            if len(bodies) == 1:
                raise
            cluster.note(arguments, f"{name}: {advice.explain(e)}")
            refused += 1
    ended = await following.finish(arguments, session, made)
    return validate.EXIT_INVALID if refused else ended


def _run_prompt(arguments: argparse.Namespace) -> int:
    text = sys.stdin.read() if arguments.prompt == documents.STDIN else arguments.prompt
    spec: dict[str, Any] = {
        "companyId": arguments.company,
        "agent": {"id": arguments.agent},
        "prompt": {"text": text},
        **shapes.present(runId=arguments.run_id, taskId=arguments.task),
    }
    claude = shapes.present(model=arguments.model, maxBudgetUSD=arguments.budget)
    if claude:
        spec["claude"] = claude
    if arguments.image:
        spec["job"] = {"image": arguments.image}
    if arguments.dry_run:
        name = {"name": arguments.name} if arguments.name else {"generateName": "run-"}
        place = shapes.present(namespace=arguments.namespace)
        body = {
            "apiVersion": models.AgentRun.API_VERSION, "kind": "AgentRun", "metadata": {**name, **place}, "spec": spec
        }  # fmt: skip
        return _print(arguments, [body])
    return cluster.run(arguments, lambda session: _submit_prompt(arguments, session, spec))


async def _submit_prompt(arguments: argparse.Namespace, session: cluster.Session, spec: dict[str, Any]) -> int:
    if arguments.resume:
        before = await session.runs.get(arguments.resume)
        found = client.session_after(before)
        if found is None:
            raise client.InvalidSpecError(
                f"--resume {arguments.resume}: that run has no session that can be resumed; leave it out to begin one"
            )
        spec = {**spec, "session": found.model_dump(mode="json", by_alias=True, exclude_none=True)}
    made = following.tell(arguments, await session.runs.submit(spec, name=arguments.name))
    return await following.finish(arguments, session, [made])


def _print(arguments: argparse.Namespace, bodies: Sequence[Mapping[str, Any]]) -> int:
    show = documents.to_json if arguments.output == "json" else documents.to_yaml
    documents.write(sys.stdout, ("" if arguments.output == "json" else "---\n").join(map(show, bodies)))
    return 0
