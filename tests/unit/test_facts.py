"""From Job and Pod objects to frozen facts: complete objects, poor ones, and any JSON at all."""

import dataclasses
import json
import typing
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import facts, names
from tests import builders

KEYS = st.sampled_from(
    """metadata spec status name namespace uid labels annotations ownerReferences controller phase conditions type
    containerStatuses initContainerStatuses state running waiting terminated exitCode signal reason message startedAt
    finishedAt creationTimestamp deletionTimestamp nodeName""".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)
CONTAINERS = st.lists(st.fixed_dictionaries({"state": st.fixed_dictionaries({"terminated": OBJECTS})}), max_size=2)


def test_a_job_gives_its_facts() -> None:
    """All that decisions need, and nothing else."""
    run = builders.agent_run(agent="coder", companyId="acme")
    body = builders.job(run, conditions={"Failed": ("DeadlineExceeded", "too long")}, deleting=True)
    assert facts.parse_job(body) == facts.JobFacts(
        name=body["metadata"]["name"],
        namespace="team-a",
        uid=builders.JOB_UID,
        owner_uid=builders.RUN_UID,
        owner_name="fix-login",
        agent_key="team-a/acme/coder",
        log_path="/paperclip/instances/default/run-logs/acme/coder/run-1.pod.ndjson",
        created_at=builders.CREATED,
        deleting=True,
        conditions=(facts.Condition(type="Failed", status="True", reason="DeadlineExceeded", message="too long"),),
    )


def test_a_job_says_whether_and_since_when_it_may_run() -> None:
    """A queue holds a Job by suspending it; its clock starts when it is let go."""
    held = facts.parse_job(builders.job(suspend=True))
    assert (held.suspended, held.started_at) == (True, "")
    let_go = facts.parse_job(builders.job(start_time=builders.CREATED))
    assert (let_go.suspended, let_go.started_at) == (False, builders.CREATED)


def test_a_job_says_whose_work_it_is_and_whether_it_waits_at_the_gate() -> None:
    """All that the guard, an adoption and a further attempt go by."""
    labels = {names.LABEL_TASK_ID: "T-1", names.LABEL_SESSION_ID: "s-1", names.LABEL_ATTEMPT: "2"}
    annotations = {
        names.ANNOTATION_RUN: "fix-login",
        names.ANNOTATION_HELD: "true",
        names.ANNOTATION_REATTACHED_FROM: "lost",
    }
    body = builders.job(suspend=True, labels=labels, annotations=annotations, resourceVersion="17")
    job = facts.parse_job(body)
    assert (job.task, job.session, job.attempt, job.version) == ("T-1", "s-1", 2, "17")
    assert (job.made_for, job.gate, job.reattached_from) == ("fix-login", "true", "lost")


@pytest.mark.parametrize(
    ("suspend", "gate", "ended", "held", "live"),
    [
        (True, "true", False, True, False),
        (True, "a-uid", False, True, False),
        (True, "", False, False, True),  # its queue holds it, and may let it go at any moment
        (False, "", False, False, True),
        (False, "true", False, False, True),  # somebody let it go by hand
        (False, "", True, False, False),
        (True, "true", True, True, False),
    ],
)
def test_whether_an_agent_may_run_under_a_job(*, suspend: bool, gate: str, ended: bool, held: bool, live: bool) -> None:
    """Held Jobs cannot have a pod, and finished ones have none any more; every other one counts."""
    body = builders.job(
        suspend=suspend, annotations={names.ANNOTATION_HELD: gate}, conditions={"Complete": ""} if ended else {}
    )
    job = facts.parse_job(body)
    assert (job.held, job.live) == (held, live)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("", 0), ("-1", 0), ("x", 0), ("1.5", 0)])
def test_the_attempt_of_a_job_is_a_number(text: str, number: int) -> None:
    """A Job of a version that knew no attempts is the first one."""
    assert facts.parse_job(builders.job(labels={names.LABEL_ATTEMPT: text})).attempt == number


def test_a_pod_that_has_lost_its_owner_is_still_its_jobs() -> None:
    """As kubectl delete --cascade=orphan leaves it; the Job controller's label stays."""
    body = builders.pod()
    body["metadata"]["ownerReferences"] = []
    body["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "u-1"
    assert facts.parse_pod(body).job_uid == "u-1"
    assert facts.parse_pod(builders.pod()).job_uid == builders.JOB_UID


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("{", None),
        ("[1]", {}),
        ('{"promptChars":7,"wakePromptChars":"x"}', {"promptChars": 7}),
    ],
)
def test_the_prompts_metrics_are_read_off_the_job(text: str | None, expected: dict[str, int] | None) -> None:
    """Whoever may change annotations can spoil the numbers, and nothing else."""
    annotations = {} if text is None else {names.ANNOTATION_PROMPT_METRICS: text}
    assert facts.parse_job(builders.job(annotations=annotations)).prompt_metrics == expected


