"""Real gRPC peers behind the filters that translate for them; Envoy shows that a test is sound."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from proxy.codec.grpc import prefix
from tests.support.client import exchange
from tests.support.configs import (
    ROUTER,
    Json,
    bootstrap,
    cluster,
    connection_manager,
    http2_cluster,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.envoy import Envoy
from tests.support.grpc_service import CHANNEL_OPTIONS, SERVICE, GrpcServer
from tests.support.http_text import Message
from tests.support.managers import post
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess

_FILTERS: dict[str, tuple[str, Json]] = {
    "grpc_web": ("GrpcWeb", {}),
    "grpc_http1_bridge": ("Config", {"upgrade_protobuf_to_grpc": True}),
    "grpc_http1_reverse_bridge": (
        "FilterConfig",
        {"content_type": "application/x-protobuf", "withhold_grpc_frames": True},
    ),
    "grpc_stats": ("FilterConfig", {"stats_for_all_methods": True, "enable_upstream_stats": True}),
}
_TO: dict[str, str] = {"grpc_http1_reverse_bridge": "plain"}


def _listener(name: str, type_name: str, fields: Json) -> Json:
    filters = [
        {
            "name": name,
            "typed_config": typed(f"envoy.extensions.filters.http.{name}.v3.{type_name}", **fields),
        },
        {"name": "router", "typed_config": typed(ROUTER)},
    ]
    routes = [route(_TO.get(name, "grpc"), "/", timeout="0s")]
    table = {"name": name, "virtual_hosts": [virtual_host(routes)]}
    return listener([connection_manager(table, stat_prefix=name, http_filters=filters)], name)


@dataclass
class Setup:
    """One proxy, a listener for each filter."""

    proxy: ProxyProcess
    origin: Origin

    def channel(self, name: str) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.proxy.ports[name]}", CHANNEL_OPTIONS)

    def post(self, name: str, method: str, body: bytes, *fields: str) -> Message:
        request = post(f"/{SERVICE}/{method}", body, *fields)
        return exchange(self.proxy.ports[name], request).response


@pytest.fixture(scope="module", params=["envoy", "outrider"])
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    kind = Envoy if request.param == "envoy" else subject()
    config = bootstrap(
        [_listener(name, *filter_config) for name, filter_config in _FILTERS.items()],
        [http2_cluster("grpc"), cluster("plain")],
    )
    with GrpcServer() as server, Origin() as origin:
        values = {"grpc_port": server.port, "plain_port": origin.port}
        with kind(config, listeners=list(_FILTERS), values=values) as proxy:
            yield Setup(proxy, origin)


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    """(flags, content) of each frame of gRPC-Web."""
    found = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def _fields(block: bytes) -> dict[str, str]:
    lines = block.decode().split("\r\n")[:-1]
    return dict(tuple(line.split(":", 1)) for line in lines)  # type: ignore[arg-type, misc]


def test_a_browser_calls_a_server(setup: Setup) -> None:
    for size in (0, 1, 100, 200_000):
        message = prefix(size) + b"m" * size
        reply = setup.post("grpc_web", "Unary", message, "Content-Type: application/grpc-web")
        (flags, content), (end_flags, trailers) = _frames(reply.body)
        assert (reply.get("content-type"), flags, content) == (
            "application/grpc-web+proto",
            0,
            b"m" * size,
        )
        assert end_flags == 0x80
        assert _fields(trailers)["grpc-status"] == "0"


def test_a_browser_reads_a_stream_of_text(setup: Setup) -> None:
    kind = "application/grpc-web-text"
    body = base64.b64encode(prefix(5) + b"20:10")
    reply = setup.post("grpc_web", "ServerStream", body, f"Content-Type: {kind}", f"Accept: {kind}")
    # Each message is encoded for itself, so each may end in padding.
    decoded = b"".join(
        base64.b64decode(part + b"=" * (-len(part) % 4)) for part in reply.body.replace(b"=", b" ").split()
    )
    frames = _frames(decoded)
    assert [int(content[:8]) for flags, content in frames if not flags] == list(range(20))
    assert _fields(frames[-1][1])["grpc-status"] == "0"


def test_a_browser_learns_of_an_error(setup: Setup) -> None:
    reply = setup.post(
        "grpc_web", "Unary", prefix(1) + b"m", "Content-Type: application/grpc-web", "x-code: 7"
    )
    told = {name: value for name, value in reply.fields if name.startswith("grpc-")}
    if reply.body:
        told |= _fields(_frames(reply.body)[-1][1])
    assert told["grpc-status"] == "7"


def test_an_http1_client_calls_a_server(setup: Setup) -> None:
    def call(method: str, body: bytes, content_type: str = "application/grpc") -> Message:
        # The server wants to see TE, and the filter does not add it.
        return setup.post("grpc_http1_bridge", method, body, f"Content-Type: {content_type}", "TE: trailers")

    reply = call("Unary", prefix(2) + b"hi")
    assert (reply.status, reply.get("grpc-status"), reply.body) == (200, "0", prefix(2) + b"hi")
    reply = call("Unary", b"hi", "application/x-protobuf")
    assert (reply.status, reply.get("grpc-status"), reply.body) == (200, "0", b"hi")
    reply = call("ServerStream", prefix(4) + b"3:10")
    assert [content[:8] for _, content in _frames(reply.body)] == [b"%08d" % number for number in range(3)]
    assert call("Nothing", prefix(0)).get("grpc-status") == "12"


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_grpc_client_calls_an_http1_server(setup: Setup) -> None:
    with setup.channel("grpc_http1_reverse_bridge") as channel:
        call = channel.unary_unary(f"/{SERVICE}/Unary")
        for size in (0, 10, 200_000):
            setup.origin.script(_answer(b"r" * size))
            assert call(b"request", timeout=10) == b"r" * size
            assert setup.origin.requests[-1].body == b"request"
        setup.origin.script(_answer(b"no", "503 Unavailable"))
        with pytest.raises(grpc.RpcError) as caught:
            call(b"request", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
        setup.origin.script(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"request", timeout=10)
        assert "no content-type" in caught.value.details()  # type: ignore[attr-defined]


def test_calls_are_counted(setup: Setup) -> None:
    with setup.channel("grpc_stats") as channel:
        channel.unary_unary(f"/{SERVICE}/Unary")(b"m", timeout=10)
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(f"/{SERVICE}/Unary")(b"m", timeout=10, metadata=[("x-code", "5")])
        list(channel.stream_stream(f"/{SERVICE}/Bidi")(iter([b"a", b"b", b"c"]), timeout=10))
    wanted = {
        f"{SERVICE}.Unary.{name}": value
        for name, value in {"0": 1, "5": 1, "success": 1, "failure": 1, "total": 2}.items()
    }
    wanted |= {
        f"{SERVICE}.Bidi.request_message_count": 3,
        f"{SERVICE}.Bidi.response_message_count": 3,
        f"{SERVICE}.Bidi.success": 1,
    }
    _settle(lambda: {name: setup.proxy.stats().get(f"cluster.grpc.grpc.{name}") for name in wanted}, wanted)
    _settle(lambda: f"{SERVICE}.Unary.upstream_rq_time" in setup.proxy.admin("/stats")[1], True)


def _settle(read: Any, wanted: Any) -> None:
    deadline = time.monotonic() + 3
    while read() != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read() == wanted
