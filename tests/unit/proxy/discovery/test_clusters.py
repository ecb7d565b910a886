from __future__ import annotations

from tests.unit.proxy.discovery.tables import Tables, cluster, eds_cluster, endpoints, run
from xds_client.api import RefusedWhole
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT


def test_a_static_cluster_goes_to_workers_at_once_and_an_eds_cluster_with_its_endpoints() -> None:
    async def test(tables: Tables) -> None:
        assert await tables.bring(CDS, cluster("s"), eds_cluster("e")) == []
        assert tables.known_clusters() == ["s"]
        assert list(tables.clusters.warming) == ["e"]
        assert tables.asked[EDS].names == {"e"}
        assert tables.cluster_stats.warming_clusters == 1
        assert await tables.bring(EDS, endpoints("e", 80)) == []
        assert tables.known_clusters() == ["e"]
        assert tables.cluster_stats.active_clusters == 2
        ((((key, value),),),) = tables.of_kind("resources")
        assert key.endswith("/e")
        assert value == endpoints("e", 80).SerializeToString()

    run(test)


def test_endpoints_that_do_not_come_in_time_hold_nothing_up() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("e"), eds_cluster("f"))
        tables.consumers[EDS].missing("e")
        tables.consumers[EDS].failed("no answer")
        assert sorted(tables.clusters.active) == ["e", "f"]
        (entry, _) = tables.wanted.of_type(EDS)
        assert entry.numbers()["init_fetch_timeout"] == 1

    run(test)


BAD = {"type": "STATIC", "upstream_bind_config": {"source_address": {"address": "nowhere", "port_value": 0}}}


def test_a_bad_cluster_is_refused_with_the_field_and_the_others_are_taken() -> None:
    async def test(tables: Tables) -> None:
        (rejection,) = await tables.bring(CDS, cluster("good"), cluster("bad", **BAD))
        assert rejection.name == "bad"
        assert "upstream_bind_config.source_address.address" in rejection.reason
        assert tables.known_clusters() == ["good"]
        assert tables.clusters.errors["bad"].version == "1"
        assert await tables.bring(CDS, cluster("bad"), version="2") == []
        assert tables.clusters.errors == {}

    run(test)


def test_of_two_clusters_of_one_name_the_first_is_used() -> None:
    async def test(tables: Tables) -> None:
        first, second = cluster("c", type="STATIC"), cluster("c", type="STATIC", alt_stat_name="other")
        (rejection,) = await tables.bring(CDS, first, second)
        assert rejection.reason == "duplicate cluster c found"
        assert tables.clusters.serialized("c") == first.SerializeToString()

    run(test)


def test_a_cluster_that_is_refused_has_been_counted_and_brings_nothing() -> None:
    async def test(tables: Tables) -> None:
        before = tables.clusters.changes
        await tables.bring(CDS, cluster("bad", **BAD))
        assert tables.cluster_stats.cluster_added == 1
        assert tables.clusters.changes == before

    run(test)


def test_a_cluster_that_breaks_a_rule_of_its_proto_makes_the_whole_response_bad_as_in_envoy() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, cluster("old"))
        update = [cluster("good"), cluster("bad", connect_timeout="0s")]
        rejections = await tables.bring(CDS, *update, removed=["old"])
        assert isinstance(rejections, RefusedWhole)
        bad, along = rejections
        assert (bad.name, bad.along, along.name, along.along) == ("bad", False, "good", True)
        assert "connect_timeout" in bad.reason
        assert tables.known_clusters() == ["old"]

    run(test)


def test_a_refused_change_leaves_the_former_cluster_in_use() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, cluster("c"))
        await tables.bring(CDS, cluster("c", **BAD), version="2")
        record = tables.clusters.active["c"]
        assert (record.version, record.serialized) == ("1", cluster("c").SerializeToString())

    run(test)


def test_a_changed_cluster_gets_another_place_in_shared_memory() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, cluster("c"))
        await tables.bring(CDS, cluster("c", connect_timeout="2s"))
        ((first,), (second,)) = [group for (group,) in tables.of_kind("clusters")]
        assert first[2] != second[2]
        assert (tables.cluster_stats.cluster_added, tables.cluster_stats.cluster_modified) == (1, 1)

    run(test)


def test_an_equal_cluster_changes_nothing_but_its_version() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, cluster("c"))
        await tables.bring(CDS, cluster("c"), version="2")
        assert tables.known_clusters() == ["c"]
        assert tables.clusters.active["c"].version == "2"

    run(test)


