"""What a Supervisor needs, for tests: everything in memory but the log files."""

from agentrun_operator import kube, manifest, runner, settings, tail

SCRIPTS = manifest.Scripts(run_agent="#!/bin/sh\nexec true\n", bundle="#!/bin/sh\nexit 0\n")


def make(
    config: settings.Settings,
    client: kube.KubeClient,
    *,
    world: runner.World | None = None,
    tailer: tail.Tailer | None = None,
) -> runner.Deps:
    """Deps around a fake of the Kubernetes API."""
    own_pod = runner.OwnPod(config, client)
    return runner.Deps(
        config=config,
        client=client,
        world=world or runner.World(),
        tailer=tailer or tail.Tailer(config),
        scripts=SCRIPTS,
        own_pod=own_pod,
        secrets=runner.SecretValues(config, client, own_pod),
        caretaker=runner.Caretaker(config, client),
        announcer=runner.Announcer(config, client),
    )
