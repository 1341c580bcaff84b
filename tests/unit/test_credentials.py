"""How credentials are read again when they are refused: by our own client, and for kopf."""

import asyncio
import contextlib
import datetime as dt
import pathlib
import ssl
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import aiohttp
import kopf
import pytest
from aiohttp import test_utils, web
from kubernetes.aio import client
from kubernetes.aio.config import config_exception

from agentrun_operator import errors, kube, runner, settings
from agentrun_operator.handlers import login
from agentrun_operator.kube import credentials, retry_after
from agentrun_operator.runner import logins
from tests import deps, fakes

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def some(token: str | None = "Bearer a", **other: Any) -> kube.Credentials:
    """Credentials with this header."""
    values: dict[str, Any] = {
        "server": "https://one:6443",
        "authorization": token,
        "ca_path": None,
        "certificate_path": None,
        "key_path": None,
        "verify": True,
        "proxy": None,
        "certificate": b"",
    }
    return kube.Credentials(**{**values, **other})


class Files:
    """What is read, one after the other; the last of them again and again. An exception is raised."""

    def __init__(self, *contents: kube.Credentials | Exception) -> None:
        self.contents = list(contents)
        self.reads = 0

    async def load(self, configuration: client.Configuration) -> kube.Credentials:
        """As ``credentials.load``."""
        self.reads += 1
        await asyncio.sleep(0)
        found = self.contents.pop(0) if len(self.contents) > 1 else self.contents[0]
        if isinstance(found, Exception):
            raise found
        configuration.host = found.server
        if found.authorization:
            configuration.api_key["BearerToken"] = found.authorization
        return found


async def renewal(files: Files) -> tuple[client.ApiClient, credentials.Renewal]:
    """A client with the first of the credentials."""
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = 7
    known = await files.load(configuration)
    api = client.ApiClient(configuration)
    files.reads = 0
    return api, credentials.Renewal(api, files.load, known=known, timeout=0.2)


async def close(api: client.ApiClient) -> None:
    """Close its connections."""
    await api.close()  # type: ignore[no-untyped-call]  # the generated client is half typed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be waited for, unless a test says so."""
    monkeypatch.setattr(credentials, "_LEAST_SECONDS", 0.0)


async def test_a_new_token_is_used_and_connections_stay() -> None:
    """Requests under way are not cut off for it, and as many connections may be open as before."""
    api, renew = await renewal(Files(some("Bearer a"), some("Bearer b")))
    before = api.rest_client
    await renew.renew("Bearer a")
    assert api.configuration.api_key == {"BearerToken": "Bearer b"}
    assert api.configuration.connection_pool_maxsize == 7
    assert api.rest_client is before
    await close(api)


@pytest.mark.parametrize("other", [{"server": "https://two:6443"}, {"certificate": b"new"}, {"proxy": "http://p"}])
async def test_another_way_to_the_server_is_another_connection(other: dict[str, Any]) -> None:
    """A new certificate in the same file, too. Without a token there is no header to compare."""
    api, renew = await renewal(Files(some(None), some(None, **other)))
    before = api.rest_client
    await renew.renew(None)
    assert api.rest_client is not before
    assert api.configuration.host == other.get("server", "https://one:6443")
    after = api.rest_client
    await renew.renew(None)
    assert api.rest_client is after, "nothing has changed since"
    await close(api)


async def test_many_refusals_at_once_have_the_files_read_once() -> None:
    """Also those that come late, for requests that were sent with the old token."""
    files = Files(some("Bearer a"), some("Bearer b"), some("Bearer c"))
    api, renew = await renewal(files)
    await asyncio.gather(*(renew.renew("Bearer a") for _ in range(50)))
    await renew.renew("Bearer a")
    assert files.reads == 1
    await renew.renew("Bearer b")
    assert api.configuration.api_key == {"BearerToken": "Bearer c"}
    await close(api)


