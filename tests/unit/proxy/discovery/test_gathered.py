from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from tests.unit.proxy.discovery.tables import ADS, Tables, listener, routes, run
from xds_client.resource_types import ResourceType

LDS, RDS, SCOPES = ResourceType.LISTENER, ResourceType.ROUTE, ResourceType.SCOPED_ROUTE
VHDS = ResourceType.VIRTUAL_HOST


def scope(name: str, table: str, key: str, **fields: Any) -> Any:
    tree = {"name": name, "route_configuration_name": table, "key": {"fragments": [{"string_key": key}]}}
    return json_format.ParseDict({**tree, **fields}, scoped_route_pb2.ScopedRouteConfiguration())


def scoped_listener(name: str, **sources: Any) -> Any:
    message = listener(name, "unused")
    packed = message.filter_chains[0].filters[0].typed_config
    manager = http_connection_manager_pb2.HttpConnectionManager()
    packed.Unpack(manager)
    extractor = {"header_value_extractor": {"name": "x-key", "index": 0}}
    tree = {
        "name": "s",
        "scope_key_builder": {"fragments": [extractor]},
        "rds_config_source": sources.get("rds", ADS),
        "scoped_rds": {"scoped_rds_config_source": ADS},
    }
    json_format.ParseDict(tree, manager.scoped_routes)
    packed.Pack(manager)
    return message


def vhds_routes(name: str) -> Any:
    tree = {"name": name, "vhds": {"config_source": ADS}}
    return json_format.ParseDict(tree, route_pb2.RouteConfiguration())


def virtual_host(name: str, domain: str) -> Any:
    return json_format.ParseDict({"name": name, "domains": [domain]}, route_components_pb2.VirtualHost())


def scopes_sent(tables: Tables) -> list[list[str]]:
    """The names of the scopes of each value that workers got."""
    return [
        [one.name for one in _scopes(value)]
        for (group,) in tables.of_kind("resources")
        for key, value in group
        if key.startswith("SCOPED_ROUTE/")
    ]


def _scopes(value: bytes) -> Any:
    message = http_connection_manager_pb2.ScopedRouteConfigurationsList.FromString(value)
    return message.scoped_route_configurations


def test_a_listener_waits_for_its_scopes_and_they_for_their_tables() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        assert tables.asked[SCOPES].names == {"*"}
        await tables.bring(SCOPES, scope("one", "r", "a"), scope("two", "q", "b", on_demand=True))
        assert tables.asked[RDS].names == {"r"}
        assert tables.started == []
        assert scopes_sent(tables) == []
        await tables.bring(RDS, routes("r"))
        assert scopes_sent(tables) == [["one", "two"]]
        assert tables.started == ["l"]

    run(test)


def test_the_former_scopes_serve_until_the_table_of_the_new_ones_is_here() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        await tables.bring(SCOPES, scope("one", "r", "a"))
        await tables.bring(RDS, routes("r"))
        scopes_sent(tables)
        await tables.bring(SCOPES, scope("one", "q", "a"))
        assert scopes_sent(tables) == []
        assert tables.asked[RDS].names == {"r", "q"}
        await tables.bring(RDS, routes("q"))
        assert scopes_sent(tables) == [["one"]]
        assert tables.asked[RDS].names == {"q"}

    run(test)


def test_scopes_that_are_removed_go_and_so_do_their_tables() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        await tables.bring(SCOPES, scope("one", "r", "a"), scope("two", "q", "b"))
        await tables.bring(RDS, routes("r"), routes("q"))
        scopes_sent(tables)
        await tables.bring(SCOPES, removed=["two"])
        assert scopes_sent(tables) == [["one"]]
        assert tables.asked[RDS].names == {"r"}
        await tables.bring(LDS, removed=["l"])
        assert tables.asked[RDS].names == tables.asked[SCOPES].names == set()
        assert tables.wanted.entries == {}

    run(test)


