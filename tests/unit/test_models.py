"""The AgentRun API as types: defaults, bounds, names on the wire, and the sentence for what does not validate."""

import json
from typing import Any

import pydantic
import pytest

from agentrun_operator import errors, models
from tests import builders


def parse(**spec: Any) -> models.AgentRun:
    """An AgentRun with these fields of its spec."""
    return models.AgentRun.parse(builders.agent_run(**spec))


def refusal(body: dict[str, Any]) -> str:
    """The sentence that a body is refused with."""
    with pytest.raises(errors.InvalidRunError) as caught:
        models.AgentRun.parse(body)
    assert caught.value.code == "adapter_failed"
    return str(caught.value)


def test_the_smallest_object_gets_the_documented_defaults() -> None:
    """They are those of the API's description, whatever the API server filled in."""
    spec = parse(runId=None).spec
    assert spec.claude == models.Claude(max_turns=1000, skip_permissions=True)
    assert (spec.claude.model, spec.claude.effort, spec.claude.max_retries) == (None, None, None)
    assert spec.timeouts == models.Timeouts(timeout_seconds=0, pending_seconds=600, result_grace_seconds=30)
    assert spec.retention == models.Retention(job_ttl_seconds_after_finished=300, retain_job=False)
    assert spec.job.image_pull_policy == "IfNotPresent"
    assert (spec.cancel, spec.session, spec.task_id) == (False, None, None)


def test_the_run_id_is_the_uid_if_there_is_none() -> None:
    """Every run has one."""
    assert parse(runId="r").run_id == "r"
    assert parse(runId=None).run_id == builders.RUN_UID


def test_the_agent_key_names_namespace_company_and_agent() -> None:
    """The same agent id in another company is another agent."""
    assert parse(companyId="acme", agent="coder").agent_key == "team-a/acme/coder"


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"claude": {"maxBudgetUSD": "2.50"}}, "2.50"),
        ({"claude": {"maxBudgetUSD": "0"}}, "0"),
        ({"claude": {"maxBudgetUSD": "999999999.999999"}}, "999999999.999999"),
    ],
)
def test_a_budget_stays_the_decimal_that_was_written(wire: dict[str, Any], expected: str) -> None:
    """A float would round it."""
    assert parse(**wire).spec.claude.max_budget_usd == expected


LONG = "a" * 63


@pytest.mark.parametrize(
    "spec",
    [
        {"companyId": LONG, "agent": LONG, "runId": LONG, "taskId": LONG},
        {"companyId": "-", "agent": "A-1", "runId": "0"},
        {"agent": {"id": "a", "name": "é" * 253}},
        {"session": {"id": "a" * 128, "cwd": "/" + "a" * 4095}},
        {"claude": {"model": "us.anthropic.claude-sonnet-4-5@20250929[1m]:0/x_y", "effort": "xhigh"}},
        {"claude": {"maxTurns": 1, "maxRetries": 0, "apiTimeoutSeconds": 1}},
        {"claude": {"maxTurns": 100_000, "maxRetries": 100, "apiTimeoutSeconds": 86_400}},
        {"timeouts": {"timeoutSeconds": 31_536_000, "pendingSeconds": 1, "resultGraceSeconds": 86_400}},
        {"retention": {"jobTTLSecondsAfterFinished": 0}},
        {"job": {"env": [{"name": f"N{n}"} for n in range(256)], "workingDir": "/"}},
        {"prompt": "a"},
        {"prompt": "a" * 1_048_576},
        {"somethingNew": {"of": "a later version"}},
    ],
    ids=lambda spec: "+".join(spec),
)
def test_values_at_the_bounds_are_accepted(spec: dict[str, Any]) -> None:
    """And fields of a later version are left alone."""
    parse(**spec)


