"""What agents' pods take over from the operator's own pod: read off its JSON, by allow-list.

Nothing is inherited that no setting names: the operator's own Secrets are not every agent's (design: behaviour, known
defect 16). Parsing is total: whatever the pod lacks, or has of a wrong type, is not inherited.
"""

import dataclasses
import fnmatch
import hashlib
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrun_operator import settings, shapes

# These speak of the operator and its container, not of the agent's, so no allow-list lets them through.
# What speaks of the operator itself: its settings, its place, and cloud roles that its service account was given, whose
# token files the agent's pod does not have.
_OWN_VARIABLES = (
    *("AGENTRUN_*", "KUBERNETES_*", "POD_*", "HOSTNAME", "HOME", "PATH", "PWD"),
    *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_*", "GOOGLE_APPLICATION_CREDENTIALS"),
)

# References that hold in any pod of the namespace. A fieldRef or resourceFieldRef would speak of the agent's pod, and a
# fileKeyRef of a volume that it does not have.
_PORTABLE_SOURCES = {"secretKeyRef", "configMapKeyRef"}

# Where the agent's pod has something of its own, besides the shared volume.
_OCCUPIED = (
    "/tmp",  # noqa: S108 - a path in the pod, on its own volume
    "/run/agentrun",
    "/run/agentrun-bundle",
    "/run/agentrun-skills",
    "/run/secrets/kubernetes.io",
    "/var/run",  # a link to /run in most images: a mount there or above would cut it off
)