def test_scopes_with_one_key_are_refused_and_the_former_ones_stay() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        await tables.bring(SCOPES, scope("one", "r", "a"))
        rejections = await tables.bring(SCOPES, scope("two", "r", "a"))
        assert [one.name for one in rejections] == ["two"]
        assert "first scope is 'one', second scope is 'two'" in rejections[0].reason
        assert await tables.bring(SCOPES, scope("three", "r", "b")) == []

    run(test)


def test_no_scope_at_all_is_an_answer() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        await tables.bring(SCOPES)
        assert tables.started == ["l"]

    run(test)


def test_the_table_of_an_on_demand_scope_is_asked_for_when_a_request_needs_it() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        await tables.bring(SCOPES, scope("one", "r", "a", on_demand=True))
        (entry,) = tables.wanted.of_type(SCOPES)
        tables.wanted.demand(entry.want.key, "one")
        assert tables.asked[RDS].names == {"r"}
        assert tables.of_kind("demanded") == []
        await tables.bring(RDS, routes("r"))
        assert tables.of_kind("demanded") == [(entry.want.key, "one")]
        # It stays wanted when other scopes change.
        await tables.bring(SCOPES, scope("two", "r", "b", on_demand=True))
        assert tables.asked[RDS].names == {"r"}
        tables.wanted.demand(entry.want.key, "one")
        assert tables.of_kind("demanded") == [(entry.want.key, "one")]

    run(test)


def test_each_listener_gets_the_tables_from_its_own_source() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, scoped_listener("l"))
        await tables.bring(SCOPES, scope("one", "r", "a"))
        assert len(tables.wanted.of_type(RDS)) == 1
        await tables.bring(LDS, scoped_listener("m", rds={**ADS, "initial_fetch_timeout": "3s"}))
        assert [entry.want.name for entry in tables.wanted.of_type(RDS)] == ["r", "r"]

    run(test)


def hosts_sent(tables: Tables) -> list[list[str]]:
    return [
        [one.name for one in route_pb2.RouteConfiguration.FromString(value).virtual_hosts]
        for (group,) in tables.of_kind("resources")
        for key, value in group
        if key.startswith("VIRTUAL_HOST/")
    ]


def test_a_listener_waits_for_the_first_virtual_hosts_of_its_table() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        await tables.bring(RDS, vhds_routes("r"))
        assert tables.asked[VHDS].names == {"r"}
        assert tables.started == []
        await tables.bring(VHDS, virtual_host("r/a", "a.example"))
        assert tables.started == ["l"]
        assert hosts_sent(tables) == [["r/a"]]
        await tables.bring(VHDS, virtual_host("r/b", "b.example"), removed=["r/a"])
        assert hosts_sent(tables) == [["r/b"]]
        assert await tables.bring(VHDS, virtual_host("other/b", "b.example")) == []
        assert hosts_sent(tables) == []

    run(test)


def test_virtual_hosts_with_one_domain_are_refused() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        await tables.bring(RDS, vhds_routes("r"))
        await tables.bring(VHDS, virtual_host("r/a", "a.example"))
        (rejection,) = await tables.bring(VHDS, virtual_host("r/b", "a.example"))
        assert "Duplicate entry of domain a.example" in rejection.reason

    run(test)


def test_workers_are_told_when_a_virtual_host_came_or_does_not_exist() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        await tables.bring(RDS, vhds_routes("r"))
        await tables.bring(VHDS, virtual_host("r/a", "a.example"))
        (entry,) = tables.wanted.of_type(VHDS)
        key = entry.want.key
        tables.wanted.demand(key, "r/b.example")
        tables.wanted.demand(key, "r/b.example")
        tables.wanted.demand(key, "r/c.example")
        assert tables.asked[VHDS].names == {"r", "r/b.example", "r/c.example"}
        await tables.bring(VHDS, virtual_host("r/b.example", "b.example"))
        tables.consumers[VHDS].missing("r/c.example")
        assert tables.of_kind("demanded") == [(key, "r/b.example"), (key, "r/c.example")]
        await tables.bring(LDS, removed=["l"])
        assert tables.asked[VHDS].names == set()
        tables.wanted.demand(key, "r/d.example")
        assert tables.of_kind("demanded") == [(key, "r/d.example")]

    run(test)
