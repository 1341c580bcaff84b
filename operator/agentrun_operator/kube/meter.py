"""Requests as they are counted: verb and resource in the words of Kubernetes, the HTTP status, and how long it took."""

import asyncio
import time
import types
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

NO_ANSWER = "none"

Observe = Callable[[str, str, str, float], None]  # verb, resource, HTTP status or NO_ANSWER, seconds

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def nobody(_verb: str, _resource: str, _code: str, _seconds: float) -> None:
    """Nobody wants to know."""


def describe(method: str, path: str, *, watches: bool) -> tuple[str, str]:
    """Verb and resource of a request, as the rules of a Role name them."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]  # /api/v1/…, /apis/group/version/…
    if parts[:1] == ["namespaces"] and len(parts) > 2:  # noqa: PLR2004 - else the namespace itself is meant
        parts = parts[2:]
    if not parts:
        return _VERBS.get(method, "get"), "discovery"
    resource = "/".join([parts[0], *parts[2:3]])  # the name between is nobody's business
    if method == "GET":
        return ("watch" if watches else "list" if len(parts) == 1 else "get"), resource
    return _VERBS.get(method, method.lower()), resource


async def timed(asking: Awaitable[Any], asked: tuple[str, str], observe: Observe) -> Any:  # noqa: ANN401 - the library's
    """The answer, when ``observe`` was told of it; a request that is cancelled here has none to tell of."""
    began = time.monotonic()
    try:
        reply = await asking
    except Exception:
        observe(*asked, NO_ANSWER, time.monotonic() - began)
        raise
    observe(*asked, str(reply.status), time.monotonic() - began)
    return reply


def trace(observe: Observe) -> aiohttp.TraceConfig:
    """The same for all requests of an aiohttp session that somebody else uses."""

    async def begin(_session: aiohttp.ClientSession, context: types.SimpleNamespace, _params: Any) -> None:  # noqa: ANN401, RUF029 - aiohttp's
        context.began = time.monotonic()

    async def end(  # noqa: RUF029 - as aiohttp has it
        _session: aiohttp.ClientSession, context: types.SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        _tell(context, params, str(params.response.status))

    async def fail(  # noqa: RUF029 - as aiohttp has it
        _session: aiohttp.ClientSession, context: types.SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if not isinstance(params.exception, asyncio.CancelledError):
            _tell(context, params, NO_ANSWER)

    def _tell(
        context: types.SimpleNamespace,
        params: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams,
        code: str,
    ) -> None:
        asked = describe(params.method, params.url.path, watches="watch" in params.url.query)
        observe(*asked, code, time.monotonic() - context.began)

    traced = aiohttp.TraceConfig()
    traced.on_request_start.append(begin)
    traced.on_request_end.append(end)
    traced.on_request_exception.append(fail)
    return traced
