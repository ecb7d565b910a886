from __future__ import annotations

import asyncio
import socket

from tests.unit.proxy.discovery.tables import Tables, listener, routes, run
from xds_client.api import Resource, Update
from xds_client.resource_types import ResourceType

LDS, RDS = ResourceType.LISTENER, ResourceType.ROUTE


def port_of(tables: Tables, name: str) -> int:
    port: int = tables.listeners.active[name].active.addresses()[0].port
    return port


def test_a_listener_runs_once_its_routes_are_here() -> None:
    async def test(tables: Tables) -> None:
        assert await tables.bring(LDS, listener("l", "r")) == []
        assert tables.started == []
        assert tables.asked[RDS].names == {"r"}
        assert await tables.bring(RDS, routes("r")) == []
        assert tables.started == ["l"]
        assert tables.listener_stats.total_listeners_active == 1

    run(test)


def test_a_refused_first_route_table_holds_nothing_up() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        twice = routes("r")
        twice.virtual_hosts.add().CopyFrom(twice.virtual_hosts[0])
        (rejection,) = await tables.bring(RDS, twice)
        assert "wildcard domain" in rejection.reason
        assert tables.started == ["l"]

    run(test)


def test_two_listeners_share_a_route_table_and_it_goes_with_the_last() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("a", "r"), listener("b", "r"))
        await tables.bring(RDS, routes("r"))
        assert tables.started == ["a", "b"]
        await tables.bring(LDS, removed=["a"])
        assert tables.asked[RDS].names == {"r"}
        await tables.bring(LDS, removed=["b"])
        assert tables.asked[RDS].names == set()
        assert tables.stopped == ["a", "b"]

    run(test)


def test_a_changed_listener_keeps_its_sockets() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        await tables.bring(RDS, routes("r"))
        port = port_of(tables, "l")
        changed = listener("l", "r", stat_prefix="other")
        assert await tables.bring(LDS, changed, version="2") == []
        assert tables.started == ["l", "l"]
        assert port_of(tables, "l") == port
        assert tables.listener_stats.listener_modified == 1

    run(test)


def test_a_port_that_another_process_has_is_refused_with_the_reason() -> None:
    async def test(tables: Tables) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            (rejection,) = await tables.bring(LDS, listener("l", "r", taken.getsockname()[1]))
        assert rejection.name == "l"
        assert "another process listens there" in rejection.reason
        assert tables.listener_stats.listener_create_failure == 1

    run(test)


def test_an_address_that_another_listener_has_is_refused() -> None:
    async def test(tables: Tables) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        rejections = await tables.bring(LDS, listener("a", "r", port), listener("b", "r", port))
        assert [one.name for one in rejections] == ["b"]
        assert "duplicate address" in rejections[0].reason
        assert "'a'" in rejections[0].reason

    run(test)


def test_a_removed_address_is_free_for_what_comes_in_the_same_response() -> None:
    async def test(tables: Tables) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        await tables.bring(LDS, listener("a", "r", port))
        await tables.bring(RDS, routes("r"))
        assert await tables.bring(LDS, listener("b", "r", port), removed=["a"]) == []
        assert list(tables.listeners.active) == ["b"]

    run(test)


def test_an_equal_listener_is_left_alone() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        await tables.bring(RDS, routes("r"))
        await tables.bring(LDS, listener("l", "r"), version="2")
        assert tables.started == ["l"]
        assert tables.listeners.active["l"].version == "2"

    run(test)


def test_an_internal_listener_needs_the_extension_of_the_bootstrap() -> None:
    async def test(tables: Tables) -> None:
        message = listener("l", "r", internal_listener={})
        message.ClearField("address")
        (rejection,) = await tables.bring(LDS, message)
        assert rejection.reason.startswith("internal_listener: needs the bootstrap extension")

    run(test)


def test_of_two_listeners_of_one_name_the_first_runs_and_the_second_is_shown_until_the_next_update() -> None:
    async def test(tables: Tables) -> None:
        first, second = listener("l", "r"), listener("l", "r", stat_prefix="other")
        (rejection,) = await tables.bring(LDS, first, second)
        assert (rejection.name, rejection.reason) == ("l", "duplicate listener l found")
        assert tables.listeners.errors["l"].serialized == second.SerializeToString()
        await tables.bring(RDS, routes("r"))
        assert tables.started == ["l"]
        assert await tables.bring(LDS, version="2") == []
        assert tables.listeners.errors == {}

    run(test)


def test_a_further_listener_is_refused_where_the_first_has_not_changed() -> None:
    async def test(tables: Tables) -> None:
        again = Resource("l", "2", listener("l", "r", stat_prefix="other").SerializeToString(), LDS.type_url)
        (rejection,) = await tables.listeners.apply(Update(LDS, "2", (), (), further=(again,)))
        assert (rejection.reason, rejection.further) == ("duplicate listener l found", True)
        assert list(tables.listeners.warming) == []

    run(test)


def test_a_listener_without_a_name_gets_one_and_can_be_changed_and_removed() -> None:
    async def test(tables: Tables) -> None:
        assert await tables.bring(LDS, listener("", "r")) == []
        await tables.bring(RDS, routes("r"))
        (name,) = tables.started
        assert len(name) == 36
        assert await tables.bring(LDS, listener("", "r", stat_prefix="other"), version="2") == []
        assert tables.started == [name, name]
        await tables.bring(LDS, removed=[""])
        assert tables.stopped == [name]

    run(test)


def test_a_removed_listener_drains() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(LDS, listener("l", "r"))
        await tables.bring(RDS, routes("r"))
        await tables.listeners.apply(Update(LDS, "2", (), ("l",)))
        assert [record.plan.name for record in tables.listeners.draining.values()] == ["l"]
        assert tables.listener_stats.total_listeners_draining == 1
        await asyncio.sleep(0)
        assert tables.listener_stats.total_listeners_draining == 0

    run(test)


def test_chains_that_end_drain_while_the_listener_goes_on() -> None:
    async def test(tables: Tables) -> None:
        one = listener("l", "r")
        more = listener("l", "r")
        added = more.filter_chains.add()
        added.CopyFrom(one.filter_chains[0])
        added.filter_chain_match.destination_port.value = 1
        more.default_filter_chain.CopyFrom(one.filter_chains[0])
        await tables.bring(LDS, more)
        await tables.bring(RDS, routes("r"))
        stats = tables.listener_stats
        await tables.listeners.apply(
            Update(LDS, "2", (Resource("l", "2", one.SerializeToString(), LDS.type_url),), ())
        )
        assert (stats.total_filter_chains_draining, stats.total_listeners_draining) == (2, 0)
        await asyncio.sleep(0)
        assert stats.total_filter_chains_draining == 0

    run(test)


def test_a_chain_that_comes_ends_no_other() -> None:
    async def test(tables: Tables) -> None:
        one = listener("l", "r")
        more = listener("l", "r")
        more.default_filter_chain.CopyFrom(one.filter_chains[0])
        await tables.bring(LDS, one)
        await tables.bring(RDS, routes("r"))
        await tables.listeners.apply(
            Update(LDS, "2", (Resource("l", "2", more.SerializeToString(), LDS.type_url),), ())
        )
        assert tables.listener_stats.total_filter_chains_draining == 0

    run(test)