def test_a_changed_eds_cluster_warms_while_the_former_one_serves() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("c"))
        await tables.bring(EDS, endpoints("c", 80))
        changed = eds_cluster("c")
        changed.eds_cluster_config.service_name = "other"
        await tables.bring(CDS, changed, version="2")
        assert tables.clusters.active["c"].version == "1"
        assert tables.asked[EDS].names == {"c", "other"}
        await tables.bring(EDS, endpoints("other", 81))
        assert tables.clusters.active["c"].version == "2"
        assert tables.asked[EDS].names == {"other"}

    run(test)


def test_a_removed_cluster_goes_with_its_endpoints() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("c"), cluster("d"))
        await tables.bring(EDS, endpoints("c", 80))
        await tables.bring(CDS, removed=["c", "unknown"])
        assert tables.of_kind("remove_clusters") == [(["c"],)]
        assert tables.asked[EDS].names == set()
        assert len(tables.of_kind("forget_resource")) == 1
        assert list(tables.clusters.active) == ["d"]
        assert tables.cluster_stats.cluster_removed == 1

    run(test)


def test_clusters_of_the_bootstrap_cannot_be_changed_or_removed() -> None:
    async def test(tables: Tables) -> None:
        mine = cluster("c").SerializeToString()
        tables.clusters.add_static([("c", mine)])
        assert await tables.bring(CDS, cluster("c", connect_timeout="9s"), removed=["c"]) == []
        assert tables.clusters.active["c"].serialized == mine
        assert tables.sent == []

    run(test)


def test_more_clusters_than_there_are_places_for_are_refused() -> None:
    async def test(tables: Tables) -> None:
        rejections = await tables.bring(CDS, cluster("a"), cluster("b"))
        assert [one.name for one in rejections] == ["b"]
        assert "the most there can be" in rejections[0].reason

    run(test, places=1)


def test_bad_endpoints_are_refused_by_name_and_the_former_ones_stay() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("c"))
        await tables.bring(EDS, endpoints("c", 80))
        bad = endpoints("c", 80)
        bad.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "not-an-address"
        (rejection,) = await tables.bring(EDS, bad, version="2")
        assert rejection.name == "c"
        assert "malformed IP address" in rejection.reason
        (entry,) = tables.wanted.of_type(EDS)
        assert entry.version == "1"
        assert entry.error is not None
        assert entry.error.version == "2"
        assert entry.numbers()["update_rejected"] == 1

    run(test)


def test_a_dns_cluster_is_warm_when_its_names_were_resolved() -> None:
    async def test(tables: Tables) -> None:
        hosts = endpoints("d", 80)
        hosts.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "127.0.0.9"
        message = cluster("d", type="STRICT_DNS")
        message.load_assignment.CopyFrom(hosts)
        await tables.bring(CDS, message)
        for _ in range(5):
            await tables.bring(CDS)
        assert tables.known_clusters() == ["d"]
        assert tables.of_kind("hosts")[-1] == ("d", [(0, "127.0.0.9")])

    run(test)


def test_a_cluster_that_keeps_its_connections_keeps_its_place() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, cluster("c"))
        place = tables.clusters.active["c"].place
        limited = cluster("c", circuit_breakers={"thresholds": [{"max_requests": 3}]})
        await tables.bring(CDS, limited)
        assert tables.clusters.active["c"].place == place
        await tables.bring(CDS, cluster("c", lb_policy="RANDOM"))
        assert tables.clusters.active["c"].place != place
        # Both places are free again, and given away once.
        await tables.bring(CDS, removed=["c"])
        await tables.bring(CDS, *(cluster(f"c{number}") for number in range(4)))
        places = [record.place for record in tables.clusters]
        assert len(set(places)) == len(places)

    run(test)


def test_endpoints_stay_wanted_when_a_cluster_changes_at_its_place() -> None:
    async def test(tables: Tables) -> None:
        await tables.bring(CDS, eds_cluster("c"))
        await tables.bring(EDS, endpoints("c", 1))
        limited = eds_cluster("c", circuit_breakers={"thresholds": [{"max_requests": 3}]})
        await tables.bring(CDS, limited)
        (entry,) = tables.wanted.of_type(EDS)
        assert entry.holders
        await tables.bring(CDS, removed=["c"])
        assert not tables.wanted.of_type(EDS)

    run(test)
