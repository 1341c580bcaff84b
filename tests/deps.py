"""What a Supervisor needs, for tests: everything in memory but the log files."""

from agentrun_operator import kube, manifest, runner, settings, tail

_made: list[runner.Deps] = []
SCRIPTS = manifest.Scripts(run_agent="#!/bin/sh\nexec true\n", bundle="#!/bin/sh\nexit 0\n")


def make(
    config: settings.Settings,
    client: kube.KubeClient,
    *,
    world: runner.World | None = None,
    tailer: tail.Tailer | None = None,
) -> runner.Deps:
    """Deps around a fake of the Kubernetes API."""
    own_pod, world = runner.OwnPod(config, client), world or runner.World()
    made = runner.Deps(
        config=config,
        client=client,
        world=world,
        tailer=tailer or tail.Tailer(config),
        scripts=SCRIPTS,
        own_pod=own_pod,
        secrets=runner.SecretValues(config, client, own_pod),
        caretaker=runner.Caretaker(config, client, world.live_logs),
        announcer=runner.Announcer(config, client),
    )
    _made.append(made)
    return made


def close_all() -> None:
    """End the threads of all that was made."""
    while _made:
        made = _made.pop()
        made.tailer.close()
        made.caretaker.close()