async def test_files_are_read_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they hold nothing new: an exec plugin may be expensive."""
    monkeypatch.setattr(credentials, "_LEAST_SECONDS", 3600.0)
    files = Files(some("Bearer a"))
    api, renew = await renewal(files)
    for _ in range(5):
        await renew.renew("Bearer a")
    assert files.reads == 1
    await close(api)


@pytest.mark.parametrize("trouble", [errors.SettingsError("malformed"), FileNotFoundError("gone"), TimeoutError()])
async def test_files_that_cannot_be_read_are_read_another_time(trouble: Exception) -> None:
    """Nothing is raised: who asked gets its 401, and tries again."""
    api, renew = await renewal(Files(some("Bearer a"), trouble, some("Bearer b")))
    await renew.renew("Bearer a")
    assert api.configuration.api_key == {"BearerToken": "Bearer a"}
    await renew.renew("Bearer a")
    assert api.configuration.api_key == {"BearerToken": "Bearer b"}
    await close(api)


async def test_a_plugin_that_hangs_holds_nobody_up() -> None:
    """It has as long as a request."""
    files = Files(some("Bearer a"))
    api, renew = await renewal(files)

    async def hang(_configuration: client.Configuration) -> kube.Credentials:
        await asyncio.Event().wait()
        raise AssertionError

    renew._load = hang  # noqa: SLF001 - the plugin
    async with asyncio.timeout(5):
        await renew.renew("Bearer a")
    await close(api)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "api.test,other"}, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other"}, "http://proxy:3128"),
    ],
)
def test_a_proxy_of_the_environment_is_heeded(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    """As kubectl does it; read once, not at every request."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert credentials.proxy_of_environment("https://api.test:6443") == expected


# --- kopf -----------------------------------------------------------------------------------------------------------


class Clock:
    """The pauses that were made, in place of them."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        """Note it."""
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """See Clock."""
    made = Clock()
    loop = types.SimpleNamespace(time=lambda: made.now)
    fake = types.SimpleNamespace(sleep=made.sleep, get_running_loop=lambda: loop)
    monkeypatch.setattr(logins, "asyncio", fake)
    yield made


def reader(*contents: kube.Credentials | Exception) -> logins.Logins:
    """Hands out what is read."""
    files = Files(*contents)
    return logins.Logins(lambda: files.load(client.Configuration()))


async def test_new_credentials_are_handed_out_at_once(clock: Clock) -> None:
    """At the start, and whenever they were replaced."""
    handed = reader(some("Bearer a"), some("Bearer b"), some("Bearer c"))
    assert [(await handed.next()).authorization for _ in range(3)] == ["Bearer a", "Bearer b", "Bearer c"]
    assert clock.pauses == []


async def test_the_same_ones_are_handed_out_again_after_pauses_that_grow(clock: Clock) -> None:
    """A refusal may have been the API server's mistake; one that is not must not be asked for ever faster."""
    handed = reader(some("Bearer a"))
    for _ in range(8):
        assert (await handed.next()).authorization == "Bearer a"
    assert clock.pauses == [1, 2, 4, 8, 16, 30, 30]


async def test_what_was_replaced_during_the_pause_is_handed_out(clock: Clock) -> None:
    """And the next pause is a short one again."""
    a, b = some("Bearer a"), some("Bearer b")
    handed = reader(a, a, a, a, b, b, b)
    assert [(await handed.next()).authorization for _ in range(4)] == ["Bearer a", "Bearer a", "Bearer b", "Bearer b"]
    assert clock.pauses == [1, 2, 4]


async def test_credentials_that_were_good_for_long_get_no_pause(clock: Clock) -> None:
    """Their refusal is a new story."""
    handed = reader(some("Bearer a"))
    for _ in range(4):
        await handed.next()
    clock.now += 601
    await handed.next()
    await handed.next()
    assert clock.pauses == [1, 2, 4, 1]


@pytest.fixture
def memo() -> Iterator[runner.Deps]:
    """What all runs share."""
    made = deps.make(settings.Settings(data_path=""), cast("kube.KubeClient", fakes.FakeKube()))
    yield made
    made.tailer.close()
    made.caretaker.close()


