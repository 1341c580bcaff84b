"""The client for the cluster that this process belongs to."""

import functools

from kubernetes.aio import client

from agentrun_operator.kube import credentials
from agentrun_operator.kube.http import HttpKubeClient


async def connect(*, timeout: float, context: str | None = None) -> HttpKubeClient:  # noqa: ASYNC109 - only stored
    """A client with the pod's service account, else with the kubeconfig; it follows them when they change.

    ``timeout`` limits each request, in seconds; ``context`` names a context of the kubeconfig. Raises SettingsError
    when neither kind of credentials is found, or the kubeconfig is malformed.
    """
    load = functools.partial(credentials.load, context=context)
    configuration = client.Configuration()
    # Must exceed what the runner sends at once, or requests queue up here unseen.
    configuration.connection_pool_maxsize = 64
    known = await load(configuration)
    api = client.ApiClient(configuration)
    renewal = credentials.Renewal(api, load, known=known, timeout=timeout)
    return HttpKubeClient(api, timeout=timeout, refused=renewal.renew)
