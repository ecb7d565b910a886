from __future__ import annotations

from proxy.discovery.host_changes import HostChanges
from tests.unit.proxy.discovery.tables import Tables, eds_cluster, endpoints, run
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT


async def _serving(tables: Tables) -> None:
    tables.wanted.before_change[EDS] = HostChanges(tables.clusters, tables.cluster_stats)
    await tables.bring(CDS, eds_cluster("c"))
    await tables.bring(EDS, endpoints("c", 80, 81))
    assert tables.cluster_stats.cluster_updated == 0, "a cluster that warms is not updated"


def test_hosts_that_come_and_go_update_the_cluster() -> None:
    async def test(tables: Tables) -> None:
        await _serving(tables)
        await tables.bring(EDS, endpoints("c", 80), version="2")
        await tables.bring(EDS, endpoints("c"), version="3")
        (entry,) = tables.wanted.of_type(EDS)
        assert (tables.cluster_stats.cluster_updated, entry.unbuilt) == (2, 0)

    run(test)


def test_the_same_hosts_in_another_order_or_twice_update_nothing() -> None:
    async def test(tables: Tables) -> None:
        await _serving(tables)
        await tables.bring(EDS, endpoints("c", 81, 80), version="2")
        await tables.bring(EDS, endpoints("c", 80, 81, 80), version="3")
        (entry,) = tables.wanted.of_type(EDS)
        assert (tables.cluster_stats.cluster_updated, entry.unbuilt) == (0, 2)

    run(test)


def test_endpoints_of_which_a_weight_changes_update_the_cluster() -> None:
    async def test(tables: Tables) -> None:
        await _serving(tables)
        heavy = endpoints("c", 80, 81)
        heavy.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 7
        await tables.bring(EDS, heavy, version="2")
        assert tables.cluster_stats.cluster_updated == 1

    run(test)
