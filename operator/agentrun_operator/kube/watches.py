"""The connection of a watch ends with the watch.

While much is shown, the buffers below grow, by some hundred KB, and for as long as the connection lives. Given back to
the pool, one connection after the other would grow that way, since a watch is opened anew every five minutes.
"""

import types

import aiohttp

LAST = {"Connection": "close"}  # headers of a request that is its connection's last one


def close_after_watch() -> aiohttp.TraceConfig:
    """See to that in an aiohttp session that somebody else uses: its headers may be changed when a request begins."""

    async def begin(  # noqa: RUF029 - as aiohttp has it
        _session: aiohttp.ClientSession, _context: types.SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        if "watch" in params.url.query:
            params.headers.update(LAST)

    traced = aiohttp.TraceConfig()
    traced.on_request_start.append(begin)
    return traced
