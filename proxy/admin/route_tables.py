"""Finds the route tables written inside listeners, which Envoy lists as static route configs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from msgspec.structs import replace

from proxy.admin.state import AdminState, ConfigResource

_MANAGER: Final = http_connection_manager_pb2.HttpConnectionManager


def inline_route_tables(state: AdminState) -> Iterator[ConfigResource]:
    """Every `route_config` of an HTTP connection manager, in the order of listeners and filter chains."""
    for resource, manager in _managers(state):
        if manager.HasField("route_config"):
            table = manager.route_config
            yield ConfigResource(table.name, table.SerializeToString(), resource.updated)


def scoped_route_lists(state: AdminState) -> Iterator[ConfigResource]:
    """Discovered scopes, under the name of the `scoped_routes` that use them."""
    lists = {resource.source: resource for resource in state.resources("scoped_routes")}
    if not lists:
        return
    seen: set[str] = set()
    for _, manager in _managers(state):
        scoped = manager.scoped_routes
        source = scoped.scoped_rds.scoped_rds_config_source.SerializeToString(deterministic=True)
        found = lists.get(source)
        if scoped.HasField("scoped_rds") and found is not None and scoped.name not in seen:
            seen.add(scoped.name)
            yield replace(found, name=scoped.name)


def _managers(state: AdminState) -> Iterator[tuple[ConfigResource, Any]]:
    """Every HTTP connection manager, with its listener."""
    for resource in state.resources("listeners"):
        listener = listener_pb2.Listener.FromString(resource.serialized)
        chains = list(listener.filter_chains)
        if listener.HasField("default_filter_chain"):
            chains.append(listener.default_filter_chain)
        for chain in chains:
            for network_filter in chain.filters:
                if not network_filter.typed_config.Is(_MANAGER.DESCRIPTOR):
                    continue
                yield resource, _MANAGER.FromString(network_filter.typed_config.value)
