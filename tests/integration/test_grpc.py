"""Real gRPC clients and servers through the proxy, in plain text and over TLS; Envoy shows that a test is sound."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.certs import Authority
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    http2_cluster,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.envoy import Envoy
from tests.support.grpc_service import CHANNEL_OPTIONS, SERVICE, GrpcServer
from tests.support.outrider import subject
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess

_TLS = "envoy.extensions.transport_sockets.tls.v3."
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/"


def _listener(name: str, cluster: str, **chain: Any) -> Json:
    routes = [
        route("dead", "/test.Dead/"),
        route(cluster, "/test.Short/", timeout="0.2s", prefix_rewrite=f"/{SERVICE}/"),
        route(cluster, f"/{SERVICE}/", timeout="0s"),
        route(cluster, _REFLECTION, timeout="0s"),
    ]
    made = listener(
        [connection_manager({"name": name, "virtual_hosts": [virtual_host(routes)]}, stat_prefix=name)], name
    )
    made["filter_chains"][0].update(chain)
    return made


def _config(certificate: Json, authority: str) -> Json:
    downstream = typed(
        _TLS + "DownstreamTlsContext",
        common_tls_context={"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]},
    )
    upstream = typed(
        _TLS + "UpstreamTlsContext",
        sni="localhost",
        common_tls_context={
            "alpn_protocols": ["h2"],
            "validation_context": {"trusted_ca": {"filename": authority}},
        },
    )
    return bootstrap(
        [
            _listener("plain", "plain"),
            _listener("tls", "tls", transport_socket={"name": "tls", "typed_config": downstream}),
        ],
        [
            http2_cluster("plain"),
            http2_cluster("tls", transport_socket={"name": "tls", "typed_config": upstream}),
            http2_cluster("dead"),
        ],
    )


@dataclass
class Setup:
    """One proxy between a channel and the server behind it, by one transport on both sides."""

    proxy: ProxyProcess
    server: GrpcServer
    channel: grpc.Channel
    transport: str

    def unary(self, method: str = f"/{SERVICE}/Unary") -> Any:
        return self.channel.unary_unary(method)

    def bytes_received(self) -> int:
        return self.proxy.stats()[f"http.{self.transport}.downstream_cx_rx_bytes_total"]


@pytest.fixture(scope="module", params=["envoy", "outrider"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProxyProcess, dict[str, GrpcServer], Authority]]:
    authority = Authority(tmp_path_factory.mktemp("grpc"))
    issued = authority.issue("localhost", "127.0.0.1")
    certificate = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    kind = Envoy if request.param == "envoy" else subject()
    with GrpcServer() as plain, GrpcServer(issued) as tls:
        values = {"plain_port": plain.port, "tls_port": tls.port}
        config = _config(certificate, str(authority.certificate))
        for made in config["static_resources"]["listeners"]:
            made["address"]["socket_address"]["port_value"] = f"{{{{{made['name']}_listener_port}}}}"
        listeners = ("plain_listener", "tls_listener")
        with kind(config, listeners=listeners, values={**values, "dead_port": free_port()}) as proxy:
            yield proxy, {"plain": plain, "tls": tls}, authority


@pytest.fixture(scope="module", params=["plain", "tls"])
def setup(request: pytest.FixtureRequest, running: Any) -> Iterator[Setup]:
    proxy, servers, authority = running
    address = f"127.0.0.1:{proxy.ports[request.param + '_listener']}"
    if request.param == "tls":
        credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        channel = grpc.secure_channel(address, credentials, CHANNEL_OPTIONS)
    else:
        channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
    with channel:
        yield Setup(proxy, servers[request.param], channel, request.param)


def code(call: Any, *args: Any, **options: Any) -> tuple[grpc.StatusCode, str]:
    """Status and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **{"timeout": 10, **options})
    return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


def test_unary(setup: Setup) -> None:
    for size in (0, 1, 100, 16379, 16380, 70_000):
        message = b"m" * size
        assert setup.unary()(message, timeout=10) == message


def test_many_calls_at_once_get_their_own_answers(setup: Setup) -> None:
    calls = [setup.unary().future(b"%d" % number, timeout=20) for number in range(300)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(300)]


def test_server_streaming(setup: Setup) -> None:
    stream = setup.channel.unary_stream(f"/{SERVICE}/ServerStream")
    assert [int(message[:8]) for message in stream(b"200:10", timeout=20)] == list(range(200))
    assert sum(len(message) for message in stream(b"40:100000", timeout=20)) == 40 * 100_008


def test_a_slow_reader_gets_everything(setup: Setup) -> None:
    stream = setup.channel.unary_stream(f"/{SERVICE}/ServerStream")(b"60:200000", timeout=30)
    first = next(stream)
    time.sleep(0.3)
    assert len(first) == 200_008
    assert sum(1 for _ in stream) == 59


def test_client_streaming(setup: Setup) -> None:
    stream = setup.channel.stream_unary(f"/{SERVICE}/ClientStream")
    assert stream(iter([]), timeout=10) == b"0:0"
    assert stream((b"y" * 10_000 for _ in range(300)), timeout=20) == b"300:3000000"


def test_both_directions_flow_without_waiting_for_each_other(setup: Setup) -> None:
    outgoing: queue.Queue[bytes | None] = queue.Queue()
    replies = setup.channel.stream_stream(f"/{SERVICE}/Bidi")(iter(outgoing.get, None), timeout=20)
    for number in range(50):
        outgoing.put(b"%d" % number)
        assert next(replies) == b"re:%d" % number
    outgoing.put(None)
    assert list(replies) == []
    assert replies.code() is grpc.StatusCode.OK


