"""Connections to internal listeners, as a pool or the TCP proxy makes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from google.protobuf.json_format import ParseDict

from proxy.base.address import INTERNAL_CLIENT, Address, InternalAddress
from proxy.base.stream_info import ONCE, TRANSITIVE, ConnectionInfo, DrainState
from proxy.upstream.cluster_config import ClusterConfig, EndpointConfig
from proxy.upstream.compile_internal import InternalUpstreamStats, Passthrough
from proxy.upstream.pool.connect import ConnectError, open_connection
from tests.support.listeners import services
from tests.support.upstream_pool import Cluster, Runtime

METADATA = ParseDict({"filter_metadata": {"n": {"k": "v"}}}, base_pb2.Metadata())


class Listener:
    """Keeps what it is given; also the directory that finds it."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def find_internal(self, name: str) -> Listener | None:
        return self if name == "inner" else None

    def accept_internal(self, transport: Any, *facts: Any) -> None:
        self.given.append((transport, *facts))


class Client(asyncio.Protocol):
    transport: Any = None
    data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data


def dialled(
    name: str = "inner", passthrough: Passthrough | None = None, client: ConnectionInfo | None = None
) -> tuple[Client, Listener]:
    endpoint = EndpointConfig(InternalAddress(name, "e"), metadata=METADATA)
    config = ClusterConfig("c", "c", endpoints=(endpoint,), passthrough=passthrough)
    cluster = Cluster(config, Runtime(), lambda: 0)
    cluster.internal_stats = InternalUpstreamStats("x.")
    listener = Listener()
    protocol = Client()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        cluster.services = services(loop=loop)
        cluster.services.internal_listeners = listener
        made = await open_connection(loop, cluster.hosts[0], config, protocol, None, client)
        assert made is None
        listener.given[0][0].write(b"hello")
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(run())
    return protocol, listener


def sharing() -> ConnectionInfo:
    address = Address("127.0.0.1", 1)
    client = ConnectionInfo(1, address, address, 0.0, DrainState())
    client.filter_state = {"once": 1, "on": 2, "own": 3}
    client.state_sharing = {"once": ONCE, "on": TRANSITIVE}
    return client


def test_both_ends_are_in_this_worker() -> None:
    protocol, listener = dialled()
    ((_, local, *_),) = listener.given
    assert local.text == "envoy://inner/e"
    assert protocol.data == b"hello"
    assert protocol.transport.get_extra_info("sockname") is INTERNAL_CLIENT
    assert protocol.transport.get_extra_info("peername") is local


def test_a_listener_that_is_not_there_refuses_in_envoys_words() -> None:
    with pytest.raises(ConnectError) as raised:
        dialled("absent")
    assert raised.value.reason == "immediate connect error: Invalid argument|remote address:envoy://absent/e"


def test_metadata_and_shared_state_are_passed_on_by_that_transport_socket_only() -> None:
    _, listener = dialled(passthrough=Passthrough(((True, "n"),)), client=sharing())
    assert listener.given[0][2:] == ({"n": {"k": "v"}}, {"once": 1, "on": 2}, {"on": TRANSITIVE})
    _, listener = dialled(client=sharing())
    assert listener.given[0][2:] == ({}, {}, {})
