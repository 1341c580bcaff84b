"""What can go wrong for whoever uses the client, beside ``errors.ApiError``."""

from agentrun_operator import errors


class InvalidSpecError(errors.AgentRunError):
    """The run cannot be submitted as written; the text names each field, and what is wrong with it."""


class OtherRunError(errors.AgentRunError):
    """There is a run of that name already, and it is another one; the text names the fields that differ."""


class RunGoneError(errors.AgentRunError):
    """The AgentRun was deleted, or another one has its name by now."""
