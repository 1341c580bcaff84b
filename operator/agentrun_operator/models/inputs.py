"""What the agent is given: session, prompt, the reason it was woken, workspace, skills and instructions."""

from typing import Annotated, ClassVar

import pydantic

from agentrun_operator.models import base

_SessionId = Annotated[
    str,
    base.text(
        r"^[a-zA-Z0-9][a-zA-Z0-9-]*$",
        "must be a session id as status.session.id gives it: letters, digits and hyphens",
        most=128,
    ),
]
IssueId = Annotated[
    str, base.text(r"^[^,\x00]+$", "must be an issue id without a comma: the ids are joined by commas", most=253)
]
_SkillName = Annotated[
    str,
    base.text(
        r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$",
        "must be the name of a folder: letters, digits and any of . _ -, beginning with a letter or digit",
        most=63,
    ),
]
_RelativePath = Annotated[
    str,
    base.text(
        r"^([a-zA-Z0-9_-][a-zA-Z0-9._-]*)(/[a-zA-Z0-9_-][a-zA-Z0-9._-]*)*$",
        "must be a relative path without .. : folders and a file, of letters, digits and any of . _ -",
        most=256,
    ),
]
_Markdown = Annotated[str, pydantic.Field(max_length=base.MAX_PROMPT_CHARACTERS)]


class Agent(base.Model):
    """The agent whose work this run is. At most one run of an agent is live at any time."""

    id: base.Id = pydantic.Field(description="The orchestrator's id of the agent: letters, digits and hyphens.")
    name: str | None = pydantic.Field(None, max_length=253, description="Display name of the agent, free text.")


class Session(base.Model):
    """The Claude session to continue. Left out: a new session is begun."""

    id: _SessionId = pydantic.Field(
        description="Id of the session to resume, as status.session.id of an earlier run of the same agent gave it."
    )
    cwd: base.AbsolutePath | None = pydantic.Field(
        None, description="Working directory of that session; a session can only be resumed where it was begun."
    )

    @classmethod
    def resume(cls, session: str, cwd: str | None) -> "Session | None":
        """The session that the CLI said it had begun; None if that cannot be one: a log can hold anything."""
        try:
            return cls(id=session, cwd=cwd)
        except pydantic.ValidationError:
            return None


class KeyRef(base.Model):
    """One key of a Secret or ConfigMap in the run's namespace."""

    name: base.ObjectName = pydantic.Field(description="Name of the Secret or ConfigMap.")
    key: base.DataKey = pydantic.Field(description="Key in its data.")


class Prompt(base.Model):
    """What the agent is told. It is stored in a Secret and reaches the CLI on its standard input."""

    RULES: ClassVar = (base.exactly_one("text", "secretKeyRef", "configMapKeyRef"),)

    text: Annotated[str, pydantic.Field(min_length=1, max_length=base.MAX_PROMPT_CHARACTERS)] | None = pydantic.Field(
        None,
        description="The main template, up to about 1 MiB in UTF-8. Placeholders such as {{agent.id}} are filled in; "
        "everything else reaches the CLI byte for byte. \\{{ stands for {{ as text.",
    )
    secret_key_ref: KeyRef | None = pydantic.Field(
        None, description="Take the main template from this key of a Secret; the run waits until it is there."
    )
    config_map_key_ref: KeyRef | None = pydantic.Field(
        None, description="Take the main template from this key of a ConfigMap; the run waits until it is there."
    )
    bootstrap: _Markdown | None = pydantic.Field(
        None, description="Template put first, but only when a new session is begun."
    )
    handoff: _Markdown | None = pydantic.Field(
        None, description="Markdown that the previous session left for this one; put before the main template."
    )


class Wake(base.Model):
    """Why the agent was woken. With a resumed session it takes the place of the main template."""

    reason: base.LongText | None = pydantic.Field(
        None, description="Why, in words; part of the prompt, and PAPERCLIP_WAKE_REASON."
    )
    comment_id: base.ShortText | None = pydantic.Field(
        None, description="Comment that woke the agent (PAPERCLIP_WAKE_COMMENT_ID)."
    )
    payload: base.JsonObject | None = pydantic.Field(
        None,
        description="The orchestrator's event as free JSON (PAPERCLIP_WAKE_PAYLOAD_JSON). The body of each of its "
        "comments[] becomes part of the prompt, and its reason, unless wake.reason is given.",
    )


class Approval(base.Model):
    """The approval that the run follows upon."""

    id: base.ShortText | None = pydantic.Field(None, description="Id of the approval (PAPERCLIP_APPROVAL_ID).")
    status: base.ShortText | None = pydantic.Field(
        None, description="What was decided (PAPERCLIP_APPROVAL_STATUS), say approved."
    )


