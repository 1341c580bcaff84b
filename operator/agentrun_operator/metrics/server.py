"""The port that shows the metrics, from the process's start to its end.

So a replica that stands by can be seen as well, and an operator that cannot reach the API yet.

The loop is never kept: it gathers numbers, which takes a millisecond with thousands of runs, and a thread writes the
text. A connection is closed after each answer, because kopf waits at its end for whoever keeps one open.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import prometheus_client
import structlog
from aiohttp import web

from agentrun_operator.metrics.meters import Metrics

_log = structlog.get_logger(__name__)

_RETRY_SECONDS = 30.0


@contextlib.asynccontextmanager
async def serving(metrics: Metrics, port: int, *, host: str | None = None) -> AsyncIterator[None]:
    """Answer ``/metrics`` on ``port`` meanwhile; 0: do not. ``host`` None: on all interfaces.

    A port that cannot be had is no reason not to work: it is tried again, and the log says so.
    """
    if not port:
        yield
        return
    task = asyncio.create_task(_serve(metrics, port, host))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _serve(metrics: Metrics, port: int, host: str | None) -> None:
    async def scrape(_request: web.Request) -> web.Response:
        metrics.refresh()
        text = await asyncio.to_thread(metrics.render)
        response = web.Response(body=text, headers={"Content-Type": prometheus_client.CONTENT_TYPE_PLAIN_0_0_4})
        response.force_close()
        return response

    app = web.Application()
    app.add_routes([web.get("/metrics", scrape)])
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        while True:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as e:
                hint = "another process has the port: free it, or set AGENTRUN_METRICS_PORT to another one"
                _log.warning("metrics_not_served", port=port, error=str(e), hint=hint)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                await asyncio.Event().wait()
    finally:
        await runner.cleanup()
