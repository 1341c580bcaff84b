"""Where the cluster is and with what credentials: the pod's service account, else the kubeconfig."""

from kubernetes.aio import client, config
from kubernetes.aio.config import config_exception

from agentrun_operator import errors
from agentrun_operator.kube.http import HttpKubeClient


async def connect(*, timeout: float, context: str | None = None) -> HttpKubeClient:  # noqa: ASYNC109 - only stored
    """A client for the cluster that this process belongs to: its service account in a pod, else the kubeconfig.

    ``timeout`` limits each request, in seconds; ``context`` names a context of the kubeconfig. Raises SettingsError
    when neither kind of credentials is found, or the kubeconfig is malformed.
    """
    configuration = client.Configuration()
    # Must exceed what the runner sends at once, or requests queue up here unseen.
    configuration.connection_pool_maxsize = 64
    try:
        await _load_credentials(configuration, context)
    except config_exception.ConfigException as e:
        raise errors.SettingsError(f"No way to reach Kubernetes: {e}. Set KUBECONFIG, or run inside a pod.") from e
    except Exception as e:  # noqa: BLE001 - the loader checks nothing: it fails in whatever way the file makes it fail
        raise errors.SettingsError(
            f"No way to reach Kubernetes: the kubeconfig is malformed ({type(e).__name__}). Set KUBECONFIG, or run "
            "inside a pod."
        ) from e
    return HttpKubeClient(client.ApiClient(configuration), timeout=timeout)


async def _load_credentials(configuration: client.Configuration, context: str | None) -> None:
    if context is None:
        try:
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=configuration
            )
        except config_exception.ConfigException:
            pass  # not in a pod: the kubeconfig it is
        else:
            return
    await config.load_kube_config(  # type: ignore[no-untyped-call]
        client_configuration=configuration, context=context
    )