async def test_kopf_gets_what_our_client_has(memo: runner.Deps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what its own reader of kubeconfigs does not know: a token file, an exec plugin, a proxy."""
    files: list[object] = []

    def make(cafile: str | None = None) -> ssl.SSLContext:
        files.append(cafile)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(ssl, "create_default_context", make)
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda _self, *names: files.extend(names))
    found = some(
        "Bearer a b", ca_path="/ca", certificate_path="/crt", key_path="/key", verify=False, proxy="http://proxy"
    )
    async with logged_in(_with(memo, found)) as told:
        connector = told.aiohttp_session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert (told.server, told.aiohttp_session.headers["Authorization"]) == ("https://one:6443", "Bearer a b")
        proxy = getattr(told.aiohttp_session, "_default_proxy")  # noqa: B009 - there is no other way to ask
        assert str(proxy) == "http://proxy"
        assert (files, connector.limit) == (["/ca", "/crt", "/key"], 9)
        assert (tls_of(connector).verify_mode, tls_of(connector).check_hostname) == (ssl.CERT_NONE, False)
    files.clear()
    object.__setattr__(memo, "config", settings.Settings(data_path="", namespaces="a,b,c"))
    async with logged_in(_with(memo, some(None))) as told:
        connector = told.aiohttp_session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert "Authorization" not in told.aiohttp_session.headers
        assert (files, connector.limit) == ([None], 11)
        assert (tls_of(connector).verify_mode, tls_of(connector).check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_kopf_never_runs_out_of_credentials(memo: runner.Deps) -> None:
    """It drops those that were refused once, and ends when it is given only those: so none is equal to another."""
    async with logged_in(_with(memo, some())) as first, logged_in(_with(memo, some())) as second:
        assert first == first  # noqa: PLR0124 - by identity
        assert first != second
        assert len({first, second}) == 2


@contextlib.asynccontextmanager
async def logged_in(memo: runner.Deps) -> AsyncIterator[login.Login]:
    """What kopf is given; it closes the session when it needs it no more."""
    made = await login.log_in(memo=memo)
    yield made
    await made.aiohttp_session.close()


async def test_what_kopf_asks_for_is_counted(memo: runner.Deps) -> None:
    """By the session that it was given: its watch, which is heard by that, and its writes."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    memo.meters.lead()
    runs = "/apis/paperclip.io/v1alpha1/agentruns"
    async with test_utils.TestServer(app) as server, logged_in(_with(memo, some())) as made:
        for method, path in (
            ("GET", f"{runs}?watch=true"),
            ("PATCH", f"{runs}/x".replace("agentruns", "namespaces/n/agentruns")),
        ):
            async with made.aiohttp_session.request(method, server.make_url(path)) as response:
                assert response.status == 200
    memo.meters.refresh()
    shown = memo.meters.render().decode()
    for verb in ("watch", "patch"):
        labels = f'{{client="kopf",code="200",resource="agentruns",verb="{verb}"}}'
        assert f"agentrun_api_requests_total{labels} 1.0" in shown
    assert 'agentrun_watch_age_seconds{resource="agentruns",watched="*"}' in shown


async def test_the_connection_of_a_watch_ends_with_it(memo: runner.Deps) -> None:
    """Kopf's as well as our own: what its buffers grew to would stay. All others are used again."""
    asked: dict[tuple[str, str], bool] = {}

    async def answer(request: web.Request) -> web.Response:
        asked[request.headers["User-Agent"][:8], str(request.rel_url)] = request.keep_alive
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runs = "/apis/paperclip.io/v1alpha1/agentruns"
    async with test_utils.TestServer(app) as server:
        configuration = client.Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        own = kube.HttpKubeClient(client.ApiClient(configuration), timeout=5)
        assert [line async for line in own.all_jobs().watch({"watch": "1"})] == []
        await own.get_run("n", "x")
        await own.close()
        async with logged_in(_with(memo, some())) as made:
            for path in (f"{runs}?watch=true", runs):
                async with made.aiohttp_session.get(server.make_url(path), headers={"User-Agent": "kopf/1.0"}) as reply:
                    await reply.read()
    assert [(who.startswith("kopf"), "watch" in path, again) for (who, path), again in asked.items()] == [
        (False, True, False),
        (False, False, True),
        (True, True, False),
        (True, False, True),
    ]


def tls_of(connector: aiohttp.TCPConnector) -> ssl.SSLContext:
    """What a connector makes its connections with."""
    found = getattr(connector, "_ssl")  # noqa: B009 - as above
    assert isinstance(found, ssl.SSLContext)
    return found


async def test_files_that_cannot_be_read_do_not_end_the_operator(memo: runner.Deps) -> None:
    """A kubeconfig may just be being written: kopf asks again."""
    with pytest.raises(kopf.TemporaryError, match="malformed"):
        await login.log_in(memo=_with(memo, errors.SettingsError("malformed")))


def _with(memo: runner.Deps, *contents: kube.Credentials | Exception) -> runner.Deps:
    object.__setattr__(memo, "logins", reader(*contents))
    return memo


# --- Retry-After, and what a client does with a 401 ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "7", 7),
        (503, "7", 7),
        (429, " 7 ", 7),
        (429, "0", 0),
        (429, "61", 60),
        (429, "9" * 400, 60),
        (429, "", 0),
        (429, "-1", 0),
        (429, "1.5", 0),
        (429, "٣", 0),
        (429, "soon", 0),
        (429, "Fri, 02 Jan 2026 03:04:25 GMT", 20),
        (429, "Fri, 02 Jan 2026 04:04:25 +0100", 20),
        (429, "Fri, 02 Jan 2026 03:04:25 -0000", 20),
        (429, "Fri, 02 Jan 2026 03:04:00 GMT", 0),
        (503, "Sat, 03 Jan 2026 03:04:05 GMT", 60),
        (503, "Fri, 99 Jan 2026 03:04:25 GMT", 0),
        (503, "Fri, 02 Jan 2026 03:04:25 +9999999999999", 0),
        (500, "7", 0),
        (403, "7", 0),
        (200, "7", 0),
    ],
)
def test_how_long_the_server_wants_to_be_left_alone(status: int, header: str, seconds: float) -> None:
    """Seconds or a date; at most a minute; nothing where it makes no sense."""
    assert retry_after.parse(status, header, NOW) == seconds


