"""What a run is made from, beside the AgentRun itself: the prompt that it names, and the operator's own pod."""

import asyncio
from collections.abc import Mapping

import structlog

from agentrun_operator import errors, kube, manifest, models, redaction, settings
from agentrun_operator.manifest import inheritance

_log = structlog.get_logger(__name__)

_SECRETS_SECONDS = 60
_ROLES_SECONDS = 15  # for so long "forbidden" is not believed
_WILL_NOT_HELP = frozenset({403, 404})  # HTTP's words for what another try does not change


class PromptMissingError(errors.AgentRunError):
    """The Secret or ConfigMap with the prompt, or its key, is not there (yet); the text says which."""


async def read_template(run: models.AgentRun, client: kube.KubeClient) -> manifest.Template:
    """The main template of the run's prompt.

    Raises PromptMissingError, InvalidRunError for what is no text, ApiError.
    """
    reference = manifest.prompt_reference(run)
    if reference is None:
        return manifest.read_template(run)
    kind, path, ref = reference
    get = client.get_secret_data if kind == "Secret" else client.get_config_map_data
    try:
        value = (await get(run.metadata.namespace, ref.name)).get(ref.key)
    except errors.NotFoundError as e:
        raise PromptMissingError(f"{path}: there is no {kind} {ref.name} in namespace {run.metadata.namespace}.") from e
    if value is None:
        raise PromptMissingError(f"{path}: {kind} {ref.name} has no key {ref.key}.")
    return manifest.read_template(run, value)


class OwnPod:
    """What the operator's own pod has to give, read again when what is known is ``own_pod_seconds`` old."""

    def __init__(self, config: settings.Settings, client: kube.KubeClient) -> None:
        self._config = config
        self._client = client
        self._known: inheritance.Inherited | None = None
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()  # a burst of runs asks once

    async def inherited_by(self, run: models.AgentRun) -> inheritance.Inherited:
        """What the pod of ``run`` may take over; NOTHING outside a cluster, and for a run that declines.

        Raises ApiError as long as the pod could not be read even once: a run that was started without what it should
        have inherited would fail for a reason that nobody could see.
        """
        if not self._config.pod_name or not run.spec.job.inherit_from_operator:
            return inheritance.NOTHING
        async with self._lock:
            loop = asyncio.get_running_loop()
            if self._known is None or loop.time() - self._read_at >= self._config.own_pod_seconds:
                self._known = await self._read()
                self._read_at = loop.time()
            return self._known

    async def _read(self) -> inheritance.Inherited:
        namespace, name = self._config.pod_namespace, self._config.pod_name
        try:
            return inheritance.parse_own_pod(await self._client.get_pod(namespace, name), self._config)
        except errors.ApiError as e:
            if self._known is not None:
                return self._known
            raise errors.UnavailableError(
                f"The operator's own pod {namespace}/{name} could not be read: {e}. AGENTRUN_POD_NAME names it; the "
                "operator's role must allow to get it.",
                status=e.status,
            ) from e


async def find_credential(run: models.AgentRun, config: settings.Settings, own_pod: OwnPod) -> str:
    """What tells runs that share the provider's credential from others. Raises InvalidRunError, ApiError."""
    return manifest.find_credential(run, config, await own_pod.inherited_by(run))


class SecretValues:
    """Reads the Secrets of runs' environments, so that their values can be kept out of what people read.

    A Secret is read at most once a minute, for all runs together, and forgotten after that.
    """

    def __init__(self, config: settings.Settings, client: kube.KubeClient, own_pod: OwnPod) -> None:
        self._config = config
        self._client = client
        self._own_pod = own_pod
        self._known: dict[tuple[str, str], tuple[float, Mapping[str, bytes]]] = {}
        self._forbidden_since: dict[tuple[str, str], float] = {}

    async def redactor(self, run: models.AgentRun) -> redaction.Redactor:
        """Knows every secret value in the run's environment. Raises ApiError as long as one cannot be read.

        What is not there, or not for the operator to see, is left out: the agent has hardly got it either.
        """
        try:
            inherited = await self._own_pod.inherited_by(run)
        except errors.ApiError as e:
            if e.status not in _WILL_NOT_HELP:
                raise
            inherited = inheritance.NOTHING  # it cannot be read later either, and the run must come to its end
        found = manifest.find_secrets(run, self._config, inherited)
        return redaction.Redactor(
            found.pick({name: await self._read(run.metadata.namespace, name) for name in found.names})
        )

    async def _read(self, namespace: str, name: str) -> Mapping[str, bytes]:
        now = asyncio.get_running_loop().time()
        self._known = {key: entry for key, entry in self._known.items() if now - entry[0] < _SECRETS_SECONDS}
        if (namespace, name) not in self._known:
            try:
                data = await self._client.get_secret_data(namespace, name)
            except errors.NotFoundError:
                data = {}
            except errors.ForbiddenError as e:
                if now - self._forbidden_since.setdefault((namespace, name), now) < _ROLES_SECONDS:
                    raise  # an API server that has just started does not know the roles yet
                _log.warning("secret_unreadable", secret=name, error=str(e))
                data = {}
            except errors.RejectedError as e:
                _log.warning("secret_unreadable", secret=name, error=str(e))
                data = {}
            self._forbidden_since.pop((namespace, name), None)
            self._known[namespace, name] = (now, data)
        return self._known[namespace, name][1]
