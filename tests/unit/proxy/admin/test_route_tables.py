from __future__ import annotations

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from proxy.admin.route_tables import inline_route_tables
from proxy.admin.state import ConfigResource, ResourceKind
from tests.support.admin_state import FakeAdminState


def test_tables_of_every_chain_are_found_and_rds_is_not() -> None:
    listener = listener_pb2.Listener(name="l")
    for chain, name in ((listener.filter_chains.add(), "a"), (listener.default_filter_chain, "b")):
        manager = http_connection_manager_pb2.HttpConnectionManager()
        manager.route_config.name = name
        chain.filters.add().typed_config.Pack(manager)
    by_rds = http_connection_manager_pb2.HttpConnectionManager()
    by_rds.rds.route_config_name = "c"
    listener.filter_chains.add().filters.add().typed_config.Pack(by_rds)
    listener.filter_chains.add().filters.add(name="no config")

    class State(FakeAdminState):
        def resources(self, kind: ResourceKind) -> list[ConfigResource]:
            return [ConfigResource("l", listener.SerializeToString(), 5)] if kind == "listeners" else []

    tables = list(inline_route_tables(State()))
    assert [(table.name, table.updated) for table in tables] == [("a", 5), ("b", 5)]
