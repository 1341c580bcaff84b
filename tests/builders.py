"""Bodies of AgentRun, Job and Pod as the API server would give them, for tests of whatever reads them.

Three functions, one per kind; each returns a fresh JSON body that is valid and complete enough to be parsed. What a
test is about it names, everything else has a sensible value: ``agent_run(cancel=True)``, ``job(run, deleting=True)``,
``pod(job, phase="Failed", main=terminated(exit_code=137))``. A Job that is given its run, and a Pod that is given its
Job, get the names, labels and owners that the operator would give them.
"""

from collections.abc import Mapping
from typing import Any

from agentrun_operator import names

RUN_UID = "11111111-1111-4111-8111-111111111111"
JOB_UID = "22222222-2222-4222-8222-222222222222"
POD_UID = "33333333-3333-4333-8333-333333333333"
CREATED = "2026-01-02T03:04:05Z"

Body = dict[str, Any]


def agent_run(
    *,
    name: str = "fix-login",
    namespace: str = "team-a",
    uid: str = RUN_UID,
    deleting: bool = False,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Body:
    """An AgentRun; further keywords are fields of ``spec`` by their name on the wire, and None leaves a field out.

    Two shorthands, because nearly every test that sets a prompt or an agent sets only this much of it:
    ``prompt="text"`` stands for ``{"text": "text"}`` and ``agent="id"`` for ``{"id": "id"}``.
    """
    fields: Body = {"companyId": "acme", "agent": "coder", "runId": "run-1", "prompt": "Fix the login page.", **spec}
    for field, key in (("prompt", "text"), ("agent", "id")):
        if isinstance(fields[field], str):
            fields[field] = {key: fields[field]}
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": CREATED,
            **({"deletionTimestamp": CREATED} if deleting else {}),
        },
        "spec": {key: value for key, value in fields.items() if value is not None},
        **({"status": dict(status)} if status is not None else {}),
    }


def job(
    run: Mapping[str, Any] | None = None,
    *,
    uid: str = JOB_UID,
    deleting: bool = False,
    suspend: bool = False,
    start_time: str = "",
    conditions: Mapping[str, str | tuple[str, str]] | None = None,
    **metadata: Any,
) -> Body:
    """The Job of ``run`` (default: of ``agent_run()``); further keywords replace fields of its metadata.

    ``conditions`` maps a type that is True to its reason, or to reason and message:
    ``{"Failed": ("DeadlineExceeded", "Job was active longer than specified deadline")}``.
    """
    run = run or agent_run()
    meta, spec = run["metadata"], run["spec"]
    run_id = spec.get("runId") or meta["uid"]
    ids = {
        names.LABEL_COMPANY_ID: spec["companyId"],
        names.LABEL_AGENT_ID: spec["agent"]["id"],
        names.LABEL_RUN_ID: run_id,
        names.LABEL_TASK_ID: spec.get("taskId", ""),
    }
    log = names.log_path(
        root="/paperclip/instances/default/run-logs",
        company_id=spec["companyId"],
        agent_id=spec["agent"]["id"],
        run_id=run_id,
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.job_name(agent_id=spec["agent"]["id"], run_id=run_id),
            "namespace": meta["namespace"],
            "uid": uid,
            "creationTimestamp": CREATED,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY, **{k: v for k, v in ids.items() if v}},
            "annotations": {names.ANNOTATION_LOG_PATH: log},
            "ownerReferences": [_controlled_by(run)],
            **({"deletionTimestamp": CREATED} if deleting else {}),
            **metadata,
        },
        "spec": {"backoffLimit": 0, **({"suspend": True} if suspend else {})},
        "status": {"conditions": _conditions(conditions or {}), **({"startTime": start_time} if start_time else {})},
    }


def pod(
    owner: Mapping[str, Any] | None = None,
    *,
    uid: str = POD_UID,
    phase: str = "Running",
    node: str = "node-1",
    deleting: bool | str = False,
    main: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
    bundle: Mapping[str, Any] | None = None,
    conditions: Mapping[str, str | tuple[str, str]] | None = None,
    false_conditions: Mapping[str, str | tuple[str, str]] | None = None,
    **status: Any,
) -> Body:
    """The Pod of the Job ``owner`` (default: of ``job()``); further keywords are fields of ``status``, say reason.

    ``deleting`` may be the time by which it should be gone. ``main``, ``init`` and ``bundle`` are states of the
    agent's, the preparing and the bundle's container, made by ``running()``, ``waiting(…)`` or ``terminated(…)``; left
    out, the container has no status yet. ``conditions`` are those that are True, as in ``job``; ``false_conditions``
    those that are False: ``{"PodScheduled": ("Unschedulable", "0/3 nodes are available")}``.
    """
    owner = owner or job()
    meta = owner["metadata"]
    containers = [_container("claude", main)] if main is not None else []
    states = {"prepare": init, "bundle": bundle}
    inits = [_container(name, state) for name, state in states.items() if state is not None]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{meta['name']}-x7k2p",
            "namespace": meta["namespace"],
            "uid": uid,
            "creationTimestamp": CREATED,
            "labels": dict(meta["labels"]),
            "ownerReferences": [_controlled_by(owner)],
            **({"deletionTimestamp": CREATED if deleting is True else deleting} if deleting else {}),
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": [*_conditions(conditions or {}), *_conditions(false_conditions or {}, status="False")],
            "containerStatuses": containers,
            "initContainerStatuses": inits,
            **status,
        },
    }


def waiting(reason: str = "ContainerCreating", message: str = "") -> Body:
    """State of a container that has not started: ``ErrImagePull``, ``CreateContainerConfigError`` and so on."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def running(*, started_at: str = CREATED) -> Body:
    """State of a container whose process runs."""
    return {"running": {"startedAt": started_at}}


def terminated(*, exit_code: int = 0, reason: str = "", finished_at: str = CREATED, **fields: Any) -> Body:
    """State of a container that ended; ``fields`` are signal, message and startedAt by their name on the wire."""
    word = reason or ("Error" if exit_code else "Completed")
    return {"terminated": {"exitCode": exit_code, "reason": word, "finishedAt": finished_at, **fields}}


def _controlled_by(owner: Mapping[str, Any]) -> Body:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def _container(name: str, state: Mapping[str, Any]) -> Body:
    return {"name": name, "state": dict(state)}


def _conditions(given: Mapping[str, str | tuple[str, str]], *, status: str = "True") -> list[Body]:
    pairs = {kind: (why, "") if isinstance(why, str) else why for kind, why in given.items()}
    return [
        {"type": kind, "status": status, "reason": reason, **({"message": message} if message else {})}
        for kind, (reason, message) in pairs.items()
    ]
