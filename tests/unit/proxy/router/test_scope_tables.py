from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource, ResourceStore, resource_key
from proxy.router.scope_list import compile_scoped_routes
from proxy.router.scope_tables import ScopeTables
from xds_client.resource_types import ResourceType

ADS = {"ads": {}, "resource_api_version": "V3"}


class User:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_resource(self, source: ResourceSource) -> None:
        self.heard.append(source.name)


def request(key: str) -> RequestHead:
    return RequestHead("GET", "/", "a", HeaderMap([("x-key", key)]))


def table(name: str, **fields: Any) -> bytes:
    tree = {"name": name, "virtual_hosts": [{"name": "v", "domains": ["a"]}], **fields}
    serialized: bytes = json_format.ParseDict(tree, route_pb2.RouteConfiguration()).SerializeToString()
    return serialized


class Scopes:
    """Listed scopes: name and table by key."""

    def __init__(self, **scopes: tuple[str, str]) -> None:
        self.store = ResourceStore()
        self.user = User()
        self.ctx = CompileContext(resources=self.store)
        extractor = {"header_value_extractor": {"name": "x-key", "index": 0}}
        tree = {
            "scope_key_builder": {"fragments": [extractor]},
            "rds_config_source": ADS,
            "scoped_rds": {"scoped_rds_config_source": ADS},
        }
        message = json_format.ParseDict(tree, http_connection_manager_pb2.ScopedRoutes())
        self.config = compile_scoped_routes(message, "", "http.in.", self.ctx)
        listed = [
            {"name": name, "route_configuration_name": routes, "key": {"fragments": [{"string_key": key}]}}
            for key, (name, routes) in scopes.items()
        ]
        value = json_format.ParseDict(
            {"scoped_route_configurations": listed},
            http_connection_manager_pb2.ScopedRouteConfigurationsList(),
        )
        assert self.config.source is not None
        self.store.update(self.config.source.key, value.SerializeToString())

    def key(self, kind: ResourceType, name: str) -> str:
        return resource_key(kind, name, self.config.rds_source)

    def tables(self) -> ScopeTables:
        return ScopeTables(self.config, self.user, self.ctx)


def test_the_table_is_that_of_the_scope_once_it_has_come() -> None:
    scopes = Scopes(one=("s1", "r"), two=("s2", "q"))
    scopes.store.update(scopes.key(ResourceType.ROUTE, "r"), table("r"))
    tables = scopes.tables()
    found = tables.table(request("one"))
    assert found is not None
    assert found.name == "r"
    assert tables.table(request("one")) is found
    assert tables.table(request("two")) is tables.table(request("three")) is None
    scopes.store.update(scopes.key(ResourceType.ROUTE, "q"), table("q"))
    assert scopes.user.heard == ["q"]


def test_what_is_missing_is_the_scope_of_the_key() -> None:
    scopes = Scopes(one=("s1", "r"))
    tables = scopes.tables()
    assert scopes.config.source is not None
    assert tables.demand(request("one")) == (scopes.config.source.key, "s1")
    assert tables.demand(request("two")) is None


def test_virtual_hosts_that_come_on_demand_are_heard_of() -> None:
    scopes = Scopes(one=("s1", "r"))
    scopes.store.update(scopes.key(ResourceType.ROUTE, "r"), table("r", vhds={"config_source": ADS}))
    tables = scopes.tables()
    found = tables.table(request("one"))
    assert found is not None
    assert found.vhds is not None
    assert found.virtual_host("b") is None
    more = {"name": "r", "virtual_hosts": [{"name": "r/b", "domains": ["b"]}]}
    hosts = json_format.ParseDict(more, route_pb2.RouteConfiguration())
    scopes.store.update(found.vhds.key, hosts.SerializeToString())
    assert scopes.user.heard == ["r"]
    joined = scopes.tables().table(request("one"))
    assert joined is not None
    assert [joined.virtual_host(name) is not None for name in ("a", "b", "c")] == [True, True, False]
