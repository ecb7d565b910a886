from __future__ import annotations

from envoy.config.core.v3 import config_source_pb2
from google.protobuf import json_format

from proxy.base.stats import StatRegistry
from proxy.config.config_sources import ConfigSources
from proxy.discovery.on_demand_clusters import OnDemandClusters
from tests.unit.proxy.discovery.tables import ADS, Tables, cluster, eds_cluster, endpoints, run
from xds_client.api import Resource, Update
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT
SOURCE = json_format.ParseDict(ADS, config_source_pb2.ConfigSource()).SerializeToString()


def demands_of(tables: Tables) -> OnDemandClusters:
    return OnDemandClusters(
        tables.clusters, tables._subscribe, tables.sent.append, StatRegistry(), ConfigSources()
    )


async def answer(tables: Tables, name: str) -> None:
    """The source of clusters on demand has one."""
    resource = Resource(name, "1", eds_cluster(name).SerializeToString(), CDS.type_url)
    await tables.consumers[CDS].apply(Update(CDS, "1", (resource,), ()))


def test_workers_hear_of_a_cluster_when_it_is_warm() -> None:
    async def test(tables: Tables) -> None:
        demands = demands_of(tables)
        demands.demand("c", SOURCE)
        assert tables.asked[CDS].names == {"c"}
        await answer(tables, "c")
        assert tables.of_kind("demanded") == []
        await tables.bring(EDS, endpoints("c", 80))
        assert tables.known_clusters() == ["c"]
        assert tables.of_kind("demanded") == [("CLUSTER", "c")]
        demands.demand("c", SOURCE)
        assert tables.of_kind("demanded") == [("CLUSTER", "c")]

    run(test)


def test_a_cluster_that_does_not_exist_is_asked_for_again_when_a_request_comes_again() -> None:
    async def test(tables: Tables) -> None:
        demands = demands_of(tables)
        demands.demand("c", SOURCE)
        tables.consumers[CDS].missing("c")
        assert tables.of_kind("demanded") == [("CLUSTER", "c")]
        demands.demand("c", SOURCE)
        assert tables.of_kind("demanded") == []
        assert tables.asked[CDS].names == {"c"}

    run(test)


def test_a_cluster_that_is_warming_is_waited_for() -> None:
    async def test(tables: Tables) -> None:
        demands = demands_of(tables)
        await tables.bring(CDS, eds_cluster("c"), cluster("unasked"))
        demands.demand("c", SOURCE)
        assert CDS not in tables.asked
        await tables.bring(EDS, endpoints("c", 80))
        assert tables.of_kind("demanded") == [("CLUSTER", "c")]

    run(test)


def test_a_refused_cluster_is_not_waited_for() -> None:
    async def test(tables: Tables) -> None:
        demands_of(tables).demand("c", SOURCE)
        resource = Resource("c", "1", b"\xff", CDS.type_url)
        (rejection,) = await tables.consumers[CDS].apply(Update(CDS, "1", (resource,), ()))
        assert rejection.name == "c"
        assert tables.of_kind("demanded") == [("CLUSTER", "c")]

    run(test)
