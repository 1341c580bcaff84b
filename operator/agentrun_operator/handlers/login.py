"""kopf's credentials: the same that our own client has, read by the same code."""

from typing import Any

import kopf

from agentrun_operator import errors, kube, runner

_RETRY_SECONDS = 5.0


class Login(kopf.ConnectionInfo):
    """Equal to no other one: kopf never takes back what was refused once, and gives up when there is nothing else."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


async def log_in(settings: kopf.OperatorSettings, memo: runner.Deps, **_: Any) -> Login:
    """Called at the start and after each 401; until it returns, kopf waits with all its requests."""
    try:
        found = await memo.logins.next()
    except errors.SettingsError as e:
        raise kopf.TemporaryError(str(e), delay=_RETRY_SECONDS) from e  # a file that is just being written, say
    return _as_kopf_knows_them(found, trust_env=settings.networking.trust_env)


def _as_kopf_knows_them(found: kube.Credentials, *, trust_env: bool) -> Login:
    scheme, _space, token = (found.authorization or "").partition(" ")
    return Login(
        server=found.server,
        ca_path=found.ca_path,
        insecure=not found.verify,
        scheme=scheme or None,
        token=token or None,
        certificate_path=found.certificate_path,
        private_key_path=found.key_path,
        proxy_url=found.proxy,
        trust_env=trust_env,
    )
