"""A reverse proxy in front of the API server that makes trouble: plain HTTP on loopback in, the real server out.

Bearer tokens pass through, watches and logs are streamed without a buffer. What goes wrong is said by rules
(``rules.Rule``), which come and go while it runs; all chance comes from one seeded generator.

    async with proxy.Proxy(endpoint, seed=1) as between:
        between.add(rules.Rule(effect=rules.Effect.LOSE, verbs=frozenset({"create"}), resources=frozenset({"jobs"})))

A program that is not asynchronous takes ``in_thread``, which has the same ``url``, ``add`` and ``remove``.
"""

import asyncio
import contextlib
import inspect
import json
import pathlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import aiohttp
from aiohttp import web

from tests.chaos import api, rules

_PASSED_IN = ("Accept", "Authorization", "Content-Type", "User-Agent")
_PASSED_OUT = ("Content-Type", "Retry-After", "Warning", "Audit-Id")
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
_CLOSING_SECONDS = 0.1  # aiohttp does not wait until TLS connections are really closed
_OFF = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST


class Proxy:
    """Use it with ``async with``; ``url`` is then where it listens."""

    def __init__(self, endpoint: api.Endpoint, *, seed: int | str = 0) -> None:
        self.url = ""
        self.listeners: list[Callable[[rules.Request, int], None]] = []  # told of every answer of the API server
        self._endpoint = endpoint
        self._rng = random.Random(seed)  # noqa: S311 - replayable, guards nothing
        self._rules: list[rules.Rule] = []
        self._streams: dict[web.StreamResponse, _Stream] = {}
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> "Proxy":
        """Listen on a free port of loopback."""
        connector = aiohttp.TCPConnector(ssl=self._endpoint.trust(), limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None, sock_connect=5)
        )
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything, also what hangs."""
        assert self._runner is not None
        assert self._session is not None
        for stream in list(self._streams.values()):
            stream.cut()
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(_CLOSING_SECONDS)

    def add(self, rule: rules.Rule) -> None:
        """From now on, and for watches that are open already."""
        self._rules.append(rule)
        if rule.effect in rules.STREAM_EFFECTS:
            for stream in list(self._streams.values()):
                if rule.take(stream.request, self._rng):
                    stream.trouble(rule)

    def remove(self, rule: rules.Rule) -> None:
        """No longer; what hangs goes on hanging until its time is over."""
        with contextlib.suppress(ValueError):
            self._rules.remove(rule)

    def _take(self, request: rules.Request) -> rules.Rule | None:
        self._rules = [rule for rule in self._rules if not rule.spent]
        return next((rule for rule in self._rules if rule.take(request, self._rng)), None)

    async def _handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        body = await incoming.read()
        request = rules.parse(incoming.method, incoming.path, incoming.query)
        rule = self._take(request)
        match rule.effect if rule else None:
            case rules.Effect.ANSWER:
                assert rule is not None
                return _refuse(rule.status)
            case rules.Effect.RESET:
                return _reset(incoming)
            case rules.Effect.GARBAGE:
                return web.Response(body=_PAGE, content_type="text/html")
            case rules.Effect.HANG:
                assert rule is not None
                await asyncio.sleep(rule.seconds)
                return _reset(incoming)
            case rules.Effect.DELAY:
                assert rule is not None
                await asyncio.sleep(rule.seconds)
            case _:
                pass
        try:
            return await self._forward(incoming, body, request, rule)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return _reset(incoming)  # the API server is not there, or went away in the middle

    async def _forward(
        self, incoming: web.BaseRequest, body: bytes, request: rules.Request, rule: rules.Rule | None
    ) -> web.StreamResponse:
        assert self._session is not None
        if rule is not None and rule.before is not None:
            await _call(rule.before, request)
            return _reset(incoming)
        headers = {name: incoming.headers[name] for name in _PASSED_IN if name in incoming.headers}
        headers["Accept-Encoding"] = "identity"
        async with self._session.request(
            incoming.method, self._endpoint.server + incoming.path_qs, data=body or None, headers=headers
        ) as answer:
            passed = {name: answer.headers[name] for name in _PASSED_OUT if name in answer.headers}
            if request.streams and answer.status < 400:
                return await self._stream(incoming, answer, request, rule, passed)
            data = await answer.read()
        for listener in self.listeners:
            listener(request, answer.status)
        if rule is not None and rule.after is not None:
            await _call(rule.after, request)
            return _reset(incoming)
        if rule is not None and rule.effect is rules.Effect.LOSE:
            return _reset(incoming)
        if rule is not None and rule.effect is rules.Effect.HALF:
            data = data[: len(data) // 2]
        return web.Response(status=answer.status, body=data, headers=passed)

    async def _stream(
        self,
        incoming: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        request: rules.Request,
        rule: rules.Rule | None,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(incoming)
        stream = self._streams[response] = _Stream(incoming, request)
        try:
            if rule is not None and rule.effect in rules.STREAM_EFFECTS:
                stream.trouble(rule)
            elif rule is not None and rule.effect in {rules.Effect.LOSE, rules.Effect.HALF}:
                stream.cut()
            if not stream.troubled.is_set():  # of a new watch in trouble nothing is delivered, so that there is a gap
                await _pass_until_trouble(answer, response, stream)
            await stream.end(response)
        finally:
            del self._streams[response]
        return response


class _Stream:
    """One open stream, and the trouble that is to come over it."""

    def __init__(self, incoming: web.BaseRequest, request: rules.Request) -> None:
        self.request = request
        self.troubled = asyncio.Event()
        self._incoming = incoming
        self._rule: rules.Rule | None = None
        self._cut = False

    def trouble(self, rule: rules.Rule) -> None:
        self._rule = rule
        self.troubled.set()

    def cut(self) -> None:
        self._cut = True
        self.troubled.set()

    async def end(self, response: web.StreamResponse) -> None:
        """What the client sees last: the regular end, unless there is trouble."""
        effect = self._rule.effect if self._rule else None
        with contextlib.suppress(ConnectionError):
            if effect is rules.Effect.GONE:
                await response.write(rules.gone_event())
            elif effect is rules.Effect.NOISE:
                await response.write(b'{"type":"MODIFIED","object":<html>\n')
            elif effect is rules.Effect.FREEZE and self._rule:
                await asyncio.sleep(self._rule.seconds)
            elif effect is rules.Effect.CUT:
                await response.write(b'{"type":"MODIFIED","obj')
        if self._cut or effect is rules.Effect.CUT:
            _reset(self._incoming)


async def _pass_until_trouble(answer: aiohttp.ClientResponse, response: web.StreamResponse, stream: _Stream) -> None:
    passing = asyncio.ensure_future(_pass(answer, response, stream))
    troubled = asyncio.ensure_future(stream.troubled.wait())
    try:
        await asyncio.wait({passing, troubled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        passing.cancel()
        troubled.cancel()
        await asyncio.gather(passing, troubled, return_exceptions=True)


async def _pass(answer: aiohttp.ClientResponse, response: web.StreamResponse, stream: _Stream) -> None:
    """Pass on what comes, whole lines at a time: what trouble appends must not stand behind half an event."""
    rest = b""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async for chunk in answer.content.iter_any():
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            if stream.request.verb != "watch":
                whole, newline, rest = whole + newline + rest, b"", b""
            if whole:
                await response.write(whole + newline)


async def _call(hook: rules.Hook, request: rules.Request) -> None:
    outcome = hook(request)
    if inspect.isawaitable(outcome):
        await outcome


def _refuse(status: int) -> web.Response:
    headers = {"Retry-After": "1"} if status == 429 else {}
    body = json.dumps(rules.refusal(status)).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _reset(incoming: web.BaseRequest) -> web.Response:
    """Break the connection off, as a machine does that has crashed; the answer returned reaches nobody."""
    transport = incoming.transport
    if transport is not None:
        link = transport.get_extra_info("socket")
        if link is not None:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _OFF)
        transport.abort()
    return web.Response(status=502)


def redirect(kubeconfig: pathlib.Path, url: str, target: pathlib.Path) -> pathlib.Path:
    """The kubeconfig with another server, at ``target``; its token stays."""
    config = json.loads(kubeconfig.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"] = {"server": url}
    target.touch(mode=0o600)
    target.write_text(json.dumps(config))
    return target


class ThreadedProxy:
    """The proxy of ``in_thread``: hooks of its rules are called on its own thread."""

    def __init__(self, inner: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.url = inner.url
        self._inner = inner
        self._loop = loop

    def add(self, rule: rules.Rule) -> None:
        """See ``Proxy.add``; returns when the rule is in force."""
        asyncio.run_coroutine_threadsafe(_at_once(self._inner.add, rule), self._loop).result(5)

    def remove(self, rule: rules.Rule) -> None:
        """See ``Proxy.remove``."""
        asyncio.run_coroutine_threadsafe(_at_once(self._inner.remove, rule), self._loop).result(5)


async def _at_once(do: Callable[[rules.Rule], None], rule: rules.Rule) -> None:
    do(rule)


@contextlib.contextmanager
def in_thread(endpoint: api.Endpoint, *, seed: int | str = 0) -> Iterator[ThreadedProxy]:
    """A proxy on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()
    inner = Proxy(endpoint, seed=seed)
    try:
        asyncio.run_coroutine_threadsafe(inner.__aenter__(), loop).result(10)
        try:
            yield ThreadedProxy(inner, loop)
        finally:
            asyncio.run_coroutine_threadsafe(inner.__aexit__(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