@pytest.mark.parametrize(("status", "seconds"), [(429, 7), (503, 7), (500, 0), (401, 0)])
async def test_the_answer_says_how_long(status: int, seconds: float) -> None:
    """And a 401 is told to whoever renews credentials, with the header that was refused."""
    told: list[str | None] = []

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"message": "no"}, status=status, headers={"Retry-After": "7"})

    async def refused(header: str | None) -> None:
        told.append(header)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with test_utils.TestServer(app) as server:
        configuration = client.Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        configuration.api_key["BearerToken"] = "Bearer a"
        kube_client = kube.HttpKubeClient(client.ApiClient(configuration), timeout=5, refused=refused)
        with pytest.raises(errors.UnavailableError) as caught:
            await kube_client.get_run("team-a", "fix-login")
        await kube_client.close()
    assert (caught.value.status, caught.value.retry_after) == (status, seconds)
    assert told == (["Bearer a"] if status == 401 else [])


@pytest.mark.parametrize("trouble", [FileNotFoundError("token"), config_exception.ConfigException("empty")])
async def test_a_token_file_that_cannot_be_read_is_no_answer(trouble: Exception) -> None:
    """As when it is just being replaced: the library reads it now and then, and raises what it likes."""

    def fail(_configuration: client.Configuration) -> None:
        raise trouble

    configuration = client.Configuration()
    configuration.api_key["BearerToken"] = "Bearer a"
    configuration.refresh_api_key_hook = fail  # type: ignore[assignment]  # the library declares it as None
    kube_client = kube.HttpKubeClient(client.ApiClient(configuration), timeout=5)
    with pytest.raises(errors.UnavailableError):
        await kube_client.get_run("team-a", "fix-login")
    await kube_client.close()


async def test_a_client_certificate_is_known_by_its_content(tmp_path: pathlib.Path) -> None:
    """Its path may stay the same."""
    configuration = client.Configuration()
    configuration.cert_file = str(tmp_path / "crt")
    found = []
    for content in (b"private-1", b"private-2"):
        (tmp_path / "crt").write_bytes(content)
        found.append(await credentials._describe(configuration))  # noqa: SLF001 - what is compared
    assert found[0] != found[1]
    assert "private" not in repr(found[0])
