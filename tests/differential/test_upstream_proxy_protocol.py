"""Headers of the PROXY protocol to upstreams, beside real Envoy: TCP, HTTP, tunnels, TLVs, TLS inside."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.codec.proxy_protocol import encode_v1, encode_v2
from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http_text import parse_responses
from tests.support.origin import Origin, OriginConnection

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
SOCKET = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
RAW = {
    "name": "raw_buffer",
    "typed_config": typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
}
READER = {
    "name": "reader",
    "typed_config": typed(
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        allow_requests_without_proxy_protocol=True,
        pass_through_tlvs={"match_type": "INCLUDE_ALL"},
    ),
}
#: Cluster → the settings of its header. Values of TLVs are base64: "host", "own".
HEADERS: dict[str, Json] = {
    "first": {"version": "V1"},
    "second": {"version": "V2"},
    "all": {"version": "V2", "pass_through_tlvs": {"match_type": "INCLUDE_ALL"}},
    "some": {"version": "V2", "pass_through_tlvs": {"match_type": "INCLUDE", "tlv_type": [1, 0xE1]}},
    "adds": {
        "version": "V2",
        "pass_through_tlvs": {"match_type": "INCLUDE_ALL"},
        "added_tlvs": [{"type": 0xE1, "value": "b3du"}, {"type": 0xF0, "value": "aG9zdA=="}],
    },
}
TLVS = [{"type": 0xD0, "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_LOCAL_PORT%"}}}]
CONSTANT = [{"type": 0xD1, "value": "b3du"}]


def _cluster(name: str, config: Json) -> Json:
    wrapped = typed(SOCKET, config=config, transport_socket=RAW)
    return cluster(name, "{{origin_port}}", transport_socket={"name": "proxy", "typed_config": wrapped})


def _tcp(name: str, to: str, **fields: Any) -> Json:
    config = typed(TCP_PROXY, stat_prefix=name, cluster=to, **fields)
    return {
        "name": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "listener_filters": [READER],
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": config}]}],
    }


def _http(name: str, to: str, **fields: Any) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route(to)])]}
    made = listener([connection_manager(table, stat_prefix=name, **fields)], name)
    return {**made, "listener_filters": [READER]}


LISTENERS = [
    *(_tcp(name, name) for name in HEADERS),
    _tcp("tlvs", "all", proxy_protocol_tlvs=[*TLVS, *CONSTANT]),
    *(_tcp(f"tunnel_{name}", name, tunneling_config={"hostname": "a:1"}) for name in ("first", "all")),
    *(_http(f"http_{name}", name) for name in ("first", "all")),
    _http("trusting", "first", use_remote_address=True, xff_num_trusted_hops=1),
]
NAMES = [one["name"] for one in LISTENERS]


def _answer(connection: OriginConnection) -> None:
    """Tell what came: until a head is there, or 9 bytes after a header."""
    data = b""
    while not data.endswith(b"<over>") and not (b"HTTP/1.1" in data and data.endswith(b"\r\n\r\n")):
        more = connection.receive()
        if not more:
            return
        data += more
    body = data.hex().encode()
    if b"HTTP/1.1" in data and b"CONNECT" not in data:
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        while more := connection.receive():
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain")
    else:
        connection.send((b"HTTP/1.1 200 OK\r\n\r\n" if b"CONNECT" in data else b"") + body)
        connection.half_close()
        while connection.receive():
            pass


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(
        bootstrap(LISTENERS, [_cluster(name, config) for name, config in HEADERS.items()]),
        origins={"origin": lambda: Origin(take_over=_answer)},
        listeners=NAMES,
    ) as started:
        yield started


_numbers = itertools.count(4096)


def given(kind: str) -> bytes:
    """What a load balancer in front says, if anything; of another client each time."""
    source, destination = Address("1.2.3.4", next(_numbers)), Address("5.6.7.8", 80)
    match kind:
        case "first":
            return encode_v1(source, destination)
        case "second":
            return encode_v2(source, destination)
        case "six":
            return encode_v2(Address("::1", next(_numbers)), Address("2001:db8::1", 80))
        case "tlvs":
            return encode_v2(source, destination, [(1, b"h2"), (0xE1, b"theirs"), (0xE2, b"")])
        case "twice":
            return encode_v2(source, destination, [(0xE2, b"1"), (0xE2, b"2")])
    return b""


def _told(side: Side, name: str, send: bytes, responses: int = 0) -> bytes:
    """What the origin got, without what differs from side to side; an end is waited for unless `responses` are."""
    with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5) as client:
        client.sendall(send)
        client.settimeout(1.5)
        data = b""
        try:
            while more := client.recv(1 << 16):
                data += more
                found, _ = parse_responses(data, ["GET"] * responses)
                if responses and sum(one.complete for one in found) == responses:
                    break
        except TimeoutError:
            pass
        port = client.getsockname()[1]
    _, _, body = data.rpartition(b"\r\n\r\n")
    try:
        got = bytes.fromhex(body.decode())
    except ValueError:
        return data
    for number in (port, side.proxy.ports[name]):
        # Two bytes may stand in what the client has sent, too: only what comes before that is the proxy's.
        told, over, rest = got.partition(b"bytes<over>")
        told = told.replace(str(number).encode(), b"<port>")
        if not told.startswith(b"PROXY "):
            told = told.replace(number.to_bytes(2, "big"), b"<port>")
        got = told + over + rest
    return got


def same(pair: Pair, name: str, send: bytes) -> bytes:
    envoy, outrider = pair.both(lambda side: _told(side, name, send))
    assert outrider == envoy
    return bytes(outrider)


@pytest.mark.parametrize("kind", ["none", "first", "second", "six", "tlvs", "twice"])
@pytest.mark.parametrize("name", [*HEADERS, "tlvs"])
def test_bytes(pair: Pair, name: str, kind: str) -> None:
    got = same(pair, name, given(kind) + b"bytes<over>")
    assert got.startswith(b"PROXY TCP" if name == "first" else b"\r\n\r\n\0\r\nQUIT\n")
    assert got.endswith(b"bytes<over>")


REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 9.9.9.9\r\n\r\n"


@pytest.mark.parametrize("kind", ["none", "second", "tlvs"])
@pytest.mark.parametrize("name", ["http_first", "http_all", "trusting"])
def test_http(pair: Pair, name: str, kind: str) -> None:
    send = given(kind) + REQUEST
    envoy, outrider = pair.both(lambda side: _told(side, name, send, 1).partition(b"GET")[0])
    assert outrider == envoy
    assert outrider


def test_a_connection_tells_of_one_client(pair: Pair) -> None:
    """Two requests of one client share a connection, those of two clients do not."""

    def told(side: Side, send: bytes) -> tuple[bool, bool]:
        got = _told(side, "http_first", send, 2)
        return b"content-length: 5\r\n" in got, got.endswith(b"again")

    for _ in range(2):
        send = given("second") + REQUEST + REQUEST
        envoy, outrider = pair.both(lambda side, send=send: told(side, send))
        assert outrider == envoy == (True, True)


@pytest.mark.parametrize("kind", ["first", "tlvs"])
@pytest.mark.parametrize("name", ["tunnel_first", "tunnel_all"])
def test_tunnels(pair: Pair, name: str, kind: str) -> None:
    got = same(pair, name, given(kind))
    assert b"CONNECT a:1" in got
