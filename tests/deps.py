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
        stragglers=runner.Stragglers(client, world.is_followed, world.jobs),
        leftovers=runner.Leftovers(client),
    )
    _made.append(made)
    return made


async def look_around(made: runner.Deps) -> None:
    """See all Jobs and pods once, without the watches that a real start begins."""
    for namespace in made.config.watched_namespaces or ("",):
        made.world.listed_jobs(namespace, *await made.client.all_jobs(namespace).list())
        made.world.listed_pods(namespace, *await made.client.all_pods(namespace).list())


def close_all() -> None:
    """End the threads of all that was made."""
    while _made:
        made = _made.pop()
        made.tailer.close()
        made.caretaker.close()
