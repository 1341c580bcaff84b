"""The credentials for the API server, and how they are renewed when it refuses them.

Tokens end, are revoked and replaced; what was read at the start is not good for ever. The library reads a pod's token
file again every minute and nothing else ever: not a kubeconfig, not its tokenFile, not its exec plugin. So a 401 has
everything read again, here for our own client and, through ``read``, for kopf.
"""

import asyncio
import dataclasses
import os
import pathlib
from collections.abc import Awaitable, Callable
from urllib import parse, request

import structlog
from kubernetes.aio import client, config
from kubernetes.aio.client import rest
from kubernetes.aio.config import config_exception

from agentrun_operator import errors

_log = structlog.get_logger(__name__)

_POD_NAMESPACE = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DEFAULT_NAMESPACE = "default"
_KUBECONFIG = "KUBECONFIG"
_LEAST_SECONDS = 5.0  # from one reading to the next: an exec plugin may ask a service each time
_TOKEN = "BearerToken"  # noqa: S105 - the library's name for it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where the API server is, and as whom it is talked to. Paths are of files on this machine."""

    server: str
    authorization: str | None = dataclasses.field(repr=False)  # the header, scheme included
    ca_path: str | None
    certificate_path: str | None
    key_path: str | None
    verify: bool
    proxy: str | None
    certificate: bytes = dataclasses.field(repr=False)  # of the client, so that a new one in the same file is noticed


async def read(context: str | None = None) -> Credentials:
    """What the files say now. Raises SettingsError."""
    return await load(client.Configuration(), context)


def default_namespace(context: str | None = None) -> str:
    """The namespace that kubectl would take: the context's own, in a pod the pod's, else ``default``.

    Raises SettingsError for a kubeconfig that has no such context.
    """
    if context is None and not os.environ.get(_KUBECONFIG) and _POD_NAMESPACE.is_file():
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip() or _DEFAULT_NAMESPACE
    files = kubeconfig()
    try:
        contexts, active = config.list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
    except config_exception.ConfigException as e:
        raise _no_way(str(e)) from e
    except Exception as e:  # noqa: BLE001 - as below
        raise _no_way(f"the kubeconfig is malformed ({type(e).__name__})") from e
    found = next((c for c in contexts if c["name"] == context), None) if context else active
    if found is None:
        known = ", ".join(c["name"] for c in contexts)
        raise errors.SettingsError(f"--context {context}: the kubeconfig has no such context, only {known}")
    return str((found.get("context") or {}).get("namespace") or _DEFAULT_NAMESPACE)


def kubeconfig() -> str:
    """The files that KUBECONFIG names, else the one in the home folder. Raises SettingsError if none is there."""
    named = os.environ.get(_KUBECONFIG) or str(pathlib.Path.home() / ".kube" / "config")
    if not any(pathlib.Path(each).expanduser().exists() for each in named.split(os.pathsep) if each):
        raise _no_way(f"there is no kubeconfig at {named}")
    return named


async def load(configuration: client.Configuration, context: str | None) -> Credentials:
    """Set up the library from the service account of the pod, else from the kubeconfig. Raises SettingsError."""
    try:
        await _load(configuration, context)
        configuration.proxy = configuration.proxy or proxy_of_environment(configuration.host)
        # Else aiohttp reads the environment and ~/.netrc anew for each request, in a thread: twice the request's cost.
        configuration.client_session_kwargs = {"trust_env": False}
        return await _describe(configuration)
    except errors.SettingsError:
        raise
    except config_exception.ConfigException as e:
        raise _no_way(str(e)) from e
    except Exception as e:  # noqa: BLE001 - the loader checks nothing: it fails in whatever way the file makes it fail
        raise _no_way(f"the kubeconfig is malformed ({type(e).__name__})") from e


class Renewal:
    """Has an ``ApiClient`` use what the files say by now: seldom, and once for many requests that were refused.

    ``load`` sets up a configuration, ``known`` is what it said last; it may take ``timeout`` seconds.
    """

    def __init__(
        self,
        api: client.ApiClient,
        load: Callable[[client.Configuration], Awaitable[Credentials]],
        *,
        known: Credentials,
        timeout: float,
    ) -> None:
        self._api = api
        self._load = load
        self._known = known
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._next = 0.0  # the event loop's time

    async def renew(self, refused: str | None) -> None:
        """A request with this header was refused. Nothing is raised: whoever made it tries again anyway."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now < self._next or self._api.configuration.api_key.get(_TOKEN) != refused:
                return  # they were read a moment ago; or another request has seen to it
            self._next = now + _LEAST_SECONDS
            try:
                async with asyncio.timeout(self._timeout):
                    await self._read()
            except (errors.SettingsError, OSError, TimeoutError) as e:
                _log.warning("credentials_not_read", error=str(e) or type(e).__name__)

    async def _read(self) -> None:
        fresh = client.Configuration()
        fresh.connection_pool_maxsize = self._api.configuration.connection_pool_maxsize
        found = await self._load(fresh)
        if found == self._known:
            _log.warning("credentials_refused", hint="the API server refuses them, and the files hold no others")
            return
        if dataclasses.replace(found, authorization=None) != dataclasses.replace(self._known, authorization=None):
            # The way to the server is another one. What is under way on the old one breaks off, as any connection may.
            old, self._api.rest_client = self._api.rest_client, rest.RESTClientObject(fresh)
            await old.close()
        self._api.configuration, self._known = fresh, found
        _log.info("credentials_renewed")


async def _load(configuration: client.Configuration, context: str | None) -> None:
    if context is None and not os.environ.get(_KUBECONFIG):  # which kubectl heeds before the pod's, too
        try:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        except config_exception.ConfigException:
            pass  # not in a pod: the kubeconfig it is
        else:
            return
    await config.load_kube_config(  # type: ignore[no-untyped-call]
        kubeconfig(), client_configuration=configuration, context=context
    )


def _no_way(why: str) -> errors.SettingsError:
    return errors.SettingsError(f"No way to reach Kubernetes: {why}. Set KUBECONFIG, or run inside a pod.")


def proxy_of_environment(server: str) -> str | None:
    """The proxy that the environment names for this server, as kubectl heeds it; None if none."""
    parts = parse.urlsplit(server)
    if request.proxy_bypass(parts.hostname or ""):
        return None
    return request.getproxies().get(parts.scheme)


async def _describe(configuration: client.Configuration) -> Credentials:
    return Credentials(
        server=configuration.host,
        authorization=await configuration.get_api_key_with_prefix(_TOKEN),
        ca_path=configuration.ssl_ca_cert,
        certificate_path=configuration.cert_file,
        key_path=configuration.key_file,
        verify=configuration.verify_ssl,
        proxy=configuration.proxy,
        certificate=_content(configuration.cert_file),
    )


def _content(path: str | None) -> bytes:
    return pathlib.Path(path).read_bytes() if path else b""
