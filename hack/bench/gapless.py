"""Watches that go on where they broke, without losing an event.

The API server ends a watch whose client does not keep up for a moment, and on a machine that is full of work that may
happen to anybody. Where moments matter, a watch that broke spoils the measurement (``sight``). Here it is opened again
behind the last event that was seen: etcd's order is kept, and the server refuses if an event in between is not known to
it any more. What comes late then has a later moment, so whoever uses this must not measure in milliseconds.
"""

import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import aiohttp
import msgspec

from hack.bench import sight, watch

_WATCH_SECONDS = 1500

T = TypeVar("T")


class _Meta(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion")


class _Versioned(msgspec.Struct):
    metadata: _Meta


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


async def version(session: aiohttp.ClientSession, path: str) -> str:
    """Where a watch of a list has to begin so that it shows all that comes from now on."""
    listed = await sight.send(session, "GET", f"{path}?limit=1")
    return msgspec.json.decode(listed, type=_Versioned).metadata.version


async def follow(
    session: aiohttp.ClientSession, path: str, shape: type[T], since: str
) -> AsyncIterator[sight.Event[T]]:
    """All events of a list behind ``since`` (see ``version``), for ever. Raises BenchError when one is lost."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    while True:
        query = {"watch": "1", "resourceVersion": since, "timeoutSeconds": str(_WATCH_SECONDS)}
        try:
            async with session.get(path, params=query, timeout=timeout) as answer:
                if answer.status >= 400:  # noqa: PLR2004 - where HTTP's refusals begin
                    raise watch.BenchError(f"watch of {path}: HTTP {answer.status}")
                async for at, line in _lines(answer.content):
                    seen = parse(line, path)
                    since = seen[1]
                    yield sight.Event(at, seen[0], msgspec.json.decode(seen[2], type=shape))
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            continue


def parse(line: bytes, path: str) -> tuple[str, str, msgspec.Raw]:
    """Type, resourceVersion and object of one event. Raises BenchError for one that tells of an error."""
    event: Any = msgspec.json.decode(line, type=_Line)
    if event.type == "ERROR":
        raise watch.BenchError(f"the watch of {path} broke: {bytes(event.object)[:300].decode(errors='replace')}")
    return event.type, msgspec.json.decode(event.object, type=_Versioned).metadata.version, event.object


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[tuple[float, bytes]]:
    rest = b""
    async for chunk in content.iter_any():
        at = time.monotonic()
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield at, line
