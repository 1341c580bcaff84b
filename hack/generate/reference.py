"""docs/api.md: the AgentRun API for users, made from the CRD and the models.

Types, defaults, bounds and rules are those of the CRD, so the page cannot promise what the API server does not hold.
What an object is about is taken from its model's docstring. Words of this file: the head, the phases, the conditions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentrun_operator import models
from agentrun_operator.models import base
from hack.generate import crd, examples

_FREE = "x-kubernetes-preserve-unknown-fields"
_RULES = base.VALIDATIONS
_FIXED = "cannot be changed after creation"
_MANY = 12  # an enumeration longer than this is told in words
_NO_NUL = base.NO_NUL[0]
# What is code in a sentence: options, variables, fields with their path, placeholders, and snake_case words.
_CODE = re.compile(
    r"(?<![\w`/])(--[a-z][a-z-]*|[A-Z]+(?:_[A-Z]+)+|[a-z0-9]+(?:_[a-z0-9]+)+"
    r"|(?:spec|status|wake)\.[\w.]*\w|\\?\{\{[\w.]*(?:\}\})?)"
)

_HEAD = """\
<!-- Generated from operator/agentrun_operator/models by `make generate`. Do not edit. -->
# The AgentRun API

One object is one run of one agent. You write `spec`, the operator writes `status`.

| | |
|---|---|
| apiVersion | `{api_version}` |
| kind | `{kind}`, namespaced |
| names for kubectl | `{plural}`, `{singular}`, short `{short}`; with `kubectl get {category}` they are listed too |
| full name | `{full}`: use it in scripts, because other projects have a kind of this name |

The cluster knows this page as well: `kubectl explain {full}.spec`, and so on at any depth:
`kubectl explain {full}.spec.claude.maxBudgetUSD`.

The API server checks every object against the types, bounds and rules below and refuses a wrong one with a sentence
that says what to change. A misspelt field is an error for `kubectl apply`; other clients may only get a warning. A
field that is `null` counts as left out. Lengths are counted in characters, durations in seconds. A *free object* is
taken as it is, whatever it holds: it is of a type of Kubernetes, or data of your own.

## Examples

The smallest run, where the operator's own settings name image and credentials:

```yaml
{minimal}```

A run with something of everything:

