"""The trace of an attempt: on what it spent its time, told when it has ended, from the two statuses around its end.

Everything comes from the status and the ids from the run's uid and the attempt's number: so it makes no difference
which operator saw which part, and who tells it twice tells the same. A stage lasts until the next one of which a time
is known; times are whole seconds. There is no text of an agent, a user or a provider in a span: of an error the code.
"""

import dataclasses
import datetime
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from agentrun_operator import models, names, shapes
from agentrun_operator.status import conditions, spending

Body = Mapping[str, Any]
Value = str | int | float

_FINAL = frozenset(phase for phase in models.Phase if phase.final)
_LONGEST = 256  # characters of a value: a model's name is what the CLI says it is
_TOKENS = {
    "inputTokens": "input",
    "outputTokens": "output",
    "cacheReadTokens": "cache_read",
    "cacheCreationTokens": "cache_creation",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span. Ids are hex digits; ``parent_id`` is "" for the one around the others, which comes first.

    ``error`` is the code if it failed here ("" = it did not). ``link`` is trace and span of the attempt before.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    start: datetime.datetime
    end: datetime.datetime
    error: str = ""
    attributes: Mapping[str, Value]
    link: tuple[str, str] | None = None


def between(body: Body, before: Body, after: Body) -> list[Span]:
    """The spans of the attempt of an AgentRun (as JSON, be it malformed) that ended between two of its statuses."""
    ended = _ended(before, after)
    return list(_spans(body, ended)) if ended else []


def _ended(before: Body, after: Body) -> Body | None:
    """The status with which an attempt ended, None if none did."""
    if _is_final(after):
        return None if _is_final(before) else after
    tried = shapes.objects(after.get("previousAttempts"))
    if len(tried) <= len(shapes.sequence(before.get("previousAttempts"))):
        return None
    # What the next attempt has of this one is an entry; the rest is what was last on record of it.
    entry = tried[-1]
    kept = {key: value for key, value in entry.items() if key not in {"usage", "costUSD", "code", "message"}}
    totals = {key: after[key] for key in ("usage", "costUSD", "model", "session") if key in after}
    return {
        **before,
        **kept,
        **totals,
        "previousAttempts": tried[:-1],
        "phase": models.Phase.FAILED.value,
        "error": {"code": entry.get("code")},
        "exit": shapes.present(code=entry.get("exitCode")),
    }


def _spans(body: Body, status: Body) -> Iterator[Span]:
    meta = shapes.mapping(body.get("metadata"))
    uid, attempt = shapes.text(meta.get("uid")), shapes.number(status.get("attempt")) or 0
    end = _moment(status.get("completionTime"))
    if end is None:
        return
    before = shapes.objects(status.get("previousAttempts"))[-1:]
    created = before[0].get("completionTime") if before else meta.get("creationTimestamp")
    stages = _stages(_moment(created), status, end)
    failed = status.get("phase") == models.Phase.FAILED
    code = shapes.text(shapes.mapping(status.get("error")).get("code"))
    whose = _whose(body, attempt)
    trace, root = names.trace_id(uid, attempt), names.span_id(uid, attempt, names.SPAN_ATTEMPT)
    yield Span(
        name=names.SPAN_ATTEMPT,
        trace_id=trace,
        span_id=root,
        start=stages[0][1],
        end=stages[-1][2],
        error=code if failed else "",
        attributes={**whose, **_outcome(status, code)},
        link=_attempt_before(uid, attempt),
    )
    guilty = next(stage for stage, *_ in reversed(stages) if stage != names.SPAN_FINISHING)
    for stage, start, until in stages:
        yield Span(
            name=stage,
            trace_id=trace,
            span_id=names.span_id(uid, attempt, stage),
            parent_id=root,
            start=start,
            end=until,
            error=code if failed and stage == guilty else "",
            attributes=whose,
        )


def _stages(
    created: datetime.datetime | None, status: Body, end: datetime.datetime
) -> list[tuple[str, datetime.datetime, datetime.datetime]]:
    """Name, start and end of each stage that was reached; the first is always there, and none is out of order.

    An adopted Job is older than its AgentRun, and clocks differ: a stage begins where the one before it did, or later.
    """
    noted = conditions.find(status, models.ConditionType.JOB_CREATED) or {}
    begun = {
        names.SPAN_QUEUED: created or end,
        names.SPAN_STARTING: _moment(status.get("startTime")),
        names.SPAN_PENDING: _moment(noted.get("lastTransitionTime")) if noted.get("status") == "True" else None,
        names.SPAN_RUNNING: _moment(status.get("runningTime")),
        names.SPAN_FINISHING: _moment(shapes.mapping(status.get("exit")).get("finishedAt")),
    }
    known = [(stage, moment) for stage, moment in begun.items() if moment is not None]
    starts = list(itertools.accumulate((moment for _, moment in known), max))
    last = max(end, starts[0])
    starts = [min(start, last) for start in starts]
    return [(stage, start, until) for (stage, _), start, until in zip(known, starts, [*starts[1:], last], strict=True)]


def _whose(body: Body, attempt: int) -> dict[str, Value]:
    """Whose span it is: under the names that the telemetry of the agent's CLI has, too."""
    meta, spec = shapes.mapping(body.get("metadata")), shapes.mapping(body.get("spec"))
    return _attributes(
        {
            "run.id": shapes.text(spec.get("runId")) or meta.get("uid"),
            "agent.id": shapes.text(shapes.mapping(spec.get("agent")).get("id")),
            "company.id": shapes.text(spec.get("companyId")),
            "agentrun.name": meta.get("name"),
            "k8s.namespace.name": meta.get("namespace"),
            "agentrun.attempt": attempt,
        }
    )


def _outcome(status: Body, code: str) -> dict[str, Value]:
    """What became of the attempt: tokens and cost are its own, not those of the whole run."""
    usage, cost = spending.last_usage(status) or {}, spending.last_cost(status)
    told = {
        "agentrun.phase": status.get("phase"),
        "error.type": code,
        "agentrun.exit_code": shapes.mapping(status.get("exit")).get("code"),
        "agentrun.model": status.get("model"),
        "agentrun.claude_version": status.get("claudeVersion"),
        "agentrun.turns": status.get("turns"),
        "agentrun.cost_usd": float(cost) if cost else None,
        "session.id": shapes.mapping(status.get("session")).get("id"),
        "k8s.job.name": status.get("jobName") or shapes.mapping(status.get("job")).get("name"),
        "k8s.pod.name": status.get("podName"),
        "k8s.node.name": status.get("nodeName"),
    }
    tokens = {f"agentrun.tokens.{kind}": usage[field] for field, kind in _TOKENS.items() if usage.get(field)}
    return _attributes({**told, **tokens})


def _attributes(values: Mapping[str, object]) -> dict[str, Value]:
    """The values that are there, cut at a length."""
    return {
        key: value[:_LONGEST] if isinstance(value, str) else value
        for key, value in values.items()
        if isinstance(value, str | int | float) and value != ""  # noqa: PLC1901 - 0 is a value
    }


def _attempt_before(uid: str, attempt: int) -> tuple[str, str] | None:
    if not attempt:
        return None
    return names.trace_id(uid, attempt - 1), names.span_id(uid, attempt - 1, names.SPAN_ATTEMPT)


def _is_final(status: Body) -> bool:
    return status.get("phase") in _FINAL


def _moment(text: object) -> datetime.datetime | None:
    """A time of the status; None if there is none, or none that can be read: no run fails for its trace."""
    try:
        moment = datetime.datetime.fromisoformat(shapes.text(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
