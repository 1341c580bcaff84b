"""The AgentRun API as types: defaults, bounds, names on the wire, and the sentence for what does not validate."""

import gc
import json
import weakref
from collections.abc import Mapping
from typing import Any

import pydantic
import pytest

from agentrun_operator import errors, models
from hack.generate import crd
from tests import api_matrix, builders

SPEC: Mapping[str, Any] = crd.build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
WITH_A_SENTENCE = {
    rule["message"]
    for _, node in api_matrix.nodes(SPEC)
    for rule in node.get("x-kubernetes-validations", ())
    if "oldSelf" not in rule["rule"]
}


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
    assert (spec.claude.config_dir, spec.claude.extra_args) == ("PerAgent", ())
    assert spec.timeouts == models.Timeouts(
        timeout_seconds=0, grace_seconds=60, pending_seconds=600, stall_seconds=0, result_grace_seconds=30
    )
    assert spec.retention == models.Retention(job_ttl_seconds_after_finished=300, retain_job=False)
    assert spec.retention.log == "WithRun"
    assert spec.retention.run_ttl_seconds_after_succeeded is spec.retention.run_ttl_seconds_after_failed is None
    assert spec.retry == models.Retry(limit=0, on=(), backoff_seconds=30, resume_session=True)
    assert (spec.job.image_pull_policy, spec.job.inherit_from_operator) == ("IfNotPresent", True)
    assert (spec.concurrency_policy, spec.priority, spec.reattach) == ("Queue", 0, True)
    assert (spec.cancel, spec.suspend, spec.session, spec.task_id) == (False, False, None, None)


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


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", api_matrix.ACCEPTED, ids=lambda row: row.label)
def test_what_the_models_let_in(row: api_matrix.Row) -> None:
    """All that the API server lets in, as test_crd.py proves; and there is nothing to say about it."""
    body = row.build()
    models.AgentRun.parse(body)
    assert models.problems(body) == []


@pytest.mark.parametrize("row", api_matrix.REFUSED, ids=lambda row: row.label)
def test_what_the_models_refuse(row: api_matrix.Row) -> None:
    """All that the API server refuses: by the field's name on the wire, with the rule's own sentence if it has one."""
    body = row.build()
    if not row.models_agree:
        models.AgentRun.parse(body)  # an operator lives beside objects of a later version
        assert models.problems(body) == [f"{row.field}: there is no such field"]
        return
    sentence = refusal(body)
    assert sentence.startswith(f"{row.field}: ")
    assert "install the CRD of this operator's version" in sentence
    [problem, *_] = models.problems(body)
    assert problem == sentence.partition(". The API server should")[0]
    if row.value != "":  # an id of no letters is too short before it is anything else
        told = [part for part in row.says if part in WITH_A_SENTENCE]
        assert problem.partition(": ")[2] in (told or [problem.partition(": ")[2]])


def test_no_row_stands_twice() -> None:
    """A table that repeats itself hides what it lacks."""
    labels = [row.label for row in api_matrix.ROWS]
    assert sorted(labels) == sorted(set(labels))
    assert len(labels) >= 250


def test_every_rule_has_its_refusal() -> None:
    """Whoever adds a rule adds a row that breaks it."""
    described = {"default", "description", "properties", "items", "additionalProperties", "required"}
    marks = {"x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type"}
    strange = {path for path, node in api_matrix.nodes(SPEC) if set(node) - set(api_matrix.PHRASES) - described - marks}
    assert strange == set(), "there is a kind of rule that no row can break"
    assert len(list(api_matrix.rules(SPEC))) > 150

    assert api_matrix.untried(SPEC) == []


def test_every_field_is_let_in_once() -> None:
    """Whoever adds a field adds a row that uses it."""
    assert api_matrix.unused(SPEC) == set()


def test_a_rule_without_its_refusal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the table bites for every single rule, and so does the one for fields."""
    rows = api_matrix.REFUSED
    for path, sentence in api_matrix.rules(SPEC):
        left = [row for row in rows if row.schema_path != path or not any(sentence in part for part in row.says)]
        monkeypatch.setattr(api_matrix, "REFUSED", left)
        assert (path, sentence) in api_matrix.untried(SPEC)
    monkeypatch.setattr(api_matrix, "ACCEPTED", [row for row in api_matrix.ACCEPTED if row.path != "job.env.name"])
    assert api_matrix.unused(SPEC) == {"job.env.name"}


# --- whole objects --------------------------------------------------------------------------------------------------


def test_half_a_character_is_refused() -> None:
    """A lone surrogate has no UTF-8; from the API server it comes as U+FFFD."""
    assert refusal(builders.agent_run(prompt="\ud800")).startswith("spec.prompt.text: ")


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
        ("Suspended", False),
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


def test_models_that_are_kept_share_what_is_equal() -> None:
    """Whatever they say stays as it is, and so does what is made of them."""
    claude = {"maxTurns": 7, "maxRetries": 1}
    one, other, third = (parse(claude=claude), parse(claude=claude), parse(claude={"maxTurns": 8}))
    plain = [item.model_dump() for item in (one, other, third)]
    assert one.spec.claude is not other.spec.claude
    for item in (one, other, third):
        assert models.share(item) is item
    assert [item.model_dump() for item in (one, other, third)] == plain
    assert one == other
    assert one.spec.claude is other.spec.claude is not third.spec.claude
    changed = one.model_copy(update={"spec": third.spec})
    assert (changed.spec.claude.max_turns, one.spec.claude.max_turns, one.model_fields_set) == (8, 7, set())


def test_what_is_shared_goes_with_those_that_share_it() -> None:
    """A prompt is not kept for the sake of those to come."""
    one = models.share(parse(prompt={"text": "Once only."}))
    gone = weakref.ref(one.spec.prompt)
    assert models.share(parse(prompt={"text": "Once only."})).spec.prompt is one.spec.prompt
    del one
    gc.collect()
    assert gone() is None
