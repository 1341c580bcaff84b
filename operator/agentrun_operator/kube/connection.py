"""The client for the cluster that this process belongs to."""

import functools

import agentrun_operator
from kubernetes.aio import client

from agentrun_operator.kube import credentials, inspection, meter
from agentrun_operator.kube.http import HttpKubeClient


# A connection with TLS costs 256 KB, and one thread does the work of all; so more of them are no faster.
_CONNECTIONS = 24
INSPECTOR = "agentrun-doctor"  # as the API server's audit log names it


async def connect(
    *,
    timeout: float,  # noqa: ASYNC109 - only stored
    context: str | None = None,
    watches: int = 0,
    observe: meter.Observe = meter.nobody,
    program: str = "agentrun",
) -> HttpKubeClient:
    """A client with the kubeconfig that KUBECONFIG names, else the pod's service account, else ~/.kube/config.

    It follows them when they change.

    ``timeout`` limits each request, in seconds; ``context`` names a context of the kubeconfig; ``watches`` is how many
    requests at a time go on for long; ``observe`` is told of every request; ``program`` is who asks, as told in the
    audit log. Raises SettingsError when neither kind of credentials is found, or the kubeconfig is malformed.
    """
    api, renewal = await _open(timeout, context, watches, program)
    return HttpKubeClient(api, timeout=timeout, refused=renewal.renew, observe=observe)


async def connect_inspector(*, timeout: float, context: str | None = None) -> inspection.Inspector:  # noqa: ASYNC109 - only stored
    """As ``connect``, for inspections."""
    api, renewal = await _open(timeout, context, 0, INSPECTOR)
    return inspection.Inspector(api, timeout=timeout, refused=renewal.renew)


async def _open(
    timeout: float,  # noqa: ASYNC109 - only stored
    context: str | None,
    watches: int,
    program: str,
) -> tuple[client.ApiClient, credentials.Renewal]:
    load = functools.partial(credentials.load, context=context)
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = _CONNECTIONS + watches
    known = await load(configuration)
    api = client.ApiClient(configuration)
    api.user_agent = f"{program}/{agentrun_operator.__version__}"
    return api, credentials.Renewal(api, load, known=known, timeout=timeout)
