"""What there is in one namespace of AgentRuns, and what the API server says to a run that is tried there."""

import secrets
from collections.abc import Awaitable, Mapping
from typing import Any

from agentrun_operator import doctor, entry, errors, kube, manifest, models, names, settings, shapes
from agentrun_operator.cli.doctor import home, wishes

_STAND_IN_IMAGE = "agentrun-doctor.invalid/agent:1"  # for trials, where every run names its own
_STAND_IN = manifest.Template(text="agentrun doctor", source="agentrun doctor")
_UID = "00000000-0000-4000-8000-000000000000"
_MAY_NOT_CREATE = (
    "not tried: who asks may not create a {kind} here; try it from a workstation, with the rights of an administrator"
)


async def look(client: kube.Inspector, wanted: wishes.Wishes, found: home.Home, namespace: str) -> doctor.Place:
    """Everything in one namespace."""
    config = found.configuration.settings
    phase = await _phase(client, namespace)
    if phase is None:
        gone = doctor.Unknown(reason="there is no such namespace")
        return doctor.Place(
            namespace=namespace, phase=None, claim=gone, quotas=gone, tried_job=gone, tried_pod=gone, waiting=gone
        )
    run = wanted.run or _run(namespace)
    inherited = found.inherited.image if run.spec.job.inherit_from_operator else ""
    image = run.spec.job.image or config.image or inherited
    if not image:
        config = config.model_copy(update={"image": _STAND_IN_IMAGE})
    try:
        job = _build(run, config, found)
        fault = ""
    except errors.InvalidRunError as e:
        job, fault = {}, str(e)
    quotas = await home.ask(client.list_quotas(namespace))
    return doctor.Place(
        namespace=namespace,
        phase=phase,
        job=job,
        image=image,
        render_fault=fault,
        claim=await _claim(client, namespace, doctor.find_claim(job)),
        quotas=quotas if isinstance(quotas, doctor.Unknown) else tuple(map(doctor.parse_quota, quotas)),
        secrets={name: await _secret(client, namespace, name) for name in doctor.find_secrets(job)},
        tried_job=await _try("Job", client.try_job(job)) if job else doctor.Unknown(reason="there is none to try"),
        tried_pod=await _try("pod", client.try_pod(_pod(job)))
        if job
        else doctor.Unknown(reason="there is none to try"),
        waiting=await _waiting(client, namespace),
    )


def _run(namespace: str) -> models.AgentRun:
    """A small run of our own, with a name that no Job has."""
    body = {
        "apiVersion": models.AgentRun.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "agentrun-doctor", "namespace": namespace, "uid": _UID},
        "spec": {
            "companyId": "agentrun",
            "agent": {"id": "doctor"},
            "runId": f"doctor-{secrets.token_hex(4)}",
            "prompt": {"text": _STAND_IN.text},
        },
    }
    return models.AgentRun.parse(body)


def _build(run: models.AgentRun, config: settings.Settings, found: home.Home) -> dict[str, Any]:
    """The Job of a run. Raises InvalidRunError."""
    template = _STAND_IN if manifest.prompt_reference(run) is not None else manifest.read_template(run)
    scripts = manifest.Scripts(run_agent=entry.read("run-agent.sh"), bundle=entry.read("bundle.sh"))
    return dict(manifest.build(run, config, template=template, scripts=scripts, inherited=found.inherited).job)


def _pod(job: Mapping[str, Any]) -> dict[str, Any]:
    """The pod as the Job controller would create it."""
    template = job["spec"]["template"]
    meta = {
        **template["metadata"],
        "namespace": job["metadata"]["namespace"],
        "generateName": f"{job['metadata']['name']}-",
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}


async def _phase(client: kube.Inspector, namespace: str) -> str | None | doctor.Unknown:
    body = await home.ask_for(client.get_namespace(namespace))
    if body is None or isinstance(body, doctor.Unknown):
        return body
    return shapes.text(shapes.mapping(body.get("status")).get("phase")) or "Active"


async def _claim(client: kube.Inspector, namespace: str, name: str) -> doctor.Claim | None | doctor.Unknown:
    if not name:
        return doctor.Unknown(reason="no Job can be made, so no claim is known")
    body = await home.ask_for(client.get_claim(namespace, name))
    return body if body is None or isinstance(body, doctor.Unknown) else doctor.parse_claim(body)


async def _secret(client: kube.Inspector, namespace: str, name: str) -> doctor.SecretSeen | None | doctor.Unknown:
    data = await home.ask_for(client.get_secret_data(namespace, name))
    return data if data is None or isinstance(data, doctor.Unknown) else doctor.parse_secret(data)


async def _try(kind: str, tried: Awaitable[tuple[str, ...]]) -> doctor.Trial | doctor.Unknown:
    try:
        return doctor.Trial(warnings=await tried)
    except errors.ForbiddenError:
        return doctor.Unknown(reason=_MAY_NOT_CREATE.format(kind=kind))
    except errors.UnavailableError as e:
        return doctor.Unknown(reason=f"could not be tried: {e}", trouble=True)
    except errors.ApiError as e:
        return doctor.Trial(refusal=str(e))


async def _waiting(client: kube.Inspector, namespace: str) -> tuple[doctor.Waiting, ...] | doctor.Unknown:
    """Containers of agents that wait, and what for."""
    pods = await home.ask(client.list_pods(namespace))
    if isinstance(pods, doctor.Unknown):
        return pods
    return tuple(
        doctor.Waiting(pod=pod.name, reason=container.waiting_reason, message=container.waiting_message)
        for pod in pods
        for container in (*pod.init, *((pod.main,) if pod.main else ()))
        if container.waiting_reason
    )
