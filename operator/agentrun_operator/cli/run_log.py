"""The log of the run that a command names, without its secrets."""

import argparse
import os
from collections.abc import AsyncIterator, Callable

from agentrun_operator import errors, kube, settings
from agentrun_operator.cli import advice, cluster, credentials
from agentrun_operator.client import runlog


async def read(
    arguments: argparse.Namespace, screen: runlog.Screen, *, tell: Callable[[str], None]
) -> AsyncIterator[bytes]:
    """The log of the run that ``arguments`` name. Raises NoLogError, ApiError, SettingsError."""
    config = settings.from_environ(os.environ)
    namespace = cluster.namespace_of(arguments)
    client = await kube.connect(timeout=config.request_timeout_seconds, context=arguments.context)
    wanted = runlog.Wanted(namespace=namespace, name=arguments.name, follow=arguments.follow, attempt=arguments.attempt)
    log = runlog.RunLog(
        client, config, wanted, find_secrets=lambda body: credentials.read(client, config, body), tell=tell
    )
    try:
        async for chunk in log.read(screen):
            yield chunk
    except errors.NotFoundError as e:
        raise advice.place(e, namespace) from e
    finally:
        await client.close()
