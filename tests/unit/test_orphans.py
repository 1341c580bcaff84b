"""A live Job without an AgentRun: whose work it is, as a table."""

import re
from typing import Any

import pytest

from agentrun_operator import facts, models, names
from agentrun_operator.errors import ErrorCode as Code
from agentrun_operator.status import orphans
from tests import builders


def run(task: str | None, session: str | None = None) -> models.AgentRun:
    """An AgentRun of that task that asks for that session."""
    given: dict[str, Any] = {"taskId": task, "session": {"id": session} if session else None}
    return models.AgentRun.parse(builders.agent_run(**given))


def job(task: str, session: str = "") -> facts.JobFacts:
    """A Job of that task that continues that session."""
    return facts.JobFacts(name="ac-lost", namespace="team-a", uid="j", task=task, session=session)


@pytest.mark.parametrize(
    ("mine", "its", "code"),
    [
        (run("T-1"), job("T-1"), None),
        (run("T-1", "s-1"), job("T-1", "s-1"), None),
        (run("T-1", "s-1"), job("T-1"), None),
        (run("T-1"), job("T-1", "s-1"), None),
        (run("t" * 63), job("t" * 63), None),
        (run("-T-1-"), job("T-1"), None),
        (run(None), job("T-1"), Code.ORPHAN_TASK_UNKNOWN),
        (run("T-1"), job(""), Code.ORPHAN_TASK_UNKNOWN),
        (run(None), job(""), Code.ORPHAN_TASK_UNKNOWN),
        (run("---"), job(""), Code.ORPHAN_TASK_UNKNOWN),
        (run(None, "s-1"), job("", "s-1"), Code.ORPHAN_TASK_UNKNOWN),
        (run("T-1"), job("T-2"), Code.ORPHAN_TASK_MISMATCH),
        (run("T-1"), job("t-1"), Code.ORPHAN_TASK_MISMATCH),
        (run("T-1", "s-1"), job("T-2", "s-1"), Code.ORPHAN_TASK_MISMATCH),
        (run("T-1", "s-1"), job("T-1", "s-2"), Code.ORPHAN_SESSION_MISMATCH),
    ],
)
def test_only_what_is_surely_the_runs_own_work_is_adopted(
    mine: models.AgentRun, its: facts.JobFacts, code: Code | None
) -> None:
    """Tasks are both known and equal, as their labels are; sessions do not differ."""
    found = orphans.find_mismatch(mine, its)
    assert (found and found.code) == code
    if found is not None:
        assert "Job ac-lost of the agent coder" in str(found)
        assert "spec.reattach: false" in str(found)
        assert re.search(r"[^.]\.$", str(found))


def test_a_job_that_the_operator_made_is_recognised_by_what_it_carries() -> None:
    """Its labels are the very values that are compared."""
    mine = run("T-1")
    body = builders.job(builders.agent_run(taskId="T-1"))
    body["metadata"]["labels"][names.LABEL_SESSION_ID] = "s-9"
    assert orphans.find_mismatch(mine, facts.parse_job(body)) is None
    assert orphans.find_mismatch(run("T-1", "s-1"), facts.parse_job(body)) is not None
