"""``spec``: what users write."""

from typing import ClassVar

import pydantic

from agentrun_operator.models import base
from agentrun_operator.models.execution import Claude, ConcurrencyPolicy, Job, Retention, Retry, Timeouts
from agentrun_operator.models.inputs import Agent, Approval, Bundle, IssueId, KeyRef, Prompt, Session, Wake, Workspace


class AgentRunSpec(base.Model):
    """What to run. Everything but cancel, suspend and retention is fixed once the object is created."""

    MAY_CHANGE: ClassVar = frozenset({"cancel", "suspend", "retention"})
    RULES: ClassVar = (
        base.Rule(
            "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
            "spec.cancel cannot be taken back; create a new AgentRun instead",
        ),
    )

    company_id: base.Id = pydantic.Field(description="The company (tenant) the agent belongs to.")
    agent: Agent = pydantic.Field(description="The agent whose work this run is.")
    run_id: base.Id | None = pydantic.Field(
        None,
        description="The orchestrator's id of this run, part of the Job's name and of the log's path. Left out: the "
        "object's UID.",
    )
    task_id: base.Id | None = pydantic.Field(None, description="Task or issue that the run works on.")
    session: Session | None = pydantic.Field(None, description="The Claude session to continue.")
    prompt: Prompt = pydantic.Field(description="What the agent is told.")
    wake: Wake | None = pydantic.Field(None, description="Why the agent was woken.")
    approval: Approval | None = pydantic.Field(None, description="The approval that the run follows upon.")
    linked_issue_ids: tuple[IssueId, ...] = pydantic.Field(
        (), max_length=256, description="Issues that the run has to do with (PAPERCLIP_LINKED_ISSUE_IDS)."
    )
    workspace: Workspace | None = pydantic.Field(None, description="Where the agent works.")
    bundle: Bundle | None = pydantic.Field(None, description="Skills and instructions of the agent.")
    claude: Claude = pydantic.Field(Claude(), description="How the Claude Code CLI is called.")
    job: Job = pydantic.Field(Job(), description="How the Job and its pod look.")
    api_token_secret_ref: KeyRef | None = pydantic.Field(
        None, description="Secret key with the token for the orchestrator's API (PAPERCLIP_API_KEY)."
    )
    timeouts: Timeouts = pydantic.Field(Timeouts(), description="How long a run may take.")
    concurrency_policy: ConcurrencyPolicy = pydantic.Field(
        ConcurrencyPolicy.QUEUE,
        description="What happens while the agent has another live run. Queue: wait. Forbid: fail with "
        "k8s_concurrent_run_blocked. Replace: cancel the other one, then start.",
    )
    priority: base.Integer = pydantic.Field(
        0, ge=-1000, le=1000, description="Waiting runs of an agent start by priority, the highest first, then by age."
    )
    reattach: base.Flag = pydantic.Field(
        default=True,
        description="Adopt a live Job of the same agent, task and session whose AgentRun is gone, instead of waiting.",
    )
    retry: Retry = pydantic.Field(Retry(), description="Whether a run that failed is tried again.")
    retention: Retention = pydantic.Field(Retention(), description="What is kept after the end.")
    cancel: base.Flag = pydantic.Field(
        default=False,
        description="Set to true to stop the run: its Job is gone within 15 seconds. Cannot be taken back.",
    )
    suspend: base.Flag = pydantic.Field(
        default=False, description="Set to true to hold the run before its Job is created; a run with a Job goes on."
    )
