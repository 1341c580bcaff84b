"""Ask the API server, and look at the volume: everything that ``doctor.examine`` wants to know."""

import datetime
from collections.abc import Mapping
from typing import Any

from agentrun_operator import doctor, errors, kube
from agentrun_operator.cli.doctor import home, places, volume, wishes

_NOT_REACHED = doctor.Unknown(reason="the API server was not reached")


async def look_without_api(wanted: wishes.Wishes, environ: Mapping[str, str], why: str) -> doctor.Sights:
    """What is left to see when there is no way to the API server, which ``why`` explains."""
    configuration = home.configure(environ, "the environment")
    return doctor.Sights(
        configuration=configuration,
        api=doctor.Unknown(reason=why, trouble=True),
        crd=_NOT_REACHED,
        reviews=_NOT_REACHED,
        reviewed="",
        deployment=_NOT_REACHED,
        pods=_NOT_REACHED,
        lease=_NOT_REACHED,
        nodes=_NOT_REACHED,
        places=(),
        volume=_volume(wanted, configuration, environ),
    )


async def look(client: kube.Inspector, wanted: wishes.Wishes, environ: Mapping[str, str]) -> doctor.Sights:
    """Everything."""
    try:
        greeting = await client.greet()
    except errors.ApiError as e:
        return await look_without_api(wanted, environ, f"the API server cannot be asked: {e}")
    skew = None if greeting.time is None else (greeting.time - greeting.asked).total_seconds()
    found = await home.find(client, wanted, environ)
    nodes = await home.ask(client.list_nodes())
    return doctor.Sights(
        configuration=found.configuration,
        api=doctor.Api(version=greeting.version, seconds=greeting.seconds, skew=skew),
        crd=await _crd(client),
        reviews=await _reviews(client, found),
        reviewed=_reviewed(wanted, found),
        deployment=found.deployment,
        pods=found.pods,
        lease=await _lease(client, wanted, found, skew=skew or 0.0),
        nodes=nodes if isinstance(nodes, doctor.Unknown) else tuple(filter(None, map(doctor.parse_node, nodes))),
        places=tuple([await places.look(client, wanted, found, name) for name in _namespaces(wanted, found)]),
        volume=_volume(wanted, found.configuration, environ),
    )


def _namespaces(wanted: wishes.Wishes, found: home.Home) -> tuple[str, ...]:
    config = found.configuration.settings
    if wanted.run is not None:
        return (wanted.run.metadata.namespace,)
    return wanted.namespaces or config.watched_namespaces or (config.pod_namespace or "default",)


async def _crd(client: kube.Inspector) -> doctor.Crd | None | doctor.Unknown:
    """The CRD; for who may not read it, what the API server publishes of it."""
    try:
        return doctor.parse_crd(await client.get_crd())
    except errors.NotFoundError:
        return None
    except errors.ForbiddenError:
        pass
    except errors.ApiError as e:
        return doctor.Unknown(reason=f"could not be looked at: {e}", trouble=True)
    served = await home.ask_for(client.list_served_versions())
    if served is None or isinstance(served, doctor.Unknown):
        return served
    schema = await home.ask_for(client.get_published_schema())
    return schema if isinstance(schema, doctor.Unknown) else doctor.Crd(served=served, schema=schema)


async def _reviews(client: kube.Inspector, found: home.Home) -> tuple[doctor.Review, ...] | doctor.Unknown:
    reviews = []
    for question in doctor.plan_asks(found.configuration.settings):
        resource, _, subresource = question.resource.partition("/")
        attributes = {
            "group": question.group,
            "resource": resource,
            "subresource": subresource,
            "verb": question.verb,
            "namespace": question.namespace,
            "name": question.name,
        }
        allowed = await home.ask(client.may(attributes, account=found.account))
        if isinstance(allowed, doctor.Unknown):
            return allowed
        reviews.append(doctor.Review(ask=question, allowed=allowed))
    return tuple(reviews)


def _reviewed(wanted: wishes.Wishes, found: home.Home) -> str:
    if found.account is not None:
        return "service account " + "/".join(found.account)
    return "the operator" if wanted.inside else "the user of this kubeconfig"


async def _lease(
    client: kube.Inspector, wanted: wishes.Wishes, found: home.Home, *, skew: float
) -> doctor.Lease | None | doctor.Unknown:
    config = found.configuration.settings
    if not config.leader_election_lease:
        return None
    namespace = config.pod_namespace or wanted.system_namespace
    body: Any = await home.ask_for(client.get_lease(namespace, config.leader_election_lease))
    if body is None or isinstance(body, doctor.Unknown):
        return body
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=skew)
    return doctor.parse_lease(body, now)


def _volume(
    wanted: wishes.Wishes, configuration: doctor.Configuration, environ: Mapping[str, str]
) -> doctor.Volume | doctor.Unknown:
    config = configuration.settings
    if not config.data_path:
        return doctor.Unknown(reason="AGENTRUN_DATA_PATH is empty: the operator reads logs from the pods")
    here = wanted.inside or config.data_path == environ.get("AGENTRUN_DATA_PATH")
    if not here:
        return doctor.Unknown(
            reason="this is not the operator's pod: kubectl exec there, and agentrun doctor looks at the volume"
        )
    return volume.look(config, timeout=wanted.timeout)
