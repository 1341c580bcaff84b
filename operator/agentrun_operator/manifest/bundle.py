"""The prompt bundle: skills and instructions, put on the shared volume by an init container before the agent starts.

What the bundle holds is known only there, for skills may lie on the volume; so the agent finds it behind one constant
path, a link that the init container makes (docs/adr/0005).
"""

import posixpath
from typing import Any

from agentrun_operator import errors, models, settings

CONTAINER = "bundle"
SCRIPT_KEY = "bundle.sh"
INSTRUCTIONS_KEY = "instructions.md"

_INPUT_MOUNT = "/run/agentrun"
_LINK_MOUNT = "/run/agentrun-bundle"
_SKILLS_MOUNT = "/run/agentrun-skills"
LINK = f"{_LINK_MOUNT}/current"
INSTRUCTIONS_PATH = f"{LINK}/agent-instructions.md"


def has_instructions(spec: models.AgentRunSpec) -> bool:
    """Whether there is something to append to the system prompt."""
    return bool(spec.bundle and (spec.bundle.instructions or "").strip())


def has_skills(spec: models.AgentRunSpec) -> bool:
    """Whether the agent gets skills of its own."""
    return bool(spec.bundle and spec.bundle.skills)


def is_wanted(spec: models.AgentRunSpec) -> bool:
    """Whether the run has a bundle at all."""
    return has_instructions(spec) or has_skills(spec)


def build_files(spec: models.AgentRunSpec, script: str) -> dict[str, bytes]:
    """What the prompt Secret carries for the init container: file name → content."""
    if not is_wanted(spec):
        return {}
    files = {SCRIPT_KEY: script.encode()}
    if has_instructions(spec) and spec.bundle and spec.bundle.instructions:
        files[INSTRUCTIONS_KEY] = spec.bundle.instructions.encode()
    return files


def check(spec: models.AgentRunSpec, config: settings.Settings) -> None:
    """Raises InvalidRunError for a skill whose folder is not on the shared volume."""
    mount = posixpath.normpath(config.data_mount)
    for index, skill in enumerate(spec.bundle.skills if spec.bundle else ()):
        if skill.path and posixpath.commonpath([mount, posixpath.normpath(skill.path)]) != mount:
            raise errors.InvalidRunError(
                errors.ErrorCode.POD_CONFIG_ERROR,
                f"spec.bundle.skills[{index}].path {skill.path!r} is not below {mount}, where agents see the shared "
                "volume; put the skill there, or into a ConfigMap.",
            )


def build_command(spec: models.AgentRunSpec, config: settings.Settings) -> list[str]:
    """The init container's command; see entry/bundle.sh for its arguments."""
    store = f"{config.instance_root}/companies/{spec.company_id}/claude-prompt-cache"
    instructions = f"{_INPUT_MOUNT}/{INSTRUCTIONS_KEY}" if has_instructions(spec) else ""
    skills = [
        f"{skill.name}={skill.path or f'{_SKILLS_MOUNT}/{index}'}"
        for index, skill in enumerate(spec.bundle.skills if spec.bundle else ())
    ]
    keep = str(config.bundle_retention_days)
    return ["/bin/sh", f"{_INPUT_MOUNT}/{SCRIPT_KEY}", config.data_mount, store, LINK, instructions, keep, *skills]


def build_mounts(spec: models.AgentRunSpec, config: settings.Settings) -> list[dict[str, Any]]:
    """The init container's mounts: of the prompt Secret it sees only what is its own."""
    return [
        {"name": "bundle-input", "mountPath": _INPUT_MOUNT, "readOnly": True},
        {"name": "bundle", "mountPath": _LINK_MOUNT},
        {"name": "data", "mountPath": config.data_mount},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the pod, on its own volume
        *(
            {"name": f"skill-{index}", "mountPath": f"{_SKILLS_MOUNT}/{index}", "readOnly": True}
            for index, _ in _config_map_skills(spec)
        ),
    ]


def build_agent_mounts(spec: models.AgentRunSpec) -> list[dict[str, Any]]:
    """What the agent's container needs to follow the link."""
    return [{"name": "bundle", "mountPath": _LINK_MOUNT, "readOnly": True}] if is_wanted(spec) else []


def build_volumes(spec: models.AgentRunSpec, *, secret_name: str) -> list[dict[str, Any]]:
    """The pod's volumes for the bundle. A ConfigMap may be missing: that is reported, and the run goes on."""
    if not is_wanted(spec):
        return []
    keys = [SCRIPT_KEY, *([INSTRUCTIONS_KEY] if has_instructions(spec) else [])]
    items = [{"key": key, "path": key} for key in keys]
    return [
        {"name": "bundle-input", "secret": {"secretName": secret_name, "defaultMode": 0o440, "items": items}},
        {"name": "bundle", "emptyDir": {}},
        *(
            {
                "name": f"skill-{index}",
                "configMap": {
                    "name": files.name,
                    "optional": True,
                    "defaultMode": 0o555,
                    **({"items": [item.model_dump() for item in files.items]} if files.items else {}),
                },
            }
            for index, files in _config_map_skills(spec)
        ),
    ]


def _config_map_skills(spec: models.AgentRunSpec) -> list[tuple[int, models.ConfigMapFiles]]:
    skills = spec.bundle.skills if spec.bundle else ()
    return [(index, skill.config_map_ref) for index, skill in enumerate(skills) if skill.config_map_ref]
