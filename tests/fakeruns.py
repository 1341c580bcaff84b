"""``fakes.FakeKube`` with what the client for orchestrators asks for, and an operator that plays a story.

Each status in ``story`` becomes that of every run that was created, one after the other, while somebody watches.
"""

import asyncio
import copy
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from agentrun_operator import errors, kube
from tests import builders, fakes

PLURAL = "agentruns"
SESSION = "76cf1c2d-13aa-4f1c-8762-177658e8acfd"
RUNNING = {
    "phase": "Running",
    "podName": "pod",
    "runningTime": builders.CREATED,
    "session": {"id": SESSION, "cwd": "/paperclip"},
    "turns": 1,
}
SUCCEEDED = {
    **RUNNING,
    "phase": "Succeeded",
    "turns": 2,
    "completionTime": "2026-01-02T03:09:05Z",
    "usage": {"inputTokens": 2000, "outputTokens": 34},
    "costUSD": "0.012",
    "result": {"subtype": "success", "isError": False, "text": "The login page works again."},
}
LOG = [
    b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus"}\n',
    b'{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"It is done."}]}}\n',
    b'{"type":"result","subtype":"success","is_error":false,"result":"The login page works again."}\n',
]
_TURNS = 50  # of the event loop, so that whoever watches sees every step


@dataclasses.dataclass
class FakeRuns(fakes.FakeKube):
    """See the module."""

    story: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    run_events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    told: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)

    async def create_run(self, run: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create an AgentRun."""
        meta = run["metadata"]
        await self.enter("create_run", meta["name"])
        place = (meta["namespace"], meta["name"])
        if place in self.runs:
            raise errors.AlreadyExistsError(f'"{place[1]}" already exists', status=409, reason="AlreadyExists")
        version = self.next_version()
        known = {"uid": f"uid-{version}", "resourceVersion": version, "creationTimestamp": builders.CREATED}
        self.add_run({**copy.deepcopy(dict(run)), "metadata": {**meta, **known}})
        self._leave("create_run")
        return copy.deepcopy(self.runs[place])

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One AgentRun."""
        return copy.deepcopy(await super().get_run(namespace, name))

    async def list_run_events(self, run: kube.Ref) -> list[Mapping[str, Any]]:
        """Its Events."""
        await self.enter("list_run_events", run.name)
        return list(self.run_events)

    def all_runs(self, namespace: str = "") -> "Runs":
        """AgentRuns."""
        return Runs(self, PLURAL, namespace, dict)

    def set(self, name: str, status: Mapping[str, Any], *, namespace: str = "team-a", shown: bool = True) -> None:
        """The run has this status by now, and watches show it."""
        body = self.runs[namespace, name]
        body["status"] = dict(status)
        body["metadata"] = {**body["metadata"], "resourceVersion": self.next_version()}
        if shown:
            self.show("MODIFIED", PLURAL, body)


class Runs(fakes.FakeSource[Mapping[str, Any]]):
    """AgentRuns, as a list and a watch."""

    api: FakeRuns

    async def list(self) -> tuple[list[Mapping[str, Any]], str]:
        """All of them."""
        await self.api.enter("list_runs", self.namespace)
        found = [body for (place, _), body in self.api.runs.items() if self.namespace in {"", place}]
        return [copy.deepcopy(body) for body in found], self.api.newest()

    async def watch(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The story, and what a test shows."""
        await self.api.enter("watch_runs", query["resourceVersion"])
        while True:
            for place, body in list(self.api.runs.items()):
                at = self.api.told.get(place, 0)
                if at < len(self.api.story):
                    for _ in range(_TURNS):
                        await asyncio.sleep(0)
                    self.api.told[place] = at + 1
                    self.api.set(place[1], self.api.story[at], namespace=place[0], shown=False)
                    yield msgspec.json.encode({"type": "MODIFIED", "object": body})
            if not self.api.story or not self.api.lines[PLURAL].empty():
                line = await self.api.lines[PLURAL].get()
                if isinstance(line, Exception):
                    raise line
                if line is None:
                    return
                yield line
            await asyncio.sleep(0.001)