```yaml
{full_example}```
"""

_PHASES = {
    models.Phase.PENDING: "Accepted; the agent has not started yet. `status.message` says what it waits for.",
    models.Phase.QUEUED: "It waits for its turn: the agent has another live run, its Job's queue is full, or its "
    "credential has reached a usage limit.",
    models.Phase.SUSPENDED: "Held by `spec.suspend`, before its Job.",
    models.Phase.RUNNING: "The agent works.",
    models.Phase.SUCCEEDED: "The agent reported success and ended with exit code 0; or with none that says anything "
    "(see `CompletedThenStopped` and `CompletedUnseen` below).",
    models.Phase.FAILED: "It did not succeed; `status.error` says why, and [errors](errors.md) what to do.",
    models.Phase.CANCELLED: "It was stopped by `spec.cancel`, by its deletion, or by a run that replaced it.",
}
_REASONS = {
    models.Reason.AGENT_BUSY: "The agent has another live run; this one starts after it.",
    models.Reason.REPLACING: "The agent's other run is being cancelled to make room for this one.",
    models.Reason.SUSPENDED: "`spec.suspend` is set.",
    models.Reason.PROMPT_MISSING: "The Secret or ConfigMap with the prompt, or its key, is not there yet.",
    models.Reason.USAGE_LIMITED: "The credential has reached a usage limit; `status.nextAttemptTime` says until when.",
    models.Reason.RETRY_BACKOFF: "An attempt failed; the next one starts at `status.nextAttemptTime`.",
    models.Reason.JOB_SUSPENDED: "The Job waits for its queue to admit it.",
    models.Reason.STARTING: "The Job is there, and its pod on its way.",
    models.Reason.RUNNING: "The agent works.",
    models.Reason.FINISHING: "The agent has ended; the rest of its log is being read.",
    models.Reason.TERMINATING: "The pod is being stopped.",
    models.Reason.CANCELLING: "`spec.cancel` is set: the agent is being stopped.",
    models.Reason.DELETING: "The AgentRun is being deleted: the agent is being stopped first.",
    models.Reason.PREEMPTED: "Its Job was suspended after its start, by a queue for example; the run ends.",
    models.Reason.START_FAILED: "The pod cannot start; the Job is being removed.",
    models.Reason.STALLED: "The agent printed nothing for `spec.timeouts.stallSeconds` and is being stopped.",
    models.Reason.DEADLINE_EXCEEDED: "The agent worked for `spec.timeouts.timeoutSeconds` and is being stopped.",
    models.Reason.RESULT_GRACE_EXCEEDED: "The agent reported its result, but its process did not exit and is being "
    "stopped; the result decides.",
    models.Reason.COMPLETED: "The agent finished its work.",
    models.Reason.COMPLETED_THEN_STOPPED: "The agent finished its work, but the operator had to stop its process.",
    models.Reason.COMPLETED_UNSEEN: "The agent reported success; its pod was lost before anybody saw its exit code.",
    models.Reason.CANCELLED: "Cancelled by `spec.cancel`.",
    models.Reason.DELETED: "Cancelled because the AgentRun was deleted.",
    models.Reason.REPLACED: "Cancelled to make room for a newer run of the same agent.",
    models.Reason.UNREADABLE: "The object cannot be read; `status.message` says what is wrong with it.",
}
_CONDITIONS = {
    models.ConditionType.PROMPT_READY: "The Secret or ConfigMap with the prompt was found. Only for a prompt that is "
    "kept in one and was not there at first.",
    models.ConditionType.JOB_CREATED: "The Job is there. False: the reason says what the run waits for.",
    models.ConditionType.BUNDLE_READY: "Skills and instructions are on the volume. False: the message names what was "
    "left out, and why. Only for a run with `spec.bundle`.",
    models.ConditionType.POD_READY: "The agent's container runs. False: the reason says why not: Unschedulable, "
    "ErrImagePull and so on.",
    models.ConditionType.LOG_STREAMING: "The agent's log is being read from the shared volume.",
    models.ConditionType.STALLED: "The agent has printed nothing for long (`AGENTRUN_STALL_REPORT_SECONDS`). Only once "
    "it was so.",
    models.ConditionType.COMPLETED: "The run has ended. False: the reason says whether it is being stopped.",
}


_EVENTS = {
    models.EventReason.QUEUED: "The run waits for its agent, or its Job for a queue; the message says for what.",
    models.EventReason.JOB_CREATED: "The Job is there.",
    models.EventReason.REATTACHED: "The run went on with a Job that was at work already; its AgentRun is gone.",
    models.EventReason.POD_RUNNING: "The agent is at work.",
    models.EventReason.STALLED: "The agent has printed nothing for long.",
    models.EventReason.ATTEMPT_FAILED: "An attempt failed; the message says why, and when the next one starts.",
    models.EventReason.RUN_SUCCEEDED: "The agent finished its work.",
    models.EventReason.RUN_FAILED: "The message begins with the [error code](errors.md).",
    models.EventReason.CONCURRENCY_BLOCKED: "As `RunFailed`, because the agent was busy and the run was not to wait.",
    models.EventReason.LOG_MISSING: "As `RunFailed`, because there is no log of what the agent did.",
    models.EventReason.RUN_CANCELLED: "The run was stopped as somebody asked.",
}


def build_reference() -> str:
    """The whole page."""
    document = crd.build_crd()
    [version] = document["spec"]["versions"]
    parts = version["schema"]["openAPIV3Schema"]["properties"]
    blocks = [
        _head(document),
        *_sections("spec", parts["spec"], models.AgentRunSpec),
        *_sections("status", parts["status"], models.AgentRunStatus),
        "## Phases",
        _table(("Phase", "Final", "Meaning"), [(_code(p), "yes" if p.final else "", _PHASES[p]) for p in models.Phase]),
        "## Reasons",
        "`status.reason` says in a word why the run is in its phase, and `status.message` in a sentence. Beside those "
        "below there are Kubernetes' own words for why a pod does not start (`Unschedulable`, `ErrImagePull` and so "
        "on); and a run that failed has its [error code](errors.md), written like `OomKilled` for `k8s_oom_killed`.",
        _table(("Reason", "Meaning"), [(_code(reason), _REASONS[reason]) for reason in models.Reason]),
        "## Conditions",
        "Standard conditions in `status.conditions`, each with one reason and one sentence.",
        _table(("Type", "True means"), [(_code(kind), _CONDITIONS[kind]) for kind in models.ConditionType]),
        "## Events",
        "`kubectl describe` shows them under the object (`AGENTRUN_EVENTS=false` switches them off). They hold no "
        "prompt and no secret.",
        _table(
            ("Reason", "Type", "Meaning"),
            [(_code(r), "Warning" if r.is_warning else "Normal", _EVENTS[r]) for r in models.EventReason],
        ),
        "## What kubectl shows",
        "`kubectl get` has these columns, the second table's only with `-o wide`.",
        *(_columns(version["additionalPrinterColumns"], priority) for priority in (0, 1)),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _head(document: Mapping[str, Any]) -> str:
    called = document["spec"]["names"]
    return _HEAD.format(
        api_version=models.AgentRun.API_VERSION,
        kind=called["kind"],
        plural=called["plural"],
        singular=called["singular"],
        short=called["shortNames"][0],
        category=called["categories"][0],
        full=document["metadata"]["name"],
        minimal=examples.MINIMAL,
        full_example=examples.FULL,
    )


# --- one object ----------------------------------------------------------------------------------------------------


def _sections(path: str, node: Mapping[str, Any], model: type[base.Model]) -> Iterator[str]:
    """The object at ``path`` and below it all that its fields hold, each with a heading."""
    yield f"{'##' if '.' not in path else '###'} {path}"
    yield _about(node, model)
    yield from _changes(node)
    rows = [_row(path, name, field, required=name in node.get("required", ())) for name, field in _fields(node)]
    yield _table(("Field", "Type", "Default", "Bounds", "Description"), rows)
    rules = [f"- {_rule(rule['message'], node)}" for rule in node.get(_RULES, ()) if not _fixes(rule)]
    if rules:
        yield "\n".join(rules)
    for name, field in _fields(node):
        inner = field.get("items", field)
        if "properties" in inner:
            yield from _sections(
                f"{path}.{name}{_brackets(field)}", {**inner, **_described(field)}, _model(model, name)
            )


def _fields(node: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(node["properties"].items())


def _described(field: Mapping[str, Any]) -> dict[str, str]:
    return {"description": field["description"]}


def _model(model: type[base.Model], name: str) -> type[base.Model]:
    """The model of the field that is called ``name`` on the wire."""
    [field] = [field for key, field in model.model_fields.items() if (field.alias or key) == name]
    inner = base.model_in(field.annotation)
    if inner is None:
        raise LookupError(f"{name} has properties in the CRD and no model")
    return inner


def _about(node: Mapping[str, Any], model: type[base.Model]) -> str:
    """What the object is: the field's words, then the model's, unless they begin alike."""
    said, meant = node["description"], " ".join((model.__doc__ or "").split())
    return _marked(meant if meant.startswith(said.rstrip(".")) else f"{said} {meant}")


def _changes(node: Mapping[str, Any]) -> Iterator[str]:
    """Which fields may change, for an object that has rules about it."""
    free = [_code(name) for name, field in _fields(node) if not any(map(_fixes, field.get(_RULES, ())))]
    if len(free) < len(_fields(node)):
        yield (
            f"What may change after creation: {', '.join(free[:-1])} and {free[-1]}. Any other change is refused, also "
            "an addition or a removal: create a new AgentRun instead."
        )


def _fixes(rule: Mapping[str, str]) -> bool:
    """Whether the rule keeps a field from being changed."""
    return _FIXED in rule["message"]


def _row(path: str, name: str, field: Mapping[str, Any], *, required: bool) -> tuple[str, ...]:
    default = "required" if required else ""
    if "default" in field and field["default"] not in ({}, ""):
        default = _code(_word(field["default"]))
    return _code(name), _type(path, name, field), default, _bounds(field), _marked(field["description"])


def _word(value: object) -> str:
    """A default as one would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(path: str, name: str, field: Mapping[str, Any]) -> str:
    inner = field.get("items", field)
    many = "s" if "items" in field else ""
    kind = "time" if field.get("format") == "date-time" else f"{inner['type']}{many}"
    if "properties" in inner:
        kind = f"[object{many}](#{_anchor(f'{path}.{name}{_brackets(field)}')})"
    elif _FREE in inner:
        kind = f"free object{many}"
    elif "additionalProperties" in inner:
        kind = f"map of {inner['additionalProperties']['type']}s"
    return f"list of {kind}" if many else kind