class Workspace(base.Model):
    """Where the agent works, as the orchestrator has prepared it on the shared volume."""

    cwd: base.AbsolutePath | None = pydantic.Field(
        None, description="Directory the agent starts in (PAPERCLIP_WORKSPACE_CWD)."
    )
    source: base.ShortText | None = pydantic.Field(
        None, description="Where the workspace comes from (PAPERCLIP_WORKSPACE_SOURCE)."
    )
    strategy: base.ShortText | None = pydantic.Field(
        None, description="How it was made, say git_worktree (PAPERCLIP_WORKSPACE_STRATEGY)."
    )
    id: base.ShortText | None = pydantic.Field(None, description="Id of the workspace (PAPERCLIP_WORKSPACE_ID).")
    repo_url: base.LongText | None = pydantic.Field(
        None, description="Repository it was cloned from (PAPERCLIP_WORKSPACE_REPO_URL); no credentials in it."
    )
    repo_ref: base.LongText | None = pydantic.Field(
        None, description="Ref it was made from (PAPERCLIP_WORKSPACE_REPO_REF)."
    )
    branch: base.LongText | None = pydantic.Field(
        None, description="Branch the agent works on (PAPERCLIP_WORKSPACE_BRANCH)."
    )
    worktree_path: base.AbsolutePath | None = pydantic.Field(
        None, description="Path of the git worktree (PAPERCLIP_WORKSPACE_WORKTREE_PATH)."
    )
    agent_home: base.AbsolutePath | None = pydantic.Field(None, description="The agent's own folder (AGENT_HOME).")
    workspaces: tuple[base.JsonObject, ...] = pydantic.Field(
        (), max_length=256, description="All workspaces of the task, as free JSON (PAPERCLIP_WORKSPACES_JSON)."
    )
    runtime_services: tuple[base.JsonObject, ...] = pydantic.Field(
        (),
        max_length=256,
        description="Services that run for the workspace, as free JSON (PAPERCLIP_RUNTIME_SERVICES_JSON).",
    )
    runtime_service_intents: tuple[base.JsonObject, ...] = pydantic.Field(
        (),
        max_length=256,
        description="Services that are wanted for it, as free JSON (PAPERCLIP_RUNTIME_SERVICE_INTENTS_JSON).",
    )
    runtime_primary_url: base.LongText | None = pydantic.Field(
        None, description="Address of the main one of its services (PAPERCLIP_RUNTIME_PRIMARY_URL)."
    )


class ConfigMapItem(base.Model):
    """One key of a ConfigMap and the file that it becomes."""

    key: base.DataKey = pydantic.Field(description="Key in the ConfigMap's data.")
    path: _RelativePath = pydantic.Field(description="Path of the file in the skill's folder, say scripts/run.sh.")


class ConfigMapFiles(base.Model):
    """The keys of a ConfigMap as files."""

    name: base.ObjectName = pydantic.Field(description="Name of the ConfigMap, in the run's namespace.")
    items: tuple[ConfigMapItem, ...] = pydantic.Field(
        (), max_length=64, description="Keys to take and where to put them. Left out: every key is a file of its name."
    )


class Skill(base.Model):
    """One skill: a folder with a SKILL.md."""

    RULES: ClassVar = (base.exactly_one("path", "configMapRef"),)

    name: _SkillName = pydantic.Field(description="Name of the skill: its folder below .claude/skills.")
    path: base.AbsolutePath | None = pydantic.Field(
        None, description="The skill's folder on the shared volume, as agents see it."
    )
    config_map_ref: ConfigMapFiles | None = pydantic.Field(None, description="ConfigMap that holds the skill's files.")


class Bundle(base.Model):
    """Skills and instructions of the agent, kept once for each content on the shared volume."""

    instructions: Annotated[str, pydantic.Field(max_length=base.MAX_PROMPT_CHARACTERS)] | None = pydantic.Field(
        None,
        description="Instructions that are appended to the system prompt when a new session is begun "
        "(--append-system-prompt-file); a resumed session has them already.",
    )
    skills: tuple[Skill, ...] = pydantic.Field(
        (),
        max_length=64,
        description="Skills of the agent (--add-dir). A missing or invalid one is reported in the condition "
        "BundleReady and left out.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @pydantic.field_validator("skills")
    @classmethod
    def _once_each(cls, skills: tuple[Skill, ...]) -> tuple[Skill, ...]:
        return base.once_each(skills, "name")
