"""AgentRun operator: runs the Claude Code CLI as Kubernetes Jobs, one live run per agent, with an honest status."""

__version__ = "0.1.0"
