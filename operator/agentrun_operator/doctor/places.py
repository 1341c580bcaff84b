"""Checks of the namespaces that AgentRuns are in: what the next agent needs to start there."""

import dataclasses
import decimal
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from agentrun_operator import facts, shapes
from agentrun_operator.doctor import findings, quantities, sights
from agentrun_operator.doctor.findings import Finding, Unknown

_TAG = re.compile(r":([\w][\w.-]{0,127})$")
_REFERENCE = re.compile(r"[a-z0-9][a-zA-Z0-9._:/-]*(@sha256:[0-9a-f]{64})?")
_PULL_TROUBLE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_NO_JOB = "no Job can be made of a run, so it is not known"
_HOST = "kubernetes.io/hostname"
_CREDENTIALS = (
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    *("AWS_BEARER_TOKEN_BEDROCK", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
)

_OfPlace = Callable[[sights.Sights, sights.Place], Iterable[Finding]]


def everywhere(check: _OfPlace) -> Callable[[sights.Sights], Iterator[Finding]]:
    """A check of one namespace as a check of all of them."""

    def examine(seen: sights.Sights) -> Iterator[Finding]:
        if not seen.places:
            yield findings.skipped("no namespace was looked at")
        for place in seen.places:
            yield from check(seen, place)

    return examine


@dataclasses.dataclass(slots=True)
class Need:
    """What a pod takes of one Secret: single keys, or all of it. ``optional``: it starts without that, too."""

    keys: set[str] = dataclasses.field(default_factory=set)
    optional: bool = True


def find_secrets(job: Mapping[str, Any]) -> dict[str, Need]:
    """The Secrets that the Job's pod names, except the one that the operator makes for it."""
    spec = _pod_spec(job)
    wanted: dict[str, Need] = {}
    for container in [*shapes.objects(spec.get("initContainers")), *shapes.objects(spec.get("containers"))]:
        for entry in shapes.objects(container.get("env")):
            ref = shapes.mapping(shapes.mapping(entry.get("valueFrom")).get("secretKeyRef"))
            _add(wanted, ref, ref.get("name"), ref.get("key"))
        for entry in shapes.objects(container.get("envFrom")):
            ref = shapes.mapping(entry.get("secretRef"))
            _add(wanted, ref, ref.get("name"))
    for volume in shapes.objects(spec.get("volumes")):
        if volume.get("name") != "prompt":
            secret = shapes.mapping(volume.get("secret"))
            _add(wanted, secret, secret.get("secretName"))
    for ref in shapes.objects(spec.get("imagePullSecrets")):
        _add(wanted, {}, ref.get("name"))
    return wanted


def find_claim(job: Mapping[str, Any]) -> str:
    """The name of the claim that the Job's pod mounts as its shared volume; "" if none."""
    volumes = shapes.objects(_pod_spec(job).get("volumes"))
    data = next((volume for volume in volumes if volume.get("name") == "data"), {})
    return shapes.text(shapes.mapping(data.get("persistentVolumeClaim")).get("claimName"))


def check_namespace(_seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """Whether the namespace is there."""
    if isinstance(place.phase, Unknown):
        yield findings.unknown(place.phase, place.namespace)
    elif place.phase is None:
        yield findings.failed("there is no such namespace", place.namespace)
    elif place.phase != "Active":
        yield findings.failed(f"the namespace is {place.phase}: nothing can be created in it", place.namespace)
    else:
        yield findings.passed("is there", place.namespace)


def check_claim(_seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """Whether the claim of the shared volume is bound."""
    claim, name = place.claim, find_claim(place.job)
    if isinstance(claim, Unknown):
        yield findings.unknown(claim, place.namespace)
    elif claim is None:
        yield findings.failed(f"there is no PersistentVolumeClaim {name}", place.namespace)
    elif claim.deleting:
        yield findings.failed(
            f"the claim {name} is being deleted: it goes as soon as no pod mounts it, and all logs may go with it",
            place.namespace,
        )
    elif claim.phase == "Bound":
        yield findings.passed(f"the claim {name} is bound", place.namespace)
    elif claim.phase == "Pending":
        yield findings.warned(
            f"the claim {name} is not bound yet",
            place.namespace,
            hint="Right until the first pod with volumeBindingMode WaitForFirstConsumer; else see its events.",
        )
    else:
        yield findings.failed(f"the claim {name} is {claim.phase or 'in no phase'}", place.namespace)


def check_access_mode(seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """Whether all who need the volume can mount it at a time."""
    claim = place.claim
    if not isinstance(claim, sights.Claim):
        yield findings.skipped("the claim was not seen", place.namespace)
        return
    modes, one_node = set(claim.modes), "only pods of one node can mount the volume"
    if "ReadWriteMany" in modes:
        yield findings.passed("ReadWriteMany: every node can mount the volume", place.namespace)
    elif "ReadWriteOnce" not in modes:
        shown = ", ".join(claim.modes) or "no access mode"
        yield findings.failed(f"{shown}: operator and agents cannot write to the volume together", place.namespace)
    elif _replicas(seen) > 1:
        yield findings.failed(f"ReadWriteOnce and {_replicas(seen)} replicas: {one_node}", place.namespace)
    elif isinstance(seen.nodes, Unknown):
        yield findings.warned(
            f"ReadWriteOnce: {one_node}; how many nodes agents may go to cannot be told", place.namespace
        )
    else:
        fitting = _nodes_of(place, seen.nodes)
        if len(fitting) > 1:
            sentence = f"ReadWriteOnce, and agents may go to {len(fitting)} nodes: {one_node}"
            yield findings.warned(sentence, place.namespace)
        else:
            yield findings.passed("ReadWriteOnce, and agents go to one node at most", place.namespace)


def check_secrets(_seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """Whether the Secrets that an agent needs are there, with their keys."""
    if not place.job:
        yield findings.skipped(_NO_JOB, place.namespace)
        return
    wanted = find_secrets(place.job)
    for name, need in sorted(wanted.items()):
        yield _of_secret(name, need, place)
    if not wanted:
        variables = {entry.get("name") for entry in shapes.objects(_agent(place.job).get("env"))}
        given = next((name for name in _CREDENTIALS if name in variables), "")
        yield findings.skipped(
            f"the agent gets {given} without a Secret"
            if given
            else "no Secret is given to every agent; to check what one run needs, name its file with -f",
            place.namespace,
        )


def check_quota(_seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """Whether the quotas leave room for one more run."""
    if isinstance(place.quotas, Unknown):
        yield findings.unknown(place.quotas, place.namespace)
        return
    if not place.quotas:
        yield findings.passed("there is no ResourceQuota", place.namespace)
    wanted = quantities.of_run(place.job)
    for quota in place.quotas:
        subject = f"{place.namespace}/{quota.name}"
        if quota.scoped:
            yield findings.skipped("it counts only some pods; whether agents are among them cannot be told", subject)
            continue
        never, not_now = _excesses(quota, wanted)
        if never:
            yield findings.failed(f"a run never fits: {', '.join(never)}", subject)
        elif not_now:
            yield findings.warned(f"no further run fits now: {', '.join(not_now)}", subject)
        else:
            yield findings.passed("one more run fits", subject)


def check_admission(_seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """Whether the API server would take the Job and the pod of a run."""
    if place.render_fault:
        yield findings.failed(f"no Job can be made: {place.render_fault}", place.namespace)
        return
    for kind, trial in (("Job", place.tried_job), ("pod", place.tried_pod)):
        subject = f"{place.namespace}, {kind}"
        if isinstance(trial, Unknown):
            yield findings.unknown(trial, subject)
        elif trial.refusal:
            yield findings.failed(f"refused: {trial.refusal}", subject)
        elif trial.warnings:
            yield findings.warned(f"accepted, with a warning: {'; '.join(trial.warnings)}", subject)
        else:
            yield findings.passed("would be created", subject)


def check_image(seen: sights.Sights, place: sights.Place) -> Iterable[Finding]:
    """What can be told of the image without pulling it."""
    image = place.image
    if not place.job:
        yield findings.skipped(_NO_JOB, place.namespace)
        return
    if not image:
        yield findings.skipped("AGENTRUN_IMAGE is empty: every run has to name its image", place.namespace)
        return
    if not _REFERENCE.fullmatch(image):
        yield findings.failed(f"{image!r} is no image reference", place.namespace)
        return
    if not isinstance(place.waiting, Unknown):
        stuck = next((w for w in place.waiting if w.reason in _PULL_TROUBLE and image in w.message), None)
        if stuck is not None:
            yield findings.failed(f"{image}: pod {stuck.pod} cannot pull it, {stuck.reason}", place.namespace)
            return
    tag = _TAG.search(image)
    if "@sha256:" not in image and (tag is None or tag[1] == "latest"):
        yield findings.warned(f"{image} has no fixed tag: two runs may get different images", place.namespace)
        return
    nodes = () if isinstance(seen.nodes, Unknown) else _nodes_of(place, seen.nodes)
    holding = [node.name for node in nodes if _holds(node, image)]
    if nodes and len(holding) == len(nodes):
        yield findings.passed(f"{image} is on every node that agents may go to", place.namespace)
    else:
        on_some = f"{len(holding)} of {len(nodes)} nodes have it; " if holding else ""
        yield findings.skipped(
            f"{image} is a sound reference; {on_some}whether a node can pull it cannot be told without doing it",
            place.namespace,
        )


def _excesses(quota: sights.Quota, wanted: Mapping[str, decimal.Decimal]) -> tuple[list[str], list[str]]:
    """What of a run does not fit into the quota at all, and what does not fit beside that which is there now."""
    never, not_now = [], []
    for name, text in quota.hard.items():
        hard, used = quantities.parse(text), quantities.parse(quota.used.get(name, "0"))
        need = wanted.get(name)
        if hard is None or need is None or used is None:
            continue
        line = f"{name} ({need.normalize():f} needed, {quota.used.get(name, '0')} of {text} used)"
        if need > hard:
            never.append(line)
        elif need > hard - used:
            not_now.append(line)
    return never, not_now


def _of_secret(name: str, need: Need, place: sights.Place) -> Finding:
    subject, found = f"{place.namespace}/{name}", place.secrets.get(name)
    tell = findings.warned if need.optional else findings.failed
    without = "; agents start without it" if need.optional else ""
    if isinstance(found, Unknown):
        return findings.unknown(found, subject)
    if found is None:
        return tell(f"there is no such Secret{without}", subject)
    missing, empty = sorted(need.keys - found.keys), sorted(need.keys & found.empty)
    if missing:
        there = ", ".join(sorted(found.keys)) or "none"
        return tell(f"has no key {', '.join(missing)}, only {there}{without}", subject)
    if empty or (not need.keys and found.keys <= found.empty):
        return tell(f"holds nothing{' in ' + ', '.join(empty) if empty else ''}", subject)
    return findings.passed(f"is there{', with ' + ', '.join(sorted(need.keys)) if need.keys else ''}", subject)


def _add(wanted: dict[str, Need], ref: Mapping[str, Any], name: object, key: object = None) -> None:
    if isinstance(name, str) and name:
        need = wanted.setdefault(name, Need())
        need.keys |= {key} if isinstance(key, str) else set()
        need.optional &= ref.get("optional") is True


def _pod_spec(job: Mapping[str, Any]) -> Mapping[str, Any]:
    return shapes.mapping(shapes.mapping(shapes.mapping(job.get("spec")).get("template")).get("spec"))


def _agent(job: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = shapes.objects(_pod_spec(job).get("containers"))
    return next((c for c in containers if c.get("name") == facts.MAIN_CONTAINER), {})


def _nodes_of(place: sights.Place, nodes: Iterable[sights.Node]) -> tuple[sights.Node, ...]:
    """Those that the Job's node selector allows."""
    selector = shapes.mapping(_pod_spec(place.job).get("nodeSelector"))
    return tuple(
        node
        for node in nodes
        if all({_HOST: node.name, **node.labels}.get(key) == value for key, value in selector.items())
    )


def _holds(node: sights.Node, image: str) -> bool:
    """Whether a kubelet reports the image; it writes out the registry that a short reference leaves out."""
    return any(known == image or known.endswith(f"/{image}") for known in node.images)


def _replicas(seen: sights.Sights) -> int:
    if not isinstance(seen.deployment, sights.Deployment) or not seen.configuration.settings.data_path:
        return 1
    return seen.deployment.replicas
