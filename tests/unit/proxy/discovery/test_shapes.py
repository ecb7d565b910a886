"""Resources of one shape are looked at once: what is wrong with a single one must show all the same."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.discovery.shapes import cluster_shape, endpoints_shape, reduced_table
from tests.unit.proxy.discovery.tables import (
    Tables,
    cluster,
    eds_cluster,
    endpoints,
    listener,
    routes,
    run,
)
from xds_client.resource_types import ResourceType


def test_names_make_no_difference_to_the_shape_of_a_cluster() -> None:
    one = eds_cluster("one", alt_stat_name="first", metadata={"filter_metadata": {"istio": {"host": "one"}}})
    two = eds_cluster(
        "two.example", alt_stat_name="second", metadata={"filter_metadata": {"istio": {"a": 1}}}
    )
    first, second = cluster_shape(one), cluster_shape(two)
    assert first is not None
    assert second is not None
    assert first.key == second.key
    assert (second.name, second.stat_name) == ("two.example", "second")


@pytest.mark.parametrize(
    "other",
    [
        cluster("a", type="STATIC"),
        eds_cluster(""),
        eds_cluster("xdstp://authority/type/name"),
        eds_cluster("n" * 300),
    ],
)
def test_what_has_to_be_looked_at_itself_has_no_shape(other: Any) -> None:
    assert cluster_shape(other) is None


def test_any_other_field_makes_another_shape() -> None:
    plain, other = cluster_shape(eds_cluster("a")), cluster_shape(eds_cluster("b", lb_policy="RANDOM"))
    assert plain is not None
    assert other is not None
    assert plain.key != other.key


def test_clusters_of_one_shape_wait_for_endpoints_of_their_own() -> None:
    async def test(tables: Tables) -> None:
        named = eds_cluster("b")
        named.eds_cluster_config.service_name = "service"
        assert not await tables.bring(ResourceType.CLUSTER, eds_cluster("a"), named, eds_cluster("c"))
        wanted = {entry.want.name: entry.want for entry in tables.wanted.of_type(ResourceType.ENDPOINT)}
        assert set(wanted) == {"a", "service", "c"}
        assert wanted["service"].stat_prefix == "cluster.b."
        assert not await tables.bring(ResourceType.ENDPOINT, endpoints("service", 1), endpoints("c", 2))
        assert sorted(tables.known_clusters()) == ["b", "c"]

    run(test)


def test_one_bad_cluster_among_those_of_a_shape_is_refused_alone() -> None:
    async def test(tables: Tables) -> None:
        bad = eds_cluster("b")
        bad.transport_socket.name = "nonsense"
        rejections = await tables.bring(ResourceType.CLUSTER, eds_cluster("a"), bad, eds_cluster("c"))
        assert [one.name for one in rejections] == ["b"]
        assert set(tables.clusters.warming) == {"a", "c"}

    run(test)


def test_one_bad_address_among_endpoints_of_a_shape_is_refused() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(ResourceType.CLUSTER, eds_cluster("a"), eds_cluster("b"))
        bad = endpoints("b", 80)
        bad.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "nowhere"
        (rejection,) = await tables.bring(ResourceType.ENDPOINT, endpoints("a", 80), bad)
        assert "malformed IP address: nowhere" in rejection.reason
        assert _values(tables) == {"a": True, "b": False}

    run(test)


def test_endpoints_of_a_shape_that_break_a_rule_of_their_proto_refuse_all_that_came_with_them() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(ResourceType.CLUSTER, eds_cluster("a"), eds_cluster("b"))
        wrong = endpoints("b", 80)
        wrong.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = 70000
        rejections = await tables.bring(ResourceType.ENDPOINT, endpoints("a", 80), wrong)
        assert [(one.name, one.along) for one in rejections] == [("b", False), ("a", True)]
        assert _values(tables) == {"a": False, "b": False}
        assert await tables.bring(ResourceType.ENDPOINT, endpoints("a", 80), endpoints("b", 80)) == []
        assert _values(tables) == {"a": True, "b": True}

    run(test)


def _values(tables: Tables) -> dict[str, bool]:
    """Which endpoints have been accepted."""
    entries = tables.wanted.of_type(ResourceType.ENDPOINT)
    return {entry.want.name: entry.value is not None for entry in entries}


def test_endpoints_differ_in_shape_by_weight_but_not_by_address() -> None:
    near, far = endpoints("a", 80), endpoints("b", 81)
    heavy = endpoints("c", 82)
    heavy.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 2
    shape = endpoints_shape(near)
    assert shape is not None
    assert endpoints_shape(far) == shape
    assert endpoints_shape(heavy) != shape


def _table(*hosts: tuple[str, str]) -> Any:
    table = routes("r", domain="first.example")
    for name, domain in hosts:
        table.virtual_hosts.add().CopyFrom(table.virtual_hosts[0])
        table.virtual_hosts[-1].name = name
        table.virtual_hosts[-1].domains[:] = [domain]
    return table


def test_a_table_is_reduced_to_one_virtual_host_of_each_shape() -> None:
    table = _table(("w", "second.example"), ("x", "*.third.example"))
    table.virtual_hosts[1].routes[0].route.cluster = "other"
    table.virtual_hosts[2].routes[0].route.timeout.seconds = 3
    reduced = reduced_table(table)
    assert reduced is not None
    assert [len(host.domains) for host in reduced.virtual_hosts] == [1, 1]
    assert reduced.name == "r"


@pytest.mark.parametrize("hosts", [[("", "a.example")], [("w", "FIRST.example")], [("w", "bad\ndomain")]])
def test_a_table_whose_names_are_not_sound_is_not_reduced(hosts: list[tuple[str, str]]) -> None:
    assert reduced_table(_table(*hosts)) is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (
            lambda table: table.virtual_hosts[2].domains.append("second.example"),
            "virtual_hosts[2].domains[1]",
        ),
        (
            lambda table: table.virtual_hosts[2].routes[0].match.ClearField("prefix"),
            "virtual_hosts[2].routes[0]",
        ),
        (
            lambda table: table.virtual_hosts[2].routes[0].route.ClearField("cluster"),
            "virtual_hosts[2].routes[0]",
        ),
    ],
)
def test_problems_of_a_table_name_the_virtual_host_that_has_them(change: Any, place: str) -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(ResourceType.LISTENER, listener("l", "r"))
        table = _table(("w", "second.example"), ("x", "third.example"))
        change(table)
        (rejection,) = await tables.bring(ResourceType.ROUTE, table)
        assert place in rejection.reason

    run(test)
