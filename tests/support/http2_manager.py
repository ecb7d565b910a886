"""A connection manager whose clients are memory transports and whose hosts are what the test says."""

from __future__ import annotations

from typing import Any

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.codec.messages import ParsedResponse
from proxy.filters.api import ListenerFacts
from proxy.hcm.connection_manager import ConnectionManager
from proxy.upstream.cluster import Cluster
from tests.support import cluster_messages, hcm_messages
from tests.support import http2_frames as h2
from tests.support.listeners import services
from tests.support.memory_transport import MemoryTransport


class Upstream:
    """The one host: a pool whose connections hand every request to the test.

    `requests` holds them as they come; `answer` (if set) answers each at once.
    """

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []
        self.answer: ParsedResponse | None = None
        self.body = b""

    def now(self) -> float:
        return 0.0

    def take(self, request: Any) -> UpstreamRequest:
        return UpstreamRequest(self, request)


class UpstreamRequest:
    """One request as the upstream sees it; a pool's `UpstreamConnection`."""

    connection_id = 1

    def __init__(self, upstream: Upstream, request: Any) -> None:
        self._upstream = upstream
        self.request = request
        self.head = b""
        self.body = b""
        self.trailers: HeaderMap | None = None
        self.ended = False
        self.paused = 0
        self.abandoned = False

    def describe(self, info: Any) -> None:
        info.upstream_protocol = "HTTP/1.1"

    def release(self) -> None:
        self.abandoned = True

    def send_head(self, body: bytes, end_stream: bool) -> None:
        upstream = self._upstream
        if upstream.answer is not None:
            self.request.on_response(upstream.answer, upstream.body, True)
            return
        self.head = self.request.head.http1_head(self.request.request_id)
        self.body = body
        self.ended = end_stream
        upstream.requests.append(self)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self.body += data
        self.ended = end_stream

    def send_trailers(self, trailers: HeaderMap) -> None:
        self.trailers = trailers
        self.ended = True

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        self.paused -= 1

    def abandon(self) -> None:
        self.abandoned = True

    def respond(self, body: bytes = b"", *, end: bool = True, status: int = 200) -> None:
        """Begin (and with `end` finish) the response."""
        self.request.on_response(response(status), body, end)


def response(status: int = 200, *fields: tuple[str, str]) -> ParsedResponse:
    """A response head as a codec would give it."""
    return ParsedResponse(ResponseHead(status, HeaderMap(list(fields))), 0)


class Http2Manager:
    """See module; `fields` are those of the HttpConnectionManager."""

    def __init__(self, *, buffer_limit: int = 1024 * 1024, **fields: Any) -> None:
        config, problems = hcm_messages.manager(**fields)
        assert not problems
        self.services = services()
        #: Time and timers, which move when the test says so.
        self.clock: Any = self.services.timers
        self.loop: Any = self.services.loop
        self.upstream = Upstream()
        cluster = Cluster(cluster_messages.compiled(cluster_messages.endpoint()), Runtime({}), lambda: 0)
        for host in cluster.hosts:
            host.pools[0] = self.upstream
        self.services.clusters = {"origin": cluster}
        facts = ListenerFacts("listener", "127.0.0.1:80", "listener.", buffer_limit=buffer_limit)
        self.manager = ConnectionManager(config, self.services, facts)
        self.stats = self.manager.stats
        self._ids = 0

    def connect(self, *, start: bool = True, **facts: Any) -> Client:
        """A new connection; with `start` the greetings are over."""
        self._ids += 1
        info = ConnectionInfo(
            self._ids,
            Address("192.0.2.7", 40000),
            Address("10.0.0.1", 80),
            self.clock.now,
            DrainState(),
        )
        for name, value in facts.items():
            setattr(info, name, value)
        client = Client(self, info)
        if start:
            client.send(h2.PREFACE + h2.settings() + h2.settings_ack())
            client.frames()
        return client

    def settle(self) -> None:
        """Run what was put off to the end of the turn."""
        while self.loop.soon:
            function, arguments = self.loop.soon.pop(0)
            function(*arguments)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.settle()


class Client:
    """The client's end of one connection. `writes` counts how often the proxy wrote."""

    def __init__(self, of: Http2Manager, info: ConnectionInfo) -> None:
        self.of = of
        self.info = info
        self.transport = _CountingTransport()
        self.transport.set_protocol(of.manager.create_protocol(info))
        self.transport.protocol.connection_made(self.transport)
        self._reader = h2.FrameReader()
        self._read = 0

    @property
    def connection(self) -> Any:
        return self.transport.protocol

    @property
    def writes(self) -> int:
        return self.transport.writes

    def send(self, *frames: bytes) -> None:
        """One packet."""
        self.transport.protocol.data_received(b"".join(frames))
        self.of.settle()

    def frames(self) -> list[h2.Frame]:
        """What came since the last call."""
        self.of.settle()
        data = bytes(self.transport.written[self._read :])
        self._read += len(data)
        return self._reader.feed(data)

    def kinds(self) -> list[tuple[str, int, int]]:
        """The same as (name, stream, flags)."""
        return [(frame.name, frame.stream_id, frame.flags) for frame in self.frames()]


class _CountingTransport(MemoryTransport):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: Any) -> None:
        self.writes += 1
        super().write(data)