def test_a_pod_gives_its_facts() -> None:
    """Its main container is found by name, wherever it stands."""
    body = builders.pod(
        phase="Failed",
        deleting=True,
        main=builders.terminated(
            exit_code=137, reason="OOMKilled", signal=9, message="m", startedAt="2026-01-01T00:00:00Z"
        ),
        init=builders.terminated(),
        false_conditions={"Ready": ("PodFailed", "")},
        reason="Evicted",
        message="low on memory",
    )
    body["status"]["containerStatuses"].insert(0, {"name": "sidecar", "state": builders.running()})
    body["metadata"]["resourceVersion"] = "77"
    assert facts.parse_pod(body) == facts.PodFacts(
        name=body["metadata"]["name"],
        uid=builders.POD_UID,
        namespace="team-a",
        version="77",
        job_uid=builders.JOB_UID,
        agent_key="team-a/acme/coder",
        phase="Failed",
        node="node-1",
        reason="Evicted",
        message="low on memory",
        deletion_time=builders.CREATED,
        conditions=(facts.Condition(type="Ready", status="False", reason="PodFailed"),),
        init=(
            facts.ContainerFacts(
                name="prepare", terminated=True, exit_code=0, reason="Completed", finished_at=builders.CREATED
            ),
        ),
        main=facts.ContainerFacts(
            name="claude",
            terminated=True,
            exit_code=137,
            signal=9,
            reason="OOMKilled",
            message="m",
            started_at="2026-01-01T00:00:00Z",
            finished_at=builders.CREATED,
        ),
    )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, facts.ContainerFacts(name="claude")),
        (
            builders.waiting("ErrImagePull", "no such image"),
            facts.ContainerFacts(name="claude", waiting_reason="ErrImagePull", waiting_message="no such image"),
        ),
        (builders.running(), facts.ContainerFacts(name="claude", running=True, started_at=builders.CREATED)),
        ({"running": {}}, facts.ContainerFacts(name="claude", running=True)),
        (
            builders.terminated(exit_code=1),
            facts.ContainerFacts(
                name="claude", terminated=True, exit_code=1, reason="Error", finished_at=builders.CREATED
            ),
        ),
        ({"terminated": {}}, facts.ContainerFacts(name="claude", terminated=True)),
    ],
    ids=["none", "waiting", "running", "running-bare", "terminated", "terminated-bare"],
)
def test_a_container_is_in_one_state(state: dict[str, Any], expected: facts.ContainerFacts) -> None:
    """Exit code 0 and no exit code are different things."""
    main = facts.parse_pod(builders.pod(main=state)).main
    assert main == expected
    assert main.has_started == (expected.running or expected.terminated)


def test_a_pod_that_is_being_deleted_says_until_when() -> None:
    """Its deletionTimestamp is in the future: it includes the grace period."""
    seen = facts.parse_pod(builders.pod(deleting="2026-01-02T03:05:05Z"))
    assert (seen.deleting, seen.deletion_time) == (True, "2026-01-02T03:05:05Z")
    assert not facts.parse_pod(builders.pod()).deleting


@pytest.mark.parametrize(("said", "seconds"), [(None, 30), (0, 0), (7, 7)])
def test_how_long_a_pod_may_take_to_end(said: int | None, seconds: int) -> None:
    """The API's default holds where it says nothing; 0 is a number."""
    body = builders.pod()
    body["spec"]["terminationGracePeriodSeconds"] = said
    assert facts.parse_pod(body).grace_seconds == seconds


@pytest.mark.parametrize(
    ("given", "vanished"),
    [({}, True), ({"phase": "Pending"}, True), ({"phase": "Failed"}, False), ({"node": "", "phase": "Pending"}, False)],
)
def test_a_pod_that_goes_before_it_has_ended_has_vanished(given: dict[str, Any], vanished: bool) -> None:  # noqa: FBT001 - a column
    """One that is there has not, whatever its phase."""
    seen = facts.parse_pod(builders.pod(**given))
    assert (seen.vanished, dataclasses.replace(seen, gone=True).vanished) == (False, vanished)


def test_a_pod_without_the_agents_container_has_none() -> None:
    """An injected sidecar is never taken for the agent."""
    body = builders.pod()
    body["status"]["containerStatuses"] = [{"name": "istio-proxy", "state": builders.running()}]
    assert facts.parse_pod(body).main is None


