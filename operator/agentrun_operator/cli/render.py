"""``agentrun render``: what the operator would make of AgentRuns in files, without a cluster.

The objects are built by the very code that the operator runs, and so is the status for a pod that somebody has seen.
"""

import argparse
import base64
import dataclasses
import datetime
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from agentrun_operator import errors, facts, manifest, models, names, status
from agentrun_operator.cli import documents, sighting, validate

_NO_JOB_UID = "00000000-0000-4000-8000-000000000001"
_NEXT = {
    status.Action.WAIT: "write this status and keep watching",
    status.Action.ADMIT: "start the Job if the agent is free, and change nothing in the status before",
    status.Action.STOP: "write this status, then delete the Job",
    status.Action.RETRY: "write this status and begin the next attempt; it was given no output of the agent to read",
    status.Action.FINISH: "write this status and be done; it was given no output of the agent to read",
}


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "render",
        help="print the Secret and Job that the operator would create",
        description=textwrap.fill(
            "Print the Secret and the Job that the operator would create for each AgentRun. No cluster is asked: a "
            "Secret or ConfigMap with the prompt has to be in the input, and the operator's settings come from a file "
            "or the environment.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun render -f run.yaml --settings settings.yaml\n"
        "  kubectl get pod POD -o yaml | agentrun render -f run.yaml --set-status-of -\n\n"
        "Exit code: 0 all AgentRuns are printed, 1 one could not be, 2 wrong usage or input that cannot be read.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    documents.add_input_to(parser)
    parser.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="documents, or one List")
    parser.add_argument(
        "--set-status-of",
        metavar="FILE",
        help="a pod as kubectl get pod -o yaml prints it, and its Job if you like: print the AgentRun, too, with the "
        "status that the operator would give it",
    )
    parser.add_argument("--show-secrets", action="store_true", help="print the Secrets' values, too")
    parser.set_defaults(run=_render)