@pytest.mark.parametrize(
    ("where", "spec"),
    [
        ("spec.companyId", {"companyId": None}),
        ("spec.companyId", {"companyId": ""}),
        ("spec.companyId", {"companyId": "a" * 64}),
        ("spec.companyId", {"companyId": "a/b"}),
        ("spec.companyId", {"companyId": "a\n"}),
        ("spec.companyId", {"companyId": "é"}),
        ("spec.agent.id", {"agent": ".."}),
        ("spec.agent.id", {"agent": {}}),
        ("spec.agent.name", {"agent": {"id": "a", "name": "a" * 254}}),
        ("spec.runId", {"runId": "a_b"}),
        ("spec.taskId", {"taskId": "a b"}),
        ("spec.session.id", {"session": {"id": "--help"}}),
        ("spec.session.id", {"session": {"id": "a" * 129}}),
        ("spec.session.cwd", {"session": {"id": "a", "cwd": "x"}}),
        ("spec.session.cwd", {"session": {"id": "a", "cwd": "/x\0"}}),
        ("spec.session.cwd", {"session": {"id": "a", "cwd": "/" + "a" * 4096}}),
        ("spec.prompt.text", {"prompt": ""}),
        ("spec.prompt.text", {"prompt": "a" * 1_048_577}),
        ("spec.prompt.text", {"prompt": "\ud800"}),
        ("spec.claude.model", {"claude": {"model": "--help"}}),
        ("spec.claude.model", {"claude": {"model": "a b"}}),
        ("spec.claude.effort", {"claude": {"effort": "most"}}),
        ("spec.claude.maxTurns", {"claude": {"maxTurns": 0}}),
        ("spec.claude.maxTurns", {"claude": {"maxTurns": 100_001}}),
        ("spec.claude.maxBudgetUSD", {"claude": {"maxBudgetUSD": "-1"}}),
        ("spec.claude.maxBudgetUSD", {"claude": {"maxBudgetUSD": "1e3"}}),
        ("spec.claude.maxBudgetUSD", {"claude": {"maxBudgetUSD": ".5"}}),
        ("spec.claude.maxBudgetUSD", {"claude": {"maxBudgetUSD": 2.5}}),
        ("spec.claude.maxRetries", {"claude": {"maxRetries": -1}}),
        ("spec.claude.apiTimeoutSeconds", {"claude": {"apiTimeoutSeconds": 0}}),
        ("spec.timeouts.pendingSeconds", {"timeouts": {"pendingSeconds": 0}}),
        ("spec.timeouts.timeoutSeconds", {"timeouts": {"timeoutSeconds": -1}}),
        ("spec.retention.jobTTLSecondsAfterFinished", {"retention": {"jobTTLSecondsAfterFinished": -1}}),
        ("spec.job.image", {"job": {"image": ""}}),
        ("spec.job.imagePullPolicy", {"job": {"imagePullPolicy": "Sometimes"}}),
        ("spec.job.workingDir", {"job": {"workingDir": "relative"}}),
        ("spec.job.env", {"job": {"env": [{}] * 257}}),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name_on_the_wire(where: str, spec: dict[str, Any]) -> None:
    """And the sentence says what to do, for it means that the CRD is another version's."""
    sentence = refusal(builders.agent_run(**spec))
    assert sentence.startswith(f"{where}: ")
    assert "install the CRD of this operator's version" in sentence


@pytest.mark.parametrize("field", ["metadata", "spec"])
def test_an_object_without_its_parts_is_refused(field: str) -> None:
    """It is named, not a KeyError."""
    body = builders.agent_run()
    del body[field]
    assert refusal(body).startswith(f"{field}: ")


def test_no_refusal_holds_a_word_of_the_prompt() -> None:
    """Neither its text, which users of the status read, nor its cause, which is logged."""
    body = builders.agent_run(prompt={"text": ["the secret plan"]})
    with pytest.raises(errors.InvalidRunError) as caught:
        models.AgentRun.parse(body)
    assert "secret plan" not in str(caught.value)
    assert isinstance(caught.value.__cause__, pydantic.ValidationError)
    assert "secret plan" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("phase", "final"),
    [
        (None, False),
        ("Pending", False),
        ("Queued", False),
        ("Running", False),
        ("Succeeded", True),
        ("Failed", True),
        ("Cancelled", True),
    ],
)
def test_a_run_is_final_in_three_phases(phase: str | None, *, final: bool) -> None:
    """A run without a phase has not been looked at yet."""
    body = builders.agent_run(status={"phase": phase} if phase else None)
    assert models.AgentRun.parse(body).is_final is final


@pytest.mark.parametrize(
    ("cancel", "deleting", "expected"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_a_run_is_to_stop_if_cancelled_or_deleted(*, cancel: bool, deleting: bool, expected: bool) -> None:
    """Nothing else in the object asks for its end."""
    body = builders.agent_run(cancel=cancel, deleting=deleting)
    assert models.AgentRun.parse(body).stop_wanted is expected


def test_a_status_keeps_its_names_on_the_wire() -> None:
    """What was written is read again, in the API's own spelling."""
    status = {
        "phase": "Failed",
        "costUSD": "0.25",
        "promptSecretName": "s",
        "usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadTokens": 3, "cacheCreationTokens": 4},
        "exit": {"code": 137, "oomKilled": True, "stderrTail": "…"},
        "error": {"code": "k8s_oom_killed", "message": "m"},
    }
    parsed = models.AgentRun.parse(builders.agent_run(status=status)).status
    written = json.loads(parsed.model_dump_json(by_alias=True, exclude_unset=True))
    assert written == status


def test_models_cannot_be_changed() -> None:
    """They are shared between the steps of a run."""
    run = parse()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(run.spec, "cancel", True)  # noqa: B010 - mypy knows that it fails
