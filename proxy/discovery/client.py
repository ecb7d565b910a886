"""The xDS client as the bootstrap asks for it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from proxy.config.loader import LoadOptions, load_resource
from proxy.connection.tls_secrets import SecretStore
from proxy.discovery.server_tls import server_tls
from xds_client.api import Client, Surroundings
from xds_client.client import XdsClient


def make_client(
    loop: asyncio.AbstractEventLoop,
    bootstrap: Any,
    clusters: Mapping[str, bytes],
    secrets: Callable[[], Mapping[str, bytes]],
) -> Client:
    """A client with the node of the bootstrap."""
    return XdsClient(loop, surroundings(bootstrap, clusters, secrets))


def surroundings(
    bootstrap: Any, clusters: Mapping[str, bytes], secrets: Callable[[], Mapping[str, bytes]]
) -> Surroundings:
    """The node of the bootstrap, and servers among its static `clusters`.

    `secrets` gives what `SecretWatch.values` does, whenever a connection begins.
    """
    dynamic = bootstrap.dynamic_resources

    def cluster(name: str) -> Any:
        serialized = clusters.get(name)
        return None if serialized is None else cluster_pb2.Cluster.FromString(serialized)

    return Surroundings(
        node=bootstrap.node,
        ads_config=dynamic.ads_config if dynamic.HasField("ads_config") else None,
        cluster=cluster,
        read_response=read_response,
        draw=random.random,
        clock=time.time,
        tls=lambda cluster: server_tls(cluster, bootstrap.node, SecretStore(secrets())),
    )


def read_response(content: bytes, path: str) -> bytes:
    """A file's `DiscoveryResponse`; its resources are checked one by one when they are applied."""
    options = LoadOptions(allow_unknown_fields=True, check=False)
    loaded = load_resource(content, path, discovery_pb2.DiscoveryResponse, options=options)
    serialized: bytes = loaded.message.SerializeToString()
    return serialized
