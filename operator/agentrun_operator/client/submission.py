"""What a run is when it is submitted: its object, its name, and whether one that is there already is the same.

Pure: it contacts nothing. Of what differs only the names of fields are told, for a value may be a prompt.
"""

from collections.abc import Mapping
from typing import Any

from agentrun_operator import models, names
from agentrun_operator.client import faults

Spec = models.AgentRunSpec | Mapping[str, Any]

_MAY_CHANGE = frozenset({"cancel", "suspend", "retention"})
_NO_UID = "00000000-0000-4000-8000-000000000000"


def build_run(spec: Spec, *, namespace: str, name: str) -> dict[str, Any]:
    """The AgentRun as JSON. ``spec`` is a model, or a mapping with the names on the wire. Raises InvalidSpecError."""
    given = to_json(spec) if isinstance(spec, models.AgentRunSpec) else dict(spec)
    body = {
        "apiVersion": models.AgentRun.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": given,
    }
    problems = models.problems({**body, "metadata": {**body["metadata"], "uid": _NO_UID}})  # type: ignore[dict-item]
    if problems:
        raise faults.InvalidSpecError("; ".join(problems))
    return body


def to_json(spec: models.AgentRunSpec) -> dict[str, Any]:
    """What of ``spec`` was given, as JSON; its defaults are the API server's business."""
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


def name_of(spec: Spec) -> str | None:
    """The name that belongs to the run's id; None if it has no id."""
    if isinstance(spec, models.AgentRunSpec):
        return _name(spec.company_id, spec.agent.id, spec.run_id)
    return _name(str(spec.get("companyId")), str((spec.get("agent") or {}).get("id")), spec.get("runId"))


def _name(company: str, agent: str, run: str | None) -> str | None:
    return names.run_name(company_id=company, agent_id=agent, run_id=run) if run else None


def differences(wanted: Mapping[str, Any], there: models.AgentRun) -> list[str]:
    """The fields of ``spec``, by their names on the wire, in which ``there`` is not the run that is ``wanted``.

    What may change after creation does not count, nor does what was left out and has its default.
    """
    mine = models.AgentRunSpec.model_validate(wanted["spec"])
    fields = {name: field.alias or name for name, field in models.AgentRunSpec.model_fields.items()}
    return [
        f"spec.{wire}"
        for name, wire in fields.items()
        if wire not in _MAY_CHANGE and getattr(mine, name) != getattr(there.spec, name)
    ]


def session_after(run: models.AgentRun) -> models.Session | None:
    """The session that the agent's next run continues; None: it has to begin a new one.

    That is so if the run says that its session must not be resumed (``status.session.clear``), or knows of none. A run
    that never came to its agent leaves the session as it was that it was to continue.
    """
    session = run.status.session
    if session is not None and session.clear:
        return None
    if session is None or session.id is None:
        return run.spec.session
    return models.Session.resume(session.id, session.cwd)


def build_retry(run: models.AgentRun, *, run_id: str | None, resume: bool) -> models.AgentRunSpec:
    """The spec of a run that does the same again; with ``resume`` in the session in which that one ended.

    It is not cancelled, not suspended, and has the ``run_id`` given: an id belongs to one run.
    """
    session = session_after(run) if resume else None
    given = {k: v for k, v in to_json(run.spec).items() if k not in {"runId", "session", "cancel", "suspend"}}
    if run_id is not None:
        given["runId"] = run_id
    if session is not None:
        given["session"] = session.model_dump(mode="json", by_alias=True, exclude_none=True)
    return models.AgentRunSpec.model_validate(given)
