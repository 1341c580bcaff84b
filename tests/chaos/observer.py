"""The observer: watches the API from outside, writes down everything, and misses nothing.

It asks the API server directly, never through the proxy, and imports nothing of the operator. A watch that was cut goes
on from the last version seen. An API server that was started again refuses that (410: its cache begins anew); then
etcd is asked which keys of the namespace changed at which versions in between, and for each of these the API server is
asked how the object was *at that version*. So there is no gap, whatever is restarted.
"""

import asyncio
import base64
import collections
import json
import pathlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tests.chaos import api, history, invariants

_ETCD_PREFIXES = {
    "agentruns": "/registry/paperclip.io/agentruns",
    "jobs": "/registry/jobs",
    "pods": "/registry/pods",
    "secrets": "/registry/secrets",
}
_EVERYTHING = base64.b64encode(b"\0").decode()
_RETRY_SECONDS = 0.1
_GONE = 410
_QUIET_SECONDS = 0.3
_SETTLE_SECONDS = 2.0  # watches tell of one moment at slightly different times


class Observer:
    """One namespace's history. Use ``async with``; ``note`` is for those who act.

    ``began`` is the moment (``time.monotonic``) from which its clock counts.
    """

    def __init__(
        self, client: api.Api, namespace: str, *, etcd_port: int, began: float, file: pathlib.Path | None = None
    ) -> None:
        self.gaps = 0
        self._api = client
        self._namespace = namespace
        self._etcd = f"http://127.0.0.1:{etcd_port}"
        self._record = history.Record(file)
        self._began = began
        self._last: dict[str, int] = {}
        self._told: collections.defaultdict[str, set[int]] = collections.defaultdict(set)
        self._objects: dict[str, dict[str, Mapping[str, Any]]] = {kind: {} for kind in history.KINDS}
        self._ever: dict[str, dict[str, Mapping[str, Any]]] = {kind: {} for kind in history.KINDS}
        self._tasks: list[asyncio.Task[None]] = []
        self._connected: set[str] = set()
        self._changed = 0.0
        self._waiting: list[history.Event] = []
        self._judged: history.Event | None = None
        self._judge = invariants.Judge()

    async def __aenter__(self) -> "Observer":
        """Begin. The namespace is expected to be new, so that nothing was there before."""
        for kind in history.KINDS:
            self._last[kind], items = await self._api.list(kind, self._namespace)
            for item in items:
                self._add(kind, "ADDED", item)
        self._tasks = [asyncio.create_task(self._follow(kind)) for kind in history.KINDS]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End, and close the file."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._record.close()

    @property
    def events(self) -> list[history.Event]:
        """Everything so far, as it came."""
        return self._record.events

    @property
    def clock(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def now(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The objects of a kind by uid, as last told."""
        return self._objects[kind]

    def ever(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """All objects of a kind that there ever were, by uid, as they were last."""
        return self._ever[kind]

    def note(self, word: str, **said: Any) -> None:
        """Write down what only the one who acts can know."""
        self._waiting.append(self._record.add(at=self.clock, kind=history.NOTE, type=word, object=said))

    def judge(self, *, everything: bool = False) -> invariants.Judge:
        """Check what has come since; the latest events wait a little, for a slower watch may still tell earlier ones.

        If one does so nevertheless, the whole history is judged again: only the order of versions counts.
        """
        for task in self._tasks:
            if task.done():
                task.result()  # an observer that has died must not be taken for a quiet history
        if not everything and len(self._connected) < len(history.KINDS):
            return self._judge
        until = self.clock if everything else self.clock - _SETTLE_SECONDS
        ripe = history.ordered(event for event in self._waiting if event.at <= until)
        self._waiting = [event for event in self._waiting if event.at > until]
        if ripe and self._judged is not None and ripe[0].place < self._judged.place:
            waiting = {event.seq for event in self._waiting}
            ripe = history.ordered(event for event in self.events if event.seq not in waiting)
            self._judge = invariants.Judge()
        for event in ripe:
            self._judge.see(event)
            self._judged = event
        return self._judge

    async def catch_up(self) -> None:
        """Wait until all watches have told everything that was there when this was called, and it is quiet."""
        for kind in history.KINDS:
            _, items = await self._api.list(kind, self._namespace)
            uids = {item["metadata"]["uid"] for item in items}
            newest = max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)
            while self._last[kind] < newest or not uids.issuperset(self._objects[kind]):  # noqa: ASYNC110 - nobody could set an event
                await asyncio.sleep(_RETRY_SECONDS)
        while self.clock - self._changed < _QUIET_SECONDS or len(self._connected) < len(history.KINDS):  # noqa: ASYNC110 - as above
            await asyncio.sleep(_RETRY_SECONDS)

    # --- watching ----------------------------------------------------------------------------------------------------

    async def _follow(self, kind: str) -> None:
        while True:
            try:
                await self._watch(kind)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError, api.UnreachableError):
                pass  # cut off: on from the last version
            self._connected.discard(kind)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _watch(self, kind: str) -> None:
        async for event in self._api.watch(kind, self._namespace, self._last[kind]):
            match event["type"]:
                case "OPEN":
                    self._connected.add(kind)
                case "ERROR" if event["object"].get("code") == _GONE:
                    await self._fill_gap(kind)
                    return
                case "ERROR":
                    return
                case "BOOKMARK":
                    self._last[kind] = int(event["object"]["metadata"]["resourceVersion"])
                case word:
                    self._add(kind, word, event["object"])

    def _add(self, kind: str, word: str, body: Mapping[str, Any]) -> None:
        version, uid = int(body["metadata"]["resourceVersion"]), body["metadata"]["uid"]
        self._last[kind] = max(self._last[kind], version)
        if version in self._told[kind]:
            return
        self._told[kind].add(version)
        kept = self._ever[kind][uid] = history.reduced(kind, body)
        if word == "DELETED":
            self._objects[kind].pop(uid, None)
        else:
            self._objects[kind][uid] = kept
        self._changed = self.clock
        self._waiting.append(self._record.add(at=self.clock, kind=kind, type=word, object=kept, version=version))

    # --- gaps --------------------------------------------------------------------------------------------------------

    async def _fill_gap(self, kind: str) -> None:
        """Tell what happened between the last version told and now, each change as it was."""
        since = self._last[kind]
        now, _ = await self._api.list(kind, self._namespace)
        self.gaps += 1
        known = {body["metadata"]["name"]: body for body in self._objects[kind].values()}
        async for version, name, deleted in self._changes(kind, since, now):
            if deleted:
                body = known.pop(name)
                meta = {**body["metadata"], "resourceVersion": str(version)}
                self._add(kind, "DELETED", {**body, "metadata": meta})
                continue
            at_version = {"resourceVersion": str(version), "resourceVersionMatch": "Exact"}
            _, items = await self._api.list(kind, self._namespace, **at_version, fieldSelector=f"metadata.name={name}")
            [body] = items
            self._add(kind, "MODIFIED" if name in known else "ADDED", body)
            known[name] = body
        self._last[kind] = max(self._last[kind], now)

    async def _changes(self, kind: str, since: int, now: int) -> AsyncIterator[tuple[int, str, bool]]:
        """Version, name and whether it was deleted, of each change of an object after ``since``, up to ``now``.

        All keys are watched: each version up to ``now`` is a change of some key, so the end is seen to be reached.
        """
        if now <= since:
            return
        prefix = f"{_ETCD_PREFIXES[kind]}/{self._namespace}/"
        wish = {"key": _EVERYTHING, "range_end": _EVERYTHING, "start_revision": str(since + 1)}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), read_bufsize=2**24) as session,
            session.post(f"{self._etcd}/v3/watch", json={"create_request": wish}) as response,
        ):
            async for line in response.content:
                for event in json.loads(line)["result"].get("events", ()):
                    version, key = int(event["kv"]["mod_revision"]), base64.b64decode(event["kv"]["key"]).decode()
                    if version <= now and key.startswith(prefix):
                        yield version, key.removeprefix(prefix), event.get("type") == "DELETE"
                    if version >= now:
                        return
