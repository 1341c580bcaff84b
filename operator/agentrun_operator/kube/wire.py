"""The transport of ``kubernetes.aio`` under plain JSON: one request, a list in pages, the lines of a watch."""

import datetime
import errno
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib import parse

import aiohttp
import msgspec
from kubernetes.aio import client
from kubernetes.aio.config import config_exception

from agentrun_operator import errors
from agentrun_operator.kube import meter, refusal, retry_after, watches

JSON = "application/json"
_T = TypeVar("_T")

_UNAUTHORIZED = 401
# The API server sends a bookmark every minute. A watch that is silent for longer is opened anew: nobody can tell one
# that has nothing to show from one that is dead.
_SILENT_SECONDS = 70
_PAGE = 500  # objects per list request: the API server answers in bounded memory, we parse in bounded memory


class Wire:
    """A connection to one API server.

    ``refused`` is told of credentials that the API server did not accept, before that is raised as UnavailableError;
    ``observe`` of every request.
    """

    def __init__(
        self,
        api: client.ApiClient,
        *,
        timeout: float,
        refused: Callable[[str | None], Awaitable[None]] | None = None,
        observe: meter.Observe = meter.nobody,
    ) -> None:
        self._api = api
        self._observe = observe
        self._refused = refused
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._stream_timeout = aiohttp.ClientTimeout(total=None, connect=timeout, sock_read=timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]  # the generated client is half typed

    async def list_pages(self, path: str, selector: str, *, accept: str = JSON) -> AsyncIterator[Mapping[str, Any]]:
        """A list in pages of bounded size. Raises ApiError."""
        query = {"labelSelector": selector, "limit": str(_PAGE)}
        while True:
            page = await self._request("GET", path, query=query, accept=accept)
            if "items" not in page:
                raise errors.UnavailableError(f"GET {path}: the answer could not be read: it is no list")
            yield page
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def watch_lines(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of a watch, until it ends or is silent for too long. Raises ApiError when it breaks."""
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout.total, sock_read=_SILENT_SECONDS)
        response = await self._send("GET", path, query=query, timeout=timeout)
        rest = b""
        try:
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
        except TimeoutError:
            return
        except aiohttp.ClientError as e:
            raise errors.UnavailableError(f"the watch of {path} broke off: {describe(e)}") from e
        finally:
            response.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> dict[str, Any]:
        return await self._request_as(
            dict[str, Any], method, path, query=query, body=body, content_type=content_type, accept=accept
        )

    async def _request_as(self, kind: type[_T], method: str, path: str, **request: Any) -> _T:
        """The answer as msgspec reads it for that type: of a large object, perhaps only a little is wanted."""
        response = await self._send(method, path, **request)
        try:
            return msgspec.json.decode(await response.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as e:
            raise errors.UnavailableError(f"{method} {path}: the answer could not be read: {describe(e)}") from e

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - aiohttp's own kind of limit, per phase
    ) -> aiohttp.ClientResponse:
        watch = "watch" in (query or ())
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": self._api.user_agent}
        if watch:
            headers.update(watches.LAST)
        url = self._api.configuration.host + path + (f"?{parse.urlencode(query)}" if query else "")
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            asking = self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout or self._timeout
            )
            asked = meter.describe(method, path, watches=watch)
            reply = await meter.timed(asking, asked, self._observe)
            response: aiohttp.ClientResponse = reply.response
            if response.status < 400:  # noqa: PLR2004 - where HTTP's refusals begin
                return response
            text = await response.read()
        except TimeoutError as e:
            raise errors.UnavailableError(f"{method} {path}: no answer within {self._timeout.total:g} s") from e
        except aiohttp.ClientConnectorError as e:
            raise errors.UnavailableError(
                f"{method} {path}: cannot connect to {e.host}:{e.port}: {_obstacle(e)}"
            ) from e
        except (aiohttp.ClientError, OSError, config_exception.ConfigException) as e:
            raise errors.UnavailableError(f"{method} {path}: {type(e).__name__}: {describe(e)}") from e
        if response.status == _UNAUTHORIZED and self._refused is not None:
            await self._refused(headers.get("authorization"))
        wait = retry_after.parse(
            response.status, response.headers.get("Retry-After", ""), datetime.datetime.now(datetime.UTC)
        )
        raise refusal.api_error(response.status, text, retry_after=wait)


def describe(error: Exception) -> str:
    """What an exception says; time-outs say nothing."""
    return str(error) or type(error).__name__


def _obstacle(error: aiohttp.ClientConnectorError) -> str:
    """What is in the way, in the words of the operating system or of the TLS library."""
    found = error.os_error
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {found.verify_message}"
    known = isinstance(found.errno, int) and found.errno in errno.errorcode  # those of name resolution are others
    return os.strerror(found.errno) if known and found.errno is not None else found.strerror or describe(found)
