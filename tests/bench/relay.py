"""`python -m tests.bench.relay PORT PLAIN_URL OTHER_URL`: aiohttp's server over aiohttp's client, bytes only."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

SESSION = web.AppKey("SESSION", aiohttp.ClientSession)
HEADERS = {"content-type": "application/json"}


async def relay(request: web.Request) -> web.StreamResponse:
    url = sys.argv[2 if request.path.startswith("/plain/") else 3]
    async with request.app[SESSION].post(url + request.path, data=await request.read(), headers=HEADERS) as upstream:
        if upstream.content_type != "text/event-stream":
            body = await upstream.read()
            return web.Response(status=upstream.status, body=body, content_type=upstream.content_type)
        response = web.StreamResponse(status=upstream.status, headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for data in upstream.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as client:
        app[SESSION] = client
        yield


async def application() -> web.Application:
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.cleanup_ctx.append(session)
    app.router.add_post("/{path:.*}", relay)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=4096)