def now() -> datetime.datetime:
    """The time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def _render(arguments: argparse.Namespace) -> int:
    try:
        given = documents.read(arguments.files)
        around = validate.read_surroundings(arguments, given)
        seen = sighting.read("--set-status-of", arguments.set_status_of) if arguments.set_status_of else None
    except (documents.InputError, errors.SettingsError) as e:
        return validate.complain(arguments, e)
    candidates = validate.find_runs(given, namespace=arguments.namespace)
    if not candidates:
        return validate.complain(arguments, "there is no AgentRun in the input")
    if seen is not None and len(candidates) > 1:
        return validate.complain(arguments, f"--set-status-of is for one AgentRun; the input holds {len(candidates)}")
    made = [(candidate, _objects(candidate, around, seen, arguments)) for candidate in candidates]
    rendered = [(candidate, objects) for candidate, objects in made if objects]
    documents.write(sys.stdout, _as_json(rendered) if arguments.output == "json" else _as_yaml(rendered))
    if rendered and not arguments.show_secrets:
        _note("the Secrets' values are masked; --show-secrets prints them")
    return 0 if len(rendered) == len(made) else validate.EXIT_INVALID


def _objects(
    candidate: validate.Candidate,
    around: validate.Surroundings,
    seen: sighting.Sighting | None,
    arguments: argparse.Namespace,
) -> list[Mapping[str, Any]]:
    """What to print for one run; none if it cannot be rendered, which stderr then explains."""
    problems = list(candidate.problems)
    objects: list[Mapping[str, Any]] = []
    if not problems:
        run = models.AgentRun.parse(candidate.body)
        try:
            made = around.build(run, _template(run, around))
            objects = [made.secret if arguments.show_secrets else _masked(made.secret), made.job]
            if seen is not None:
                objects.append(_with_status(candidate, run, made.job, seen=seen, around=around))
            if run.spec.run_id is None and run.metadata.uid == validate.NO_UID:
                _note(
                    candidate.line(
                        f"spec.runId is not set, so the UID decides the names; {validate.NO_UID} stands for it"
                    )
                )
        except errors.InvalidRunError as e:
            problems = [validate.problem_of(e)]
    for problem in problems:
        documents.write(sys.stderr, candidate.line(problem))
    return objects


def _template(run: models.AgentRun, around: validate.Surroundings) -> manifest.Template:
    reference = manifest.prompt_reference(run)
    if reference is None:
        return manifest.read_template(run)
    template = validate.read_template(run, around.objects)
    if template is not None:
        return template
    kind, path, ref = reference
    namespace = run.metadata.namespace
    raise errors.InvalidRunError(
        errors.ErrorCode.PROMPT_INVALID,
        f"{path}: {kind} {ref.name} of namespace {namespace} is not in the input; add it with another -f, for example "
        f"from kubectl get {kind.lower()} {ref.name} -n {namespace} -o yaml.",
    )


def _masked(secret: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: f"*** {len(base64.b64decode(value)):,} bytes ***" for key, value in secret["data"].items()}
    return {**secret, "data": values}


# ---------------------------------------------------------------------------------------------------------- status


def _with_status(
    candidate: validate.Candidate,
    run: models.AgentRun,
    rendered: Mapping[str, Any],
    *,
    seen: sighting.Sighting,
    around: validate.Surroundings,
) -> dict[str, Any]:
    """The AgentRun, without its spec, as the operator would leave it when it sees what was seen."""
    moment = now()
    job = facts.parse_job(_as_it_runs(rendered, seen, moment))
    pod = dataclasses.replace(facts.parse_pod(seen.pod), job_uid=job.uid) if seen.pod is not None else None
    plan = status.plan(
        run,
        status.Observed(
            now=moment,
            job=job,
            pod=pod,
            log=status.LogSeen(followed=bool(around.config.data_path), drained=True),
        ),
        around.config,
    )
    _note(candidate.line(f"with this pod the operator would {_NEXT[plan.action]}"))
    body = candidate.body
    metadata = {key: body["metadata"][key] for key in ("name", "namespace", "uid")}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata, "status": plan.write or {}}


def _as_it_runs(rendered: Mapping[str, Any], seen: sighting.Sighting, moment: datetime.datetime) -> dict[str, Any]:
    """The rendered Job with what a cluster has added to it: that of the Job that was seen, or else what must be."""
    meta = seen.job.get("metadata") or {}
    held = (meta.get("annotations") or {}).get(names.ANNOTATION_HELD)
    annotations = {k: v for k, v in rendered["metadata"]["annotations"].items() if k != names.ANNOTATION_HELD}
    return {
        **rendered,
        "metadata": {
            **rendered["metadata"],
            "annotations": {**annotations, **({names.ANNOTATION_HELD: held} if held else {})},
            "uid": _NO_JOB_UID,
            "creationTimestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **{key: meta[key] for key in ("uid", "creationTimestamp", "deletionTimestamp") if meta.get(key)},
        },
        # The operator, or its queue, has let the Job go, or there would be no pod.
        "spec": {**rendered["spec"], "suspend": (seen.job.get("spec") or {}).get("suspend") is True},
        "status": seen.job_status,
    }


# ---------------------------------------------------------------------------------------------------------- output


_Rendered = Sequence[tuple[validate.Candidate, Sequence[Mapping[str, Any]]]]


def _as_json(rendered: _Rendered) -> str:
    items = [body for _, objects in rendered for body in objects]
    return documents.to_json({"apiVersion": "v1", "kind": "List", "items": items})


def _as_yaml(rendered: _Rendered) -> str:
    texts = []
    for candidate, objects in rendered:
        first, *others = [documents.to_yaml(body) for body in objects]
        whose = candidate.line(f"AgentRun of namespace {candidate.namespace}")
        texts += [f"# {whose}{first}", *others]
    return "---\n".join(texts)


def _note(text: str) -> None:
    documents.tell(f"agentrun render: note: {text.rstrip()}")
