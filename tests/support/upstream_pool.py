"""A pool without sockets: connections are memory transports that the test opens, answers and ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.runtime import Runtime
from proxy.codec.messages import ParsedResponse
from proxy.upstream.cluster import Cluster
from proxy.upstream.pool import base
from proxy.upstream.pool.api import PoolFailure, ResetReason
from proxy.upstream.pool.base import ConnectionIds
from proxy.upstream.pool.choice import make_pool
from proxy.upstream.pool.connect import ConnectError
from tests.support.fake_clock import FakeClock
from tests.support.memory_transport import MemoryTransport


class Request:
    """A `PoolRequest` that notes what it hears."""

    wire_bytes_received = 0
    wire_bytes_sent = 0
    header_bytes_sent = 0
    chunked = False
    request_id = b""
    preamble = b""

    def __init__(self, method: str = "GET", upgrading: str = "") -> None:
        self.method = method
        self.upgrading = upgrading
        self.connection: Any = None
        self.heard: list[Any] = []
        self.head = self

    def http1_head(self, request_id: bytes) -> bytes:
        return request_id + b"request\n\r\n"

    def http2_block(self, request_id: bytes) -> bytes:
        return request_id + b"\x82"

    def on_pool_ready(self, connection: Any) -> None:
        self.connection = connection

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:
        self.heard.append((failure, detail))

    def on_informational(self, response: ParsedResponse) -> None:
        self.heard.append(response.head.status)

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        self.heard.append((response.head.status, body, end_stream))

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        self.heard.append((data, end_stream))

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        self.heard.append(dict(trailers))

    def on_reset(self, reason: ResetReason, detail: str) -> None:
        self.heard.append(reason)

    def on_stale(self) -> bool:
        self.heard.append("stale")
        return False

    def on_write_paused(self) -> None:
        self.heard.append("paused")

    def on_write_resumed(self) -> None:
        self.heard.append("resumed")


class _Loop:
    """Time from the test, tasks from the running loop."""

    def __init__(self, clock: FakeClock) -> None:
        self.time = clock.monotonic

    def call_soon(self, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(call)

    def create_task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=name)


class _Tls:
    """A finished handshake that picked `alpn`."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session = None

    def __init__(self, alpn: str | None) -> None:
        self._alpn = alpn

    def selected_alpn_protocol(self) -> str | None:
        return self._alpn

    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> None:
        return None


class Bench:
    """A pool of one host, of the kind that its cluster asks for.

    `opened` are the transports in order; `refuse` makes the next attempts fail. With `tls` True the host picks
    `alpn` in the handshake.
    """

    tls = False
    alpn: str | None = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: Any, key: int = 0) -> None:
        self.clock = FakeClock()
        self.cluster = Cluster(config, Runtime(), lambda: 0)
        self.host = self.cluster.hosts[0]
        self.opened: list[MemoryTransport] = []
        self.sources: list[Any] = []
        self.refuse: ConnectError | None = None
        self.hold: asyncio.Event | None = None
        loop: Any = _Loop(self.clock)
        self.pool: Any = make_pool(loop, self.clock, self.cluster, self.host, key, ConnectionIds())
        monkeypatch.setattr(base, "open_connection", self.connect)

    @property
    def stats(self) -> Any:
        return self.cluster.stats

    async def connect(self, loop: Any, host: Any, config: Any, protocol: Any, tls: Any, **more: Any) -> None:
        self.sources.append(more["source"])
        if self.hold is not None:
            await self.hold.wait()
        if self.refuse is not None:
            raise self.refuse
        transport = MemoryTransport(ssl_object=_Tls(self.alpn)) if self.tls else MemoryTransport()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self.opened.append(transport)

    async def settle(self) -> None:
        """Let the tasks of the pool run."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def request(self, request: Request | None = None) -> Request:
        """A request that has its connection (or its failure), and has been sent."""
        request = request or Request()
        connection = self.pool.take(request)
        if connection is not None:
            request.connection = connection
        else:
            self.pool.wait(request)
            await self.settle()
        if request.connection is not None:
            request.connection.send_head(b"", end_stream=True)
        return request
