"""Finds the route tables written inside listeners, which Envoy lists as static route configs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from proxy.admin.state import AdminState, ConfigResource

_MANAGER: Final = http_connection_manager_pb2.HttpConnectionManager


def inline_route_tables(state: AdminState) -> Iterator[ConfigResource]:
    """Every `route_config` of an HTTP connection manager, in the order of listeners and filter chains."""
    for resource in state.resources("listeners"):
        listener = listener_pb2.Listener.FromString(resource.serialized)
        chains = list(listener.filter_chains)
        if listener.HasField("default_filter_chain"):
            chains.append(listener.default_filter_chain)
        for chain in chains:
            for network_filter in chain.filters:
                if not network_filter.typed_config.Is(_MANAGER.DESCRIPTOR):
                    continue
                manager = _MANAGER.FromString(network_filter.typed_config.value)
                if manager.HasField("route_config"):
                    table = manager.route_config
                    yield ConfigResource(table.name, table.SerializeToString(), resource.updated)
