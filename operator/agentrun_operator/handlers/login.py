"""kopf's credentials: the same that our own client has, read by the same code."""

import ssl
from typing import Any

import aiohttp
import kopf

from agentrun_operator import errors, kube, runner

_RETRY_SECONDS = 5.0
# Beside the watches. kopf itself sets no limit: in a rush it would open hundreds, which cost 256 KB each and are no
# faster, because the work of all of them is done by one thread.
_CONNECTIONS = 8


class Login(kopf.AiohttpSession):
    """Equal to no other one: kopf never takes back what was refused once, and gives up when there is nothing else."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


async def log_in(memo: runner.Deps, **_: Any) -> Login:
    """Called at the start and after each 401; until it returns, kopf waits with all its requests."""
    try:
        found = await memo.logins.next()
    except errors.SettingsError as e:
        raise kopf.TemporaryError(str(e), delay=_RETRY_SECONDS) from e  # a file that is just being written, say
    watches = len(memo.config.watched_namespaces) or 1
    return _as_kopf_knows_them(found, watches=watches, observe=memo.meters.api("kopf"))


def _as_kopf_knows_them(found: kube.Credentials, *, watches: int, observe: kube.Observe) -> Login:
    tls = ssl.create_default_context(cafile=found.ca_path)
    if found.certificate_path:
        tls.load_cert_chain(found.certificate_path, found.key_path)
    if not found.verify:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS + watches, ssl=tls),
        headers={"Authorization": found.authorization} if found.authorization else {},
        proxy=found.proxy,
        trace_configs=[kube.trace(observe), kube.close_after_watch()],
    )
    return Login(server=found.server, aiohttp_session=session)
