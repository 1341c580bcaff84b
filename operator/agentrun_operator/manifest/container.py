"""The containers of the pod: the agent's own, and those that prepare the shared volume for it."""

import posixpath
from collections.abc import Mapping
from typing import Any

from agentrun_operator import facts, models, names, settings
from agentrun_operator.manifest import bundle, claude, environment
from agentrun_operator.manifest.inheritance import Inherited

SCRIPT_MOUNT = "/run/agentrun"
SCRIPT_KEY = "run-agent.sh"
PROMPT_KEY = "prompt.txt"

# Kubernetes kills what is left this long after it asked the pod to end. The entry script asks the CLI for 3 s with INT,
# 3 s with TERM, then kills it and drains for 3 s, so a cancelled run is gone within 15 s (design: behaviour).
TERMINATION_GRACE_SECONDS = 12

_UNPRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_DEFAULT_RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
_INIT_RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}

# A log left by an earlier object with the same run id must not be taken for this run's: it is moved aside before the
# agent starts, so whatever stands at the path once the agent runs is this run's own.
#
# Kubernetes makes a second pod when the first one was removed by force, and the first agent may still be at work then:
# the owner file says that it was started, and no second one is. Its first line is whose the log is now; if the Job was
# adopted since, later lines name whose it was.
#
# Who removes an agent's last log removes its folder, too, perhaps at this very moment; not when there is a file in it.
_PREPARE = """\
set -eu
log=$1 owner=$2; shift 2
trap '[ $? -eq 0 ] || df -P "${log%/*}" >&2' EXIT
umask 027
own=${log%.ndjson}.owner
make() { mkdir -p "${log%/*}" && touch "$own"; }
make 2>/dev/null || make 2>/dev/null || make
started() {
  read -r whose && read -r state && [ "$state" = started ] || return 1
  while [ "$whose" != "$owner" ]; do read -r was whose || return 1; done
}
if started <"$own"; then
  echo "The agent of this run was started before, in another pod; it is not started twice." >&2
  trap - EXIT; exit 1
fi
if [ -e "$log" ]; then mv -f "$log" "$log.previous"; fi
: >"$log"
printf '%s\\n' "$owner" >"$own"
for folder do mkdir -p "$folder"; done
"""


def image(run: models.AgentRun, config: settings.Settings, inherited: Inherited) -> str:
    """The run's own choice, the operator's default, the operator's own image if that is allowed; "" for none."""
    return run.spec.job.image or config.image or inherited.image


def build_agent(
    run: models.AgentRun, config: settings.Settings, inherited: Inherited, *, log_path: str
) -> dict[str, Any]:
    """The container that runs the CLI."""
    job = run.spec.job
    arguments = [log_path, names.stderr_path(log_path), f"{SCRIPT_MOUNT}/{PROMPT_KEY}", *claude.build_command(run.spec)]
    env_from = [*inherited.env_from, *job.env_from]
    return {
        "name": facts.MAIN_CONTAINER,
        "image": image(run, config, inherited),
        "imagePullPolicy": job.image_pull_policy.value,
        "workingDir": claude.working_directory(run.spec, config),
        "command": ["/bin/sh", f"{SCRIPT_MOUNT}/{SCRIPT_KEY}"],
        "args": [claude.literally(argument) for argument in arguments],
        "env": environment.build(run, config, inherited),
        **({"envFrom": env_from} if env_from else {}),
        "resources": _resources(job.resources or {}),
        "securityContext": _UNPRIVILEGED,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "prompt", "mountPath": SCRIPT_MOUNT, "readOnly": True},
            {"name": "data", "mountPath": config.data_mount},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the pod, on its own volume
            *bundle.build_agent_mounts(run.spec),
            *inherited.mounts,
        ],
    }


def build_inits(
    run: models.AgentRun, config: settings.Settings, inherited: Inherited, *, log_path: str
) -> list[dict[str, Any]]:
    """The init containers, which work on the shared volume as the user that the agent runs as."""
    job, spec = run.spec.job, run.spec

    def build(name: str, command: list[str], mounts: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "name": name,
            "image": image(run, config, inherited),
            "imagePullPolicy": job.image_pull_policy.value,
            "command": [claude.literally(word) for word in command],
            "resources": _INIT_RESOURCES,
            "securityContext": _UNPRIVILEGED,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts,
        }

    owner = f"{run.metadata.namespace} {run.metadata.uid} {spec.retention.log.value}"  # what logfiles reads
    words = ["/bin/sh", "-c", _PREPARE, "prepare", log_path, owner, *_folders(spec, config)]
    inits = [build("prepare", words, [{"name": "data", "mountPath": config.data_mount}])]
    if bundle.is_wanted(spec):
        inits.append(build(bundle.CONTAINER, bundle.build_command(spec, config), bundle.build_mounts(spec, config)))
    return inits


def _folders(spec: models.AgentRunSpec, config: settings.Settings) -> list[str]:
    """Folders on the shared volume that have to be there; the runtime would make them, too, but owned by root."""
    mount = posixpath.normpath(config.data_mount)
    wanted = [claude.config_directory(spec, config), claude.working_directory(spec, config)]
    return [
        path for path in wanted if path is not None and posixpath.commonpath([mount, posixpath.normpath(path)]) == mount
    ]


def _resources(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and our defaults for cpu and memory where neither request nor limit names them.

    A default beside a given value could contradict it: a request above the default limit makes the pod invalid.
    """
    named = {name for kind in ("requests", "limits") for name in given.get(kind) or ()}
    merged = dict(given)
    for kind, defaults in _DEFAULT_RESOURCES.items():
        values = {**{name: value for name, value in defaults.items() if name not in named}, **(given.get(kind) or {})}
        if values:
            merged[kind] = values
    return merged