_MAX_NAME = 63
_HASH_LENGTH = 6
_PREFIX = "inherited-"
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What agents' pods take over from the operator's own pod; holds for pods in the operator's own namespace."""

    image: str = ""
    claim: str = ""
    env: tuple[Mapping[str, Any], ...] = ()  # container env entries: literals and valueFrom, in their order
    env_from: tuple[Mapping[str, Any], ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()  # secret volumes, optional
    mounts: tuple[Mapping[str, Any], ...] = ()  # read-only
    image_pull_secrets: tuple[Mapping[str, Any], ...] = ()
    dns_config: Mapping[str, Any] | None = None

    def elsewhere(self) -> "Inherited":
        """What is left for pods in another namespace: Secrets, ConfigMaps and claims exist only in their own."""
        literals = tuple(entry for entry in self.env if not entry.get("valueFrom"))
        return Inherited(image=self.image, env=literals, dns_config=self.dns_config)


NOTHING = Inherited()


def parse_own_pod(pod: Mapping[str, Any], config: settings.Settings) -> Inherited:
    """Reduce the operator's own pod (as JSON) to what ``config`` lets agents' pods inherit."""
    spec = shapes.mapping(pod.get("spec"))
    container = _container(spec, config.pod_container)
    parts = config.inherited_parts
    volumes, mounts = _secret_volumes(spec, container, config)
    return Inherited(
        image=shapes.text(container.get("image")) if "image" in parts else "",
        claim=_claim(spec, container, config) if "claim" in parts else "",
        env=_env(container, settings.parse_list(config.inherit_env)),
        env_from=_env_from(container, settings.parse_list(config.inherit_env_from)),
        volumes=volumes,
        mounts=mounts,
        image_pull_secrets=_pull_secrets(spec) if "imagePullSecrets" in parts else (),
        dns_config=shapes.mapping(spec.get("dnsConfig")) or None if "dnsConfig" in parts else None,
    )


def _container(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    containers = shapes.objects(spec.get("containers"))
    return next((c for c in containers if name and c.get("name") == name), next(iter(containers), {}))


def _claim(spec: Mapping[str, Any], container: Mapping[str, Any], config: settings.Settings) -> str:
    """The claim behind the first of the two paths at which anything is mounted."""
    mounted = {_absolute(mount["mountPath"]): mount.get("name") for mount in _mounts(container)}
    paths = [_absolute(path) for path in (config.data_path, config.data_mount) if path]
    name = next((mounted[path] for path in paths if path in mounted), None)
    volume = next((v for v in shapes.objects(spec.get("volumes")) if name and v.get("name") == name), {})
    return shapes.text(shapes.mapping(volume.get("persistentVolumeClaim")).get("claimName"))


def _env(container: Mapping[str, Any], allowed: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    # Entries stay as they are written. A $(NAME) whose variable is not inherited stays in the value as text: Kubernetes
    # does not expand what it cannot resolve.
    return tuple(
        entry
        for entry in shapes.objects(container.get("env"))
        if (name := shapes.text(entry.get("name")))
        and _matches(name, allowed)
        and not _matches(name, _OWN_VARIABLES)
        and _is_portable(entry)
    )


def _is_portable(entry: Mapping[str, Any]) -> bool:
    source = entry.get("valueFrom")
    if source is None:
        return isinstance(entry.get("value", ""), str)
    kinds = {kind for kind, reference in shapes.mapping(source).items() if reference is not None}
    return bool(kinds) and kinds <= _PORTABLE_SOURCES


def _env_from(container: Mapping[str, Any], allowed: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    taken = []
    for entry in shapes.objects(container.get("envFrom")):
        sources = [shapes.mapping(entry[key]) for key in ("secretRef", "configMapRef") if entry.get(key) is not None]
        if sources and all(_matches(shapes.text(source.get("name")), allowed) for source in sources):
            taken.append(entry)
    return tuple(taken)


def _secret_volumes(
    spec: Mapping[str, Any], container: Mapping[str, Any], config: settings.Settings
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Mapping[str, Any], ...]]:
    """Volumes and mounts. A projected volume is never taken: it may hold the operator's service account token."""
    allowed = settings.parse_list(config.inherit_secret_volumes)
    occupied = [_resolved(path) for path in (config.data_mount, *_OCCUPIED)]
    usable = [m for m in _mounts(container) if _is_usable(m) and _is_free(m["mountPath"], occupied)]
    volumes, mounts = [], []
    for volume in shapes.objects(spec.get("volumes")):
        name = shapes.text(volume.get("name"))
        secret = shapes.mapping(volume.get("secret"))
        of_volume = [mount for mount in usable if mount.get("name") == name]
        if not (_matches(name, allowed) and shapes.text(secret.get("secretName")) and of_volume):
            continue
        inherited = _inherited_name(name)
        volumes.append({"name": inherited, "secret": _optional_secret(secret)})
        mounts += [_read_only(mount, inherited) for mount in of_volume]
    return tuple(volumes), tuple(mounts)


def _optional_secret(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Optional, so that a Secret deleted since the operator started does not keep agents from starting."""
    kinds = (("secretName", str), ("items", list), ("defaultMode", int))
    return {**{key: secret[key] for key, kind in kinds if isinstance(secret.get(key), kind)}, "optional": True}


def _read_only(mount: Mapping[str, Any], volume: str) -> dict[str, Any]:
    sub_path = shapes.text(mount.get("subPath"))
    return {
        "name": volume,
        "mountPath": mount["mountPath"],
        "readOnly": True,
        **({"subPath": sub_path} if sub_path else {}),
    }


def _is_usable(mount: Mapping[str, Any]) -> bool:
    # A subPathExpr is made of the operator's own variables, and without it the whole Secret would stand at the path.
    return not mount.get("subPathExpr") and isinstance(mount.get("subPath", ""), str)


def _is_free(path: str, occupied: Iterable[str]) -> bool:
    """Whether a mount at ``path`` neither hides nor stands in what the agent's pod has of its own."""
    clean = _resolved(path)
    return not any(posixpath.commonpath([clean, other]) in {clean, other} for other in occupied)


def _inherited_name(name: str) -> str:
    """A DNS label of at most 63 characters, different for different names."""
    plain = f"{_PREFIX}{name}"
    if len(plain) <= _MAX_NAME and _DNS_LABEL.fullmatch(plain):
        return plain
    digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_HASH_LENGTH]
    return f"{re.sub(r'[^a-z0-9-]', '-', plain)[: _MAX_NAME - _HASH_LENGTH - 1]}-{digest}"


def _pull_secrets(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    return tuple(entry for entry in shapes.objects(spec.get("imagePullSecrets")) if shapes.text(entry.get("name")))


def _mounts(container: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mount for mount in shapes.objects(container.get("volumeMounts")) if shapes.text(mount.get("mountPath"))]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` is one of ``patterns``, in which only ``*`` is special. No name matches nothing."""
    plain = (pattern.replace("[", "[[]").replace("?", "[?]") for pattern in patterns)
    return bool(name) and any(fnmatch.fnmatchcase(name, pattern) for pattern in plain)


def _absolute(path: str) -> str:
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _resolved(path: str) -> str:
    clean = _absolute(path)
    return clean.removeprefix("/var") if clean.startswith("/var/run/") else clean  # a link in most images
