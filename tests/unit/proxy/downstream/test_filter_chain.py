"""Filters and transport socket of one chain."""

from __future__ import annotations

from typing import cast

from proxy.downstream.filter_chain import NetworkFilterConfig
from tests.support.listeners import chain, compiled, echo, listener, network_filter


def test_filters_are_in_order() -> None:
    limit = network_filter("connection_limit.v3.ConnectionLimit", stat_prefix="x", max_connections=1)
    config = compiled(
        listener(chain(limit, limit, echo(), name="c", transport_socket_connect_timeout="2.5s"))
    )
    found = config.chains[0]
    names = [cast("NetworkFilterConfig", one).factory.name for one in found.filters]
    assert names == ["envoy.filters.network.connection_limit"] * 2 + ["envoy.filters.network.echo"]
    assert found.connect_timeout == 2.5
    assert found.tls is None


def test_raw_buffer_is_plain_text() -> None:
    from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2

    socket = {
        "name": "raw",
        "typed_config": {"@type": f"type.googleapis.com/{raw_buffer_pb2.RawBuffer.DESCRIPTOR.full_name}"},
    }
    assert compiled(listener(chain(transport_socket=socket))).chains[0].tls is None