def _brackets(field: Mapping[str, Any]) -> str:
    return "[]" if "items" in field else ""


def _anchor(heading: str) -> str:
    """What a forge makes of a heading."""
    return "".join(c for c in heading.lower() if c.isalnum() or c == "-")


# --- bounds and rules in words -------------------------------------------------------------------------------------


def _bounds(field: Mapping[str, Any]) -> str:
    said = []
    if "maxItems" in field:
        said.append(f"at most {field['maxItems']} items")
    if "x-kubernetes-list-map-keys" in field:
        said.append(f"each {' and '.join(map(_code, field['x-kubernetes-list-map-keys']))} once")
    if "maxProperties" in field:
        said.append(f"at most {field['maxProperties']} entries")
    for key, word in (("items", "each"), ("additionalProperties", "each value")):
        if isinstance(field.get(key), Mapping) and (inner := _of_value(field[key])):
            said.append(f"{word}: {inner}")
    return "; ".join([*said, *filter(None, [_of_value(field)])])


def _of_value(field: Mapping[str, Any]) -> str:
    """The bounds of one text or number."""
    said = []
    if "enum" in field:
        values = field["enum"]
        said.append(", ".join(map(_code, values)) if len(values) <= _MANY else "a code of [errors](errors.md)")
    if "minimum" in field:
        least, most = field["minimum"], field.get("maximum")
        said.append(f"{least:,} to {most:,}" if most is not None else f"{least:,} or more")
    if "maxLength" in field:
        least = f"{field['minLength']} to " if "minLength" in field else "at most "
        said.append(f"{least}{field['maxLength']:,} characters")
    if field.get("pattern") == _NO_NUL:
        said.append("no NUL character")
    elif "properties" not in field:
        said += [_short(rule["message"]) for rule in field.get(_RULES, ()) if not _fixes(rule)]
    return "; ".join(said)


def _short(message: str) -> str:
    """The message as a noun or a clause, without the reason why."""
    return message.removeprefix("must be ").partition(", because")[0]


def _rule(message: str, node: Mapping[str, Any]) -> str:
    """The message as a sentence, with the names of fields as code."""
    names = "|".join(name for name, _ in _fields(node))
    told = re.sub(rf"(?<![\w./`-])({names})(?![\w/`-])", r"`\1`", _marked(message))
    return f"{told[0].upper()}{told[1:].rstrip('.')}."


# --- Markdown ------------------------------------------------------------------------------------------------------


def _code(text: str) -> str:
    return f"`{text}`"


def _marked(text: str) -> str:
    """A sentence in which what is code is marked as code, and the page it names is a link."""
    return _CODE.sub(r"`\1`", text).replace("docs/errors.md", "[docs/errors.md](errors.md)")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def _columns(columns: list[Mapping[str, Any]], priority: int) -> str:
    shown = [column for column in columns if column.get("priority", 0) == priority]
    return _table(("Column", "Shows"), [(c["name"], _code(c["jsonPath"].removeprefix("."))) for c in shown])
