from __future__ import annotations

import asyncio

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.app.name_resolution import NameResolution
from proxy.base.stats import StatRegistry


def clusters(*addresses: str) -> list[tuple[str, bytes]]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": 80}}}}
        for address in addresses
    ]
    message = json_format.ParseDict(
        {
            "name": "dns",
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "dns", "endpoints": [{"lb_endpoints": endpoints}]},
        },
        cluster_pb2.Cluster(),
    )
    return [("dns", message.SerializeToString())]


def test_every_dns_cluster_has_been_tried_when_start_returns() -> None:
    async def run() -> None:
        told: list[tuple[str, list[tuple[int, str]]]] = []
        names = NameResolution(
            asyncio.get_running_loop(),
            lambda name, hosts: told.append((name, hosts)),
            StatRegistry(),
            lambda: 1,
        )
        await names.start(clusters("127.0.0.1", "127.0.0.2"))
        await asyncio.sleep(0)
        expected = [(0, "127.0.0.1"), (1, "127.0.0.2")]
        assert told[-1] == ("dns", expected)
        assert list(names.known()) == [("dns", expected)]
        assert names.addresses("dns") == expected
        assert names.addresses("other") == []
        await names.close()

    asyncio.run(run())


def test_without_dns_clusters_nothing_is_started() -> None:
    async def run() -> None:
        names = NameResolution(
            asyncio.get_running_loop(),
            lambda _name, _hosts: None,
            StatRegistry(),
            lambda: 1,
        )
        await names.start([])
        assert list(names.known()) == []
        assert names.addresses("dns") == []
        await names.close()

    asyncio.run(run())
