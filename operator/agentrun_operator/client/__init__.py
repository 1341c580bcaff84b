"""For programs that create runs: a small, typed client on the models of the API, with and without asyncio.

``AsyncClient`` and ``Client`` have the same methods. Both speak to the Kubernetes API and to nothing else, so whoever
may create AgentRuns may use them: no operator is asked, and none has to be there.

The client never decides what a run is worth: which failure to try again, how long, which session to go on with is the
orchestrator's affair. ``session_after`` says what the last run of an agent recommends.
"""

from agentrun_operator.client.aio import AsyncClient, belongs, leave_logging_to_the_program
from agentrun_operator.client.costs import By, Cost, sum_up
from agentrun_operator.client.faults import InvalidSpecError, OtherRunError, RunGoneError
from agentrun_operator.client.hub import Change
from agentrun_operator.client.runlog import NoLogError
from agentrun_operator.client.submission import Spec, build_retry, session_after
from agentrun_operator.client.sync import Client

__all__ = [
    "AsyncClient",
    "By",
    "Change",
    "Client",
    "Cost",
    "InvalidSpecError",
    "NoLogError",
    "OtherRunError",
    "RunGoneError",
    "Spec",
    "belongs",
    "build_retry",
    "leave_logging_to_the_program",
    "session_after",
    "sum_up",
]
