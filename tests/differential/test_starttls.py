"""The STARTTLS transport socket of real Envoy and ours, where no filter starts TLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certs import Authority
from tests.support.configs import Json, bootstrap, cluster, listener, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.origin import Origin, OriginConnection

STARTTLS = "envoy.extensions.transport_sockets.starttls.v3."
TCP_PROXY = typed(
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp", cluster="origin"
)


def transport(kind: str, **context: Any) -> Json:
    return {"name": "starttls", "typed_config": typed(STARTTLS + kind, **context)}


def config(authority: Authority, server: Json | None = None, client: Json | None = None) -> Json:
    issued = authority.issue("server.test")
    pair = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    secure = {"tls_socket_config": {"common_tls_context": {"tls_certificates": [pair]}}}
    made = listener([{"name": "tcp", "typed_config": TCP_PROXY}])
    made["filter_chains"][0]["transport_socket"] = transport(
        "StartTlsConfig", **(secure if server is None else server)
    )
    upstream = transport(
        "UpstreamStartTlsConfig", **({"tls_socket_config": {}} if client is None else client)
    )
    return bootstrap([made], [cluster(transport_socket=upstream)])


def echo(connection: OriginConnection) -> None:
    while data := connection.receive():
        connection.send(data)


@pytest.fixture
def authority(tmp_path: Any) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Iterator[Pair]:
    with Pair(config(authority), origins={"origin": lambda: Origin(take_over=echo)}) as started:
        yield started


def test_connections_stay_in_clear_text(pair: Pair) -> None:
    def talk(side: Side) -> bytes:
        with socket.create_connection(("127.0.0.1", side.proxy.port), 5) as client:
            client.sendall(b"in the clear")
            return client.recv(100)

    with pair.same_stats("cluster.origin.upstream_cx_total", "cluster.origin.ssl.", "tcp.tcp."):
        assert pair.same_value("reply", talk, settle=0) == b"in the clear"


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ({}, None),
        ({"tls_socket_config": {}}, None),
        (None, {}),
        (None, {"tls_socket_config": {"sni": "x" * 256}}),
    ],
)
def test_contexts_are_checked_all_the_same(
    authority: Authority, server: Json | None, client: Json | None
) -> None:
    values = {"listener_port": 1, "origin_port": 1, "admin_port": 1}
    assert not same_verdict(config(authority, server, client), values)[0]
    assert same_verdict(config(authority), values)[0]
