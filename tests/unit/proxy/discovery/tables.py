"""Tables of discovered resources without a control plane: what it would send is given by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import json_format

from proxy.admin.server_stats import ClusterManagerStats, ListenerManagerStats
from proxy.app.name_resolution import NameResolution
from proxy.base.stats import StatRegistry
from proxy.config.context import CompileContext
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.gathered import CONSUMERS
from proxy.discovery.listeners import ListenerRecord, ListenerTable
from proxy.discovery.named_consumer import NamedConsumer
from proxy.discovery.places import Places
from proxy.discovery.wanted import WantedResources
from xds_client.api import Rejection, Resource, SubscriptionCounters, Update
from xds_client.resource_types import ResourceType

ADS = {"ads": {}, "resource_api_version": "V3"}


class Asked:
    """A subscription that notes what is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.counters = SubscriptionCounters()

    def add(self, names: Iterable[str]) -> None:
        self.names |= set(names)

    def remove(self, names: Iterable[str]) -> None:
        self.names -= set(names)

    def refresh(self, names: Iterable[str]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.names.clear()


class Tables:
    """Everything, with the messages to workers in `sent`, started and stopped listeners by name."""

    def __init__(self, loop: asyncio.AbstractEventLoop, workers: int = 1, places: int = 100) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.asked: dict[ResourceType, Asked] = {}
        self.consumers: dict[ResourceType, NamedConsumer] = {}
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.cluster_stats = ClusterManagerStats("cluster_manager.")
        self.listener_stats = ListenerManagerStats("listener_manager.")
        clock = lambda: 1000.0  # noqa: E731
        self.wanted = WantedResources(self._subscribe, self.sent.append, self._context, clock)
        self.wanted.consumers = CONSUMERS
        names = NameResolution(loop, self._resolved, StatRegistry(), lambda: 1)
        self.names = names
        self.clusters = ClusterTable(
            Places(places), self.wanted, names, self.cluster_stats, self.sent.append, self._context, clock
        )
        self.listeners = ListenerTable(
            workers,
            Places(places),
            self.wanted,
            self.listener_stats,
            self._context,
            clock,
            self._start,
            self._stop,
            after_drain=loop.call_soon,
        )

    def _subscribe(self, kind: ResourceType, _source: Any, consumer: NamedConsumer) -> Asked:
        self.consumers[kind] = consumer
        asked = self.asked[kind] = Asked()
        return asked

    def _resolved(self, name: str, resolved: list[tuple[int, str]]) -> None:
        self.clusters.on_resolved(name, resolved)

    def _context(self) -> CompileContext:
        return CompileContext(known_clusters=self.clusters, eager=True, has_ads=True)

    def _start(self, record: ListenerRecord) -> None:
        self.started.append(record.plan.name)

    def _stop(self, records: list[ListenerRecord]) -> None:
        self.stopped += [record.plan.name for record in records]
        for record in records:
            record.active.close()

    async def bring(
        self, kind: ResourceType, *messages: Any, removed: Sequence[str] = (), version: str = "1"
    ) -> Sequence[Rejection]:
        """What the control plane sends; the loop turns once more, as it does between two responses."""
        target: Any = {ResourceType.CLUSTER: self.clusters, ResourceType.LISTENER: self.listeners}.get(
            kind, self.consumers.get(kind)
        )
        added = tuple(
            Resource(
                getattr(one, "cluster_name", "") or one.name, version, one.SerializeToString(), kind.type_url
            )
            for one in messages
        )
        rejections: Sequence[Rejection] = await target.apply(Update(kind, version, added, tuple(removed)))
        if rejections and kind in self.asked:
            self.asked[kind].counters.update_rejected += 1
        await asyncio.sleep(0)
        return rejections

    def of_kind(self, kind: str) -> list[Any]:
        """What was sent to workers under one name, and forget it."""
        found = [message[1:] for message in self.sent if message[0] == kind]
        self.sent[:] = [message for message in self.sent if message[0] != kind]
        return found

    def known_clusters(self) -> list[str]:
        """Names of clusters that were sent since the last look."""
        return [name for (group,) in self.of_kind("clusters") for name, _serialized, _place in group]


def cluster(name: str, **fields: Any) -> Any:
    return json_format.ParseDict({"name": name, "connect_timeout": "1s", **fields}, cluster_pb2.Cluster())


def eds_cluster(name: str, **fields: Any) -> Any:
    return cluster(name, type="EDS", eds_cluster_config={"eds_config": ADS}, **fields)


def endpoints(name: str, *ports: int) -> Any:
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    tree = {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}
    return json_format.ParseDict(tree, endpoint_pb2.ClusterLoadAssignment())


def routes(name: str, cluster_name: str = "c", domain: str = "*") -> Any:
    virtual_host = {
        "name": "v",
        "domains": [domain],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster_name}}],
    }
    return json_format.ParseDict(
        {"name": name, "virtual_hosts": [virtual_host]}, route_pb2.RouteConfiguration()
    )


def listener(name: str, route_name: str, port: int = 0, **fields: Any) -> Any:
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="h")
    json_format.ParseDict({"route_config_name": route_name, "config_source": ADS}, manager.rds)
    manager.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    tree = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        **fields,
    }
    message = json_format.ParseDict(tree, listener_pb2.Listener())
    message.filter_chains.add().filters.add(name="hcm").typed_config.Pack(manager)
    return message


def run(test: Any, **options: Any) -> None:
    """Run a coroutine function with fresh tables."""

    async def inner() -> None:
        tables = Tables(asyncio.get_running_loop(), **options)
        try:
            await test(tables)
        finally:
            tables.listeners.close()
            await tables.names.close()

    asyncio.run(inner())