def test_messages_of_4_mib(setup: Setup) -> None:
    message = bytes(range(256)) * (4 * 4096)
    assert len(message) == 4 << 20
    assert setup.unary()(message, timeout=30) == message
    bidi = setup.channel.stream_stream(f"/{SERVICE}/Bidi")
    assert list(bidi(iter([message, message]), timeout=30)) == [b"re:" + message] * 2


def test_metadata_both_ways(setup: Setup) -> None:
    sent = [
        ("x-echo-text", "a, b;c"),
        ("x-echo-twice", "1"),
        ("x-echo-twice", "2"),
        ("x-echo-data-bin", bytes(range(256))),
        ("x-echo-long", "z" * 4000),
        ("x-trail-text", "end"),
        ("x-trail-data-bin", b"\0\xff"),
    ]
    _, call = setup.unary().with_call(b"", metadata=sent, timeout=10)
    initial = [(name, value) for name, value in call.initial_metadata() if name.startswith("x-echo-")]
    trailing = [(name, value) for name, value in call.trailing_metadata() if name.startswith("x-trail-")]
    assert sorted(initial + trailing, key=repr) == sorted(sent, key=repr)


@pytest.mark.parametrize("number", range(1, 17))
def test_every_status_arrives(setup: Setup, number: int) -> None:
    metadata = [("x-code", str(number)), ("x-message-bin", "why: 100 % ü\n".encode())]
    found, message = code(setup.unary(), b"", metadata=metadata)
    assert (found.value[0], message) == (number, "why: 100 % ü\n")


def test_a_status_after_messages(setup: Setup) -> None:
    stream = setup.channel.unary_stream(f"/{SERVICE}/ServerStream")
    call = stream(
        b"3:5", metadata=[("x-code", "9"), ("x-message-bin", b"late"), ("x-trail-a", "b")], timeout=10
    )
    got = []
    with pytest.raises(grpc.RpcError):
        got.extend(call)
    assert call.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert call.details() == "late"
    assert ("x-trail-a", "b") in call.trailing_metadata()


def test_an_error_without_messages_keeps_its_metadata(setup: Setup) -> None:
    call = setup.unary().future(b"", metadata=[("x-code", "5"), ("x-trail-a", "b")], timeout=10)
    with pytest.raises(grpc.RpcError):
        call.result()
    assert ("x-trail-a", "b") in call.trailing_metadata()


def test_a_deadline_is_passed_on_and_ends_the_call(setup: Setup) -> None:
    setup.server.cancelled.clear()
    started = time.monotonic()
    found, _ = code(setup.unary(), b"", metadata=[("x-sleep", "5")], timeout=0.3)
    assert found is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    left = setup.server.deadlines[-1]
    assert left is not None
    assert 0 < left < 0.35
    assert setup.server.cancelled.wait(5)


def test_a_call_without_a_deadline_has_none_at_the_server(setup: Setup) -> None:
    assert setup.unary()(b"x") == b"x"
    assert (setup.server.deadlines[-1] or 1e9) > 1e6


def test_cancelling_reaches_the_server(setup: Setup) -> None:
    setup.server.cancelled.clear()
    call = setup.channel.unary_stream(f"/{SERVICE}/ServerStream")(b"-1:100", timeout=20)
    next(call)
    call.cancel()
    assert setup.server.cancelled.wait(5)
    assert call.code() is grpc.StatusCode.CANCELLED
    assert setup.unary()(b"alive", timeout=10) == b"alive"


def test_cancelling_an_open_upload_reaches_the_server(setup: Setup) -> None:
    setup.server.cancelled.clear()
    stop = threading.Event()

    def endless() -> Iterator[bytes]:
        yield b"hold"
        stop.wait(20)

    call = setup.channel.stream_stream(f"/{SERVICE}/Bidi")(endless(), timeout=20)
    assert next(call) == b"re:hold"
    call.cancel()
    stop.set()
    assert setup.server.cancelled.wait(5)


def test_compressed_messages_stay_compressed(setup: Setup) -> None:
    message = b"\0" * 1_000_000
    before = setup.bytes_received()
    answer = setup.unary()(message, compression=grpc.Compression.Gzip, metadata=[("x-gzip", "1")], timeout=20)
    assert answer == message
    assert setup.bytes_received() - before < 100_000


def test_reflection(setup: Setup) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(setup.channel)
    symbol = "grpc.reflection.v1alpha.ServerReflection"
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol),
    ]
    listed, files = list(stub.ServerReflectionInfo(iter(asked), timeout=10))
    assert symbol in [service.name for service in listed.list_services_response.service]
    assert files.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize(
    ("method", "status", "message"),
    [
        ("/test.Nowhere/Unary", grpc.StatusCode.UNIMPLEMENTED, ""),
        ("/test.Dead/Unary", grpc.StatusCode.UNAVAILABLE, "upstream connect error"),
        ("/test.Short/Unary", grpc.StatusCode.UNAVAILABLE, "upstream request timeout"),
    ],
)
def test_errors_of_the_proxy_are_statuses(
    setup: Setup, method: str, status: grpc.StatusCode, message: str
) -> None:
    found, details = code(setup.unary(method), b"", metadata=[("x-sleep", "1")])
    assert found is status
    assert message in details


def test_an_unknown_method_is_answered_by_the_server(setup: Setup) -> None:
    found, details = code(setup.unary(f"/{SERVICE}/Missing"), b"")
    assert (found, details) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def test_calls_from_many_threads(setup: Setup) -> None:
    def chatter(number: int) -> bool:
        for step in range(20):
            message = b"%d.%d" % (number, step) * (step * 50 + 1)
            if setup.unary()(message, timeout=20) != message:
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(chatter, range(16)))
