"""A reverse proxy as one writes it with aiohttp: the peer that Python's own users would compare with."""

from __future__ import annotations

import argparse
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}
_ORIGIN = web.AppKey("origin", str)
_SESSION = web.AppKey("session", aiohttp.ClientSession)


async def _forward(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    body = request.content if request.can_read_body else None
    url = request.app[_ORIGIN] + request.path_qs
    async with request.app[_SESSION].request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        response.content_length = answer.content_length
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def _session(app: web.Application) -> Any:
    async with aiohttp.ClientSession(
        auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        app[_SESSION] = session
        yield


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.aiohttp_proxy")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin", type=int, required=True)
    given = parser.parse_args()
    app = web.Application()
    app[_ORIGIN] = f"http://127.0.0.1:{given.origin}"
    app.cleanup_ctx.append(_session)
    app.router.add_route("*", "/{path:.*}", _forward)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=given.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
