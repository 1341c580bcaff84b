"""Where the operator is, and how it is set up: from inside its pod, from its Deployment, or from the environment."""

import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from agentrun_operator import doctor, errors, kube, settings, shapes
from agentrun_operator.cli.doctor import wishes
from agentrun_operator.manifest import inheritance

_T = TypeVar("_T")

_NO_OPERATOR = "the operator's Deployment was not found"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """``account`` is the service account (namespace, name) whose rights matter; None: our own."""

    configuration: doctor.Configuration
    deployment: doctor.Deployment | None | doctor.Unknown
    pods: tuple[doctor.OperatorPod, ...] | doctor.Unknown
    inherited: inheritance.Inherited = inheritance.NOTHING
    account: tuple[str, str] | None = None


async def ask(asked: Awaitable[_T]) -> _T | doctor.Unknown:
    """An answer of the API server, or why there is none; NotFoundError is passed on."""
    try:
        return await asked
    except errors.NotFoundError:
        raise
    except errors.ForbiddenError as e:
        return doctor.Unknown(reason=f"not allowed to look: {e}")
    except errors.ApiError as e:
        return doctor.Unknown(reason=f"could not be looked at: {e}", trouble=True)


async def ask_for(asked: Awaitable[_T]) -> _T | None | doctor.Unknown:
    """As ``ask``; None for what is not there."""
    try:
        return await ask(asked)
    except errors.NotFoundError:
        return None


def configure(environ: Mapping[str, str], source: str, unread: tuple[str, ...] = ()) -> doctor.Configuration:
    """The settings in an environment; those of the default where they cannot be read."""
    strange = tuple(settings.unknown(environ))
    try:
        config = settings.from_environ(environ)
    except errors.SettingsError as e:
        return doctor.Configuration(settings=settings.Settings(), source=source, faults=str(e), strange=strange)
    return doctor.Configuration(settings=config, source=source, strange=strange, unread=unread)


async def find(client: kube.Inspector, wanted: wishes.Wishes, environ: Mapping[str, str]) -> Home:
    """The operator that this is about."""
    if wanted.inside:
        return await _inside(client, wanted, configure(environ, "the environment"))
    found = await ask_for(client.get_deployment(wanted.system_namespace, wanted.deployment))
    if found is None or isinstance(found, doctor.Unknown):
        pods = doctor.Unknown(reason=_NO_OPERATOR)
        return Home(configuration=configure(environ, "the environment"), deployment=found, pods=pods)
    return await _of_deployment(client, wanted, found)


async def _inside(client: kube.Inspector, wanted: wishes.Wishes, configuration: doctor.Configuration) -> Home:
    config = configuration.settings
    deployment = await ask_for(
        client.get_deployment(config.pod_namespace or wanted.system_namespace, wanted.deployment)
    )
    seen = doctor.parse_deployment(deployment) if isinstance(deployment, Mapping) else deployment
    if not config.pod_name:
        unnamed = doctor.Unknown(reason="AGENTRUN_POD_NAME is not set, so this pod does not know itself", trouble=True)
        return Home(configuration=configuration, deployment=seen, pods=unnamed)
    body = await ask_for(client.get_pod(config.pod_namespace, config.pod_name))
    if body is None or isinstance(body, doctor.Unknown):
        missing = doctor.Unknown(reason=f"there is no pod {config.pod_namespace}/{config.pod_name}", trouble=True)
        return Home(configuration=configuration, deployment=seen, pods=body or missing)
    return Home(
        configuration=configuration,
        deployment=seen,
        pods=(doctor.parse_operator_pod(body, config.pod_container),),
        inherited=inheritance.parse_own_pod(body, config),
    )


async def _of_deployment(client: kube.Inspector, wanted: wishes.Wishes, body: Mapping[str, Any]) -> Home:
    spec = shapes.mapping(body.get("spec"))
    template = shapes.mapping(spec.get("template"))
    namespace = wanted.system_namespace
    container = settings.Settings().pod_container
    fields = {"metadata.name": wanted.deployment, "metadata.namespace": namespace}  # a pod's name is as good as any
    values, elsewhere, maps = doctor.read_variables(template, container, fields=fields)
    for name in maps:
        data = await ask_for(client.get_config_map_data(namespace, name))
        if isinstance(data, Mapping):
            values = {**{key: value.decode(errors="replace") for key, value in data.items()}, **values}
        else:
            elsewhere = (*elsewhere, f"ConfigMap {name}")
    unread = tuple(name for name in elsewhere if name.startswith((settings.PREFIX, "ConfigMap ")))
    configuration = configure(values, f"Deployment {namespace}/{wanted.deployment}", unread)
    labels = shapes.mapping(shapes.mapping(spec.get("selector")).get("matchLabels"))
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = await ask(client.list_pods_by(namespace, selector))
    account = shapes.text(shapes.mapping(template.get("spec")).get("serviceAccountName")) or "default"
    return Home(
        configuration=configuration,
        deployment=doctor.parse_deployment(body),
        pods=pods if isinstance(pods, doctor.Unknown) else tuple(doctor.parse_operator_pod(p, container) for p in pods),
        inherited=inheritance.parse_own_pod(template, configuration.settings),
        account=(namespace, account),
    )