def test_an_empty_object_gives_empty_facts() -> None:
    """A pod that nobody has looked at yet is pending."""
    assert facts.parse_job({}) == facts.JobFacts(name="", namespace="", uid="", agent_key="//")
    assert facts.parse_pod({}) == facts.PodFacts(name="", uid="", agent_key="//", phase="Pending")


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ([], ""),
        ([{"uid": "u"}], ""),
        ([{"uid": "u", "controller": False}, {"uid": "v", "controller": True}], "v"),
    ],
)
def test_only_the_controller_owns(references: list[dict[str, Any]], expected: str) -> None:
    """Any number of other owners may be noted beside it."""
    assert facts.parse_job(builders.job(ownerReferences=references)).owner_uid == expected
    body = builders.pod()
    body["metadata"]["ownerReferences"] = references
    assert facts.parse_pod(body).job_uid == expected


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.too_slow])  # on a machine that is busy otherwise
@hypothesis.given(
    OBJECTS | st.fixed_dictionaries({"status": st.fixed_dictionaries({"initContainerStatuses": CONTAINERS})})
)
def test_any_json_can_be_parsed_and_types_hold(body: dict[str, Any]) -> None:
    """Watches and lists hand over what they get; a strange object must not stop them."""
    for parsed in (facts.parse_job(body), facts.parse_pod(body)):
        hints = typing.get_type_hints(type(parsed))
        for name, hint in hints.items():
            if hint in {str, bool}:
                assert isinstance(getattr(parsed, name), hint)
    for seen in facts.parse_pod(body).init:
        assert isinstance(seen.signal, int)
        assert seen.exit_code is None or isinstance(seen.exit_code, int)


@pytest.mark.parametrize(
    ("conditions", "gone", "complete", "failed", "finished"),
    [
        ({}, False, False, False, False),
        ({}, True, False, False, True),
        ({"Complete": "CompletionsReached"}, False, True, False, True),
        ({"Failed": "BackoffLimitExceeded"}, False, False, True, True),
        ({"FailureTarget": "PodFailurePolicy"}, False, False, False, False),
        ({"SuccessCriteriaMet": "CompletionsReached"}, False, False, False, False),
        ({"Suspended": "JobSuspended"}, False, False, False, False),
    ],
)
def test_a_job_is_finished_only_when_it_says_so(
    conditions: dict[str, str | tuple[str, str]], *, gone: bool, complete: bool, failed: bool, finished: bool
) -> None:
    """FailureTarget and SuccessCriteriaMet come while pods still run."""
    job = facts.parse_job(builders.job(conditions=conditions))
    job = facts.JobFacts(name=job.name, namespace=job.namespace, uid=job.uid, conditions=job.conditions, gone=gone)
    assert (job.complete, job.failure is not None, job.finished) == (complete, failed, finished)


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_condition_that_is_not_true_finishes_nothing(kind: str, status: str) -> None:
    """The type alone says nothing."""
    body = builders.job()
    body["status"]["conditions"] = [{"type": kind, "status": status}]
    assert not facts.parse_job(body).finished


@pytest.mark.parametrize(
    ("phase", "gone", "finished"),
    [
        ("Pending", False, False),
        ("Running", False, False),
        ("Unknown", False, False),
        ("Succeeded", False, True),
        ("Failed", False, True),
        ("Running", True, True),
    ],
)
def test_a_pod_is_finished_when_no_process_can_run(phase: str, *, gone: bool, finished: bool) -> None:
    """Unknown is a node that does not answer: its processes may well run."""
    assert facts.PodFacts(name="p", uid="u", phase=phase, gone=gone).finished is finished


def test_facts_hold_no_part_of_the_object() -> None:
    """Two per run are kept; managedFields alone is larger than all of them."""
    body = builders.job(managedFields=[{"big": "x" * 1000}])
    assert "big" not in repr(facts.parse_job(body))
    assert not hasattr(facts.parse_job(body), "__dict__")
    assert names.LABEL_MANAGED_BY not in repr(facts.parse_pod(builders.pod()))


def test_facts_of_different_jobs_share_what_is_equal() -> None:
    """Condition by condition and word by word: an operator keeps those of all live runs."""
    conditions = [{"type": "Suspended", "status": "False", "reason": "JobResumed", "message": "Job resumed"}]
    texts = [json.dumps({"metadata": {"uid": "a b"}, "status": {"conditions": conditions}})] * 2
    one, other = (facts.parse_job(json.loads(text)) for text in texts)
    assert one == other
    assert one.uid is other.uid
    assert one.conditions[0] is other.conditions[0]
