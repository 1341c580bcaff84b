"""The command line of the Claude Code CLI, and where it works and keeps its state."""

import re

from agentrun_operator import models, settings
from agentrun_operator.manifest import bundle

# Kubernetes expands $(NAME) in arguments and variables, and turns $$ into $.
_EXPANDED = re.compile(r"\$(?=[$(])")


def build_command(spec: models.AgentRunSpec) -> list[str]:
    """The CLI with its arguments, word for word. The prompt comes on stdin; a ``-`` here would be sent as text."""
    claude = spec.claude
    command = ["claude", "--print", "--output-format", "stream-json", "--verbose"]
    if spec.session:
        command += ["--resume", spec.session.id]
    if claude.skip_permissions:
        command += ["--dangerously-skip-permissions"]
    if claude.model:
        command += ["--model", claude.model]
    if claude.effort:
        command += ["--effort", claude.effort.value]
    command += ["--max-turns", str(claude.max_turns)]
    if claude.max_budget_usd:
        command += ["--max-budget-usd", claude.max_budget_usd]
    # A resumed session replays the system prompt that it was begun with; the CLI ignores the file then.
    if bundle.has_instructions(spec) and not spec.session:
        command += ["--append-system-prompt-file", bundle.INSTRUCTIONS_PATH]
    if bundle.has_skills(spec):
        command += ["--add-dir", bundle.LINK]
    return [*command, *spec.claude.extra_args]


def literally(text: str) -> str:
    """``text`` written so that Kubernetes, which expands ``$(NAME)``, passes on exactly ``text``."""
    return _EXPANDED.sub("$$", text)


def working_directory(spec: models.AgentRunSpec, config: settings.Settings) -> str:
    """Where the agent starts: its workspace, the job's choice, the session's folder, the shared volume."""
    workspace_cwd = spec.workspace.cwd if spec.workspace else None
    session_cwd = spec.session.cwd if spec.session else None
    return workspace_cwd or spec.job.working_dir or session_cwd or config.data_mount


def config_directory(spec: models.AgentRunSpec, config: settings.Settings) -> str | None:
    """The CLI's state of one agent; None: the CLI's own place in HOME, which all agents share."""
    if spec.claude.config_dir is models.ConfigDir.SHARED:
        return None
    return f"{config.instance_root}/claude-config/{spec.company_id}/{spec.agent.id}"
