"""The proxy of the chaos suite: which request a rule hits, and what its client then sees."""

import asyncio
import contextlib
import json
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.chaos import api, proxy, rules
from tests.chaos.rules import Effect

JOBS = "/apis/batch/v1/namespaces/ns/jobs"


class PlainEndpoint(api.Endpoint):
    """A server without TLS."""

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()


@pytest.fixture
async def served() -> AsyncIterator[list[str]]:
    """What the server behind the proxy has carried out; its first entry is its address."""
    done: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        done.append(f"{request.method} {request.path}")
        if request.query.get("watch"):
            stream = web.StreamResponse()
            await stream.prepare(request)
            await stream.write(b'{"type":"ADDED"}\n')
            await asyncio.sleep(30)
            return stream
        return web.json_response({"items": ["a", "b", "c"], "token": request.headers.get("Authorization", "")})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    done.append(f"http://{host}:{port}")
    yield done
    await runner.cleanup()


@contextlib.asynccontextmanager
async def between(served: list[str]) -> AsyncIterator[tuple[proxy.Proxy, aiohttp.ClientSession]]:
    endpoint = PlainEndpoint(server=served[0], token="", authority=__file__)  # type: ignore[arg-type]  # not read
    async with proxy.Proxy(endpoint, seed=1) as standing, aiohttp.ClientSession(standing.url) as client:
        yield standing, client


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", JOBS, {}, "list jobs"),
        ("GET", JOBS, {"watch": "true"}, "watch jobs"),
        ("GET", f"{JOBS}/a", {}, "get jobs"),
        ("DELETE", f"{JOBS}/a", {}, "delete jobs"),
        ("POST", "/api/v1/namespaces/ns/secrets", {}, "create secrets"),
        ("PATCH", "/apis/paperclip.io/v1alpha1/namespaces/ns/agentruns/a/status", {}, "patch agentruns/status"),
        ("GET", "/api/v1/namespaces/ns/pods/a/log", {}, "get pods/log"),
        ("GET", "/api/v1/pods", {}, "list pods"),
        ("GET", "/apis", {}, "get "),
    ],
)
def test_a_request_has_the_name_that_rbac_gives_it(
    method: str, path: str, query: dict[str, str], expected: str
) -> None:
    assert str(rules.parse(method, path, query)) == expected


def test_a_rule_counts_skips_and_ends() -> None:
    rule = rules.Rule(effect=Effect.RESET, verbs=frozenset({"create"}), skip=1, times=2)
    create, get = rules.parse("POST", JOBS, {}), rules.parse("GET", JOBS, {})
    rng = random.Random(1)

    taken = [rule.take(request, rng) for request in (get, create, create, get, create, create)]

    assert taken == [False, False, True, False, True, False]
    assert (rule.hits, rule.spent) == (2, True)


def test_the_same_seed_hits_the_same_requests() -> None:
    def hits() -> list[bool]:
        rule, rng = rules.Rule(effect=Effect.RESET, probability=0.5, times=None), random.Random(7)
        return [rule.take(rules.parse("GET", JOBS, {}), rng) for _ in range(20)]

    assert hits() == hits()
    assert 0 < sum(hits()) < 20


async def test_without_a_rule_everything_passes(served: list[str]) -> None:
    async with between(served) as (_, client), client.get(JOBS, headers={"Authorization": "Bearer me"}) as answer:
        assert (await answer.json())["token"] == "Bearer me"


@pytest.mark.parametrize("status", [401, 409, 410, 429, 500, 503, 504])
async def test_a_refusal_is_an_answer_of_kubernetes_and_reaches_nobody(served: list[str], status: int) -> None:
    async with between(served) as (standing, client):
        standing.add(rules.Rule(effect=Effect.ANSWER, status=status))
        async with client.get(JOBS) as answer:
            body: dict[str, Any] = await answer.json()

    assert (answer.status, body["kind"], body["code"]) == (status, "Status", status)
    assert ("Retry-After" in answer.headers) == (status == 429)
    assert len(served) == 1


@pytest.mark.parametrize(("effect", "carried_out"), [(Effect.RESET, 0), (Effect.LOSE, 1)])
async def test_a_lost_answer_differs_from_a_lost_request(served: list[str], effect: Effect, carried_out: int) -> None:
    async with between(served) as (standing, client):
        standing.add(rules.Rule(effect=effect))
        with pytest.raises(aiohttp.ClientError):
            await client.post(JOBS, data=b"{}")

    assert len(served) == 1 + carried_out


async def test_hooks_are_called_before_or_after_the_deed(served: list[str]) -> None:
    seen: list[tuple[str, int]] = []
    async with between(served) as (standing, client):
        standing.add(rules.Rule(effect=Effect.CALL, before=lambda r: seen.append((str(r), len(served)))))
        standing.add(rules.Rule(effect=Effect.CALL, after=lambda r: seen.append((str(r), len(served)))))
        for _ in range(2):
            with pytest.raises(aiohttp.ClientError):
                await client.post(JOBS, data=b"{}")

    assert seen == [("create jobs", 1), ("create jobs", 2)]


async def test_bodies_can_be_spoilt(served: list[str]) -> None:
    async with between(served) as (standing, client):
        for effect in (Effect.HALF, Effect.GARBAGE):
            standing.add(rules.Rule(effect=effect))
            async with client.get(JOBS) as answer:
                with pytest.raises(ValueError, match="char|Expecting"):
                    json.loads(await answer.read())


async def test_a_client_that_gives_up_frees_what_hangs(served: list[str]) -> None:
    async with between(served) as (standing, client):
        standing.add(rules.Rule(effect=Effect.HANG, seconds=60))
        with pytest.raises(TimeoutError):
            await client.get(JOBS, timeout=aiohttp.ClientTimeout(total=0.2))
        async with client.get(JOBS) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("effect", "last"),
    [(Effect.GONE, b'"code": 410'), (Effect.NOISE, b"<html>"), (Effect.CUT, b'"obj'), (Effect.FREEZE, b"ADDED")],
)
async def test_trouble_comes_over_watches_that_are_open(served: list[str], effect: Effect, last: bytes) -> None:
    async with between(served) as (standing, client), client.get(JOBS, params={"watch": "true"}) as answer:
        got = await answer.content.readany()
        standing.add(rules.Rule(effect=effect, seconds=0.1))
        with contextlib.suppress(aiohttp.ClientError):
            async with asyncio.timeout(5):
                async for chunk in answer.content.iter_any():
                    got += chunk

    assert last in got


@pytest.mark.parametrize("effect", [Effect.GONE, Effect.NOISE, Effect.CUT, Effect.FREEZE])
async def test_a_new_watch_in_trouble_shows_nothing_before_it(served: list[str], effect: Effect) -> None:
    async with between(served) as (standing, client):
        standing.add(rules.Rule(effect=effect, seconds=0.1))
        got = b""
        with contextlib.suppress(aiohttp.ClientError):
            async with asyncio.timeout(5), client.get(JOBS, params={"watch": "true"}) as answer:
                async for chunk in answer.content.iter_any():
                    got += chunk

    assert b"ADDED" not in got
