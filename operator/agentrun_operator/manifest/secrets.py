"""Where the secret values of a run's environment come from, so that they can be kept out of what people read."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentrun_operator import facts, models, redaction, settings, shapes
from agentrun_operator.manifest import claude, environment
from agentrun_operator.manifest.inheritance import Inherited


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SecretSources:
    """Literal values, single keys of Secrets as (name, key), and Secrets that are taken whole; all in one namespace."""

    values: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)
    keys: frozenset[tuple[str, str]] = frozenset()
    whole: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Every Secret that has to be read."""
        return self.whole | {name for name, _ in self.keys}

    def pick(self, data: Mapping[str, Mapping[str, bytes]]) -> list[str]:
        """The secret values, from ``data`` by name of the Secret; what is not there is left out."""
        found = [data.get(name, {}).get(key) for name, key in self.keys]
        found += [value for name in self.whole for value in data.get(name, {}).values()]
        return [*self.values, *(value.decode(errors="replace") for value in found if value is not None)]


def find(run: models.AgentRun, config: settings.Settings, inherited: Inherited) -> SecretSources:
    """What may hold a secret: literals whose name says so, and everything that comes from a Secret."""
    patch = _patch_of_agent(run)
    env = [*environment.build(run, config, inherited), *shapes.objects(patch.get("env"))]
    env_from = [*inherited.env_from, *run.spec.job.env_from, *shapes.objects(patch.get("envFrom"))]
    refs = [shapes.mapping(shapes.mapping(entry.get("valueFrom")).get("secretKeyRef")) for entry in env]
    return SecretSources(
        values=frozenset(_literals(env)),
        keys=frozenset((ref["name"], ref["key"]) for ref in refs if {"name", "key"} <= ref.keys()),
        whole=frozenset(ref["name"] for e in env_from if "name" in (ref := shapes.mapping(e.get("secretRef")))),
    )


def _literals(env: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for entry in env:
        value = entry.get("value")
        if isinstance(value, str) and redaction.is_secret_name(str(entry.get("name"))):
            yield value


def _patch_of_agent(run: models.AgentRun) -> Mapping[str, Any]:
    spec = shapes.mapping((run.spec.job.pod_template or {}).get("spec"))
    containers = shapes.objects(spec.get("containers"))
    return next((c for c in containers if c.get("name") == facts.MAIN_CONTAINER), {})


# Variables that the CLI takes its credential from, in the order in which it looks (Claude Code documentation).
_CREDENTIALS = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")


def find_credential(run: models.AgentRun, config: settings.Settings, inherited: Inherited) -> str:
    """What tells runs of the same credential from others: where it comes from, or a digest of it; never its value.

    Without a variable the CLI is logged in by the files in its configuration directory on the shared volume.
    """
    env = {entry["name"]: entry for entry in environment.build(run, config, inherited)}
    entry = next((env[name] for name in _CREDENTIALS if name in env), None)
    namespace = run.metadata.namespace
    if entry is None:
        whole = [shapes.mapping(e.get("secretRef")).get("name") for e in (*inherited.env_from, *run.spec.job.env_from)]
        folder = claude.config_directory(run.spec, config) or config.data_mount
        return f"{namespace}/{','.join(str(name) for name in whole if name)}/{folder}"
    ref = shapes.mapping(shapes.mapping(entry.get("valueFrom")).get("secretKeyRef"))
    if ref:
        return f"{namespace}/{ref.get('name')}/{ref.get('key')}"
    return hashlib.sha256(str(entry.get("value") or entry.get("valueFrom")).encode()).hexdigest()
