"""A proxy that is configured by a scriptable control plane, and the resources that such tests push."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from proxy.config.loader import LoadOptions, load_resource
from tests.support.configs import address, connection_manager, http2_cluster
from tests.support.configs import listener as listener_tree
from tests.support.outrider import Outrider
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer

ADS = {"resource_api_version": "V3", "ads": {}}


def stream_of_its_own(*, delta: bool, cluster_name: str = "xds") -> dict[str, Any]:
    """A `core.v3.ConfigSource` that is not the aggregated stream."""
    api = {
        "api_type": "DELTA_GRPC" if delta else "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": cluster_name}}],
    }
    return {"resource_api_version": "V3", "api_config_source": api}


def mesh_bootstrap(xds_port: int, *, delta: bool = False, **fields: Any) -> dict[str, Any]:
    """A bootstrap that takes everything from an aggregated stream."""
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    api_type = "DELTA_GRPC" if delta else "GRPC"
    return {
        "node": {"id": "test-id", "cluster": "test-cluster"},
        "admin": {"address": address("{{admin_port}}")},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [service],
            },
            "cds_config": ADS,
            "lds_config": ADS,
        },
        "static_resources": {
            "clusters": [http2_cluster("xds", xds_port)],
        },
        **fields,
    }


@contextmanager
def mesh(
    kind: type[ProxyProcess] = Outrider, *, delta: bool = False, wait: bool = False, **options: Any
) -> Iterator[tuple[XdsServer, ProxyProcess]]:
    """A control plane and a proxy that it configures; the proxy need not be ready unless `wait`."""
    with (
        XdsServer() as server,
        kind(
            mesh_bootstrap(server.port, delta=delta), listeners=("first", "second"), wait=wait, **options
        ) as proxy,
    ):
        yield server, proxy


def parsed(message: Any, tree: Mapping[str, Any]) -> Any:
    """The message, whatever its Anys hold."""
    options = LoadOptions(check=False)
    return load_resource(json.dumps(tree), "test", type(message), options=options).message


def cluster(name: str, **fields: Any) -> Any:
    """An EDS cluster unless `fields` say otherwise."""
    eds = {"type": "EDS", "eds_cluster_config": {"eds_config": ADS}} if "type" not in fields else {}
    return parsed(cluster_pb2.Cluster(), {"name": name, "connect_timeout": "1s", **eds, **fields})


def endpoints(name: str, *ports: int) -> Any:
    hosts = [{"endpoint": {"address": address(port)}} for port in ports]
    tree = {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}
    return parsed(endpoint_pb2.ClusterLoadAssignment(), tree)


def route_config(name: str, clusters: Mapping[str, str] | str, domains: Sequence[str] = ("*",)) -> Any:
    """`clusters` is one, or prefix → cluster in order."""
    chosen = {"/": clusters} if isinstance(clusters, str) else clusters
    routes = [{"match": {"prefix": prefix}, "route": {"cluster": one}} for prefix, one in chosen.items()]
    host = {"name": "all", "domains": list(domains), "routes": routes}
    return parsed(route_pb2.RouteConfiguration(), {"name": name, "virtual_hosts": [host]})


def listener(name: str, port: int, routes: str, source: Mapping[str, Any] = ADS, **fields: Any) -> Any:
    """An HTTP listener with routes that `source` brings."""
    manager = connection_manager({}, **fields)
    config = manager["typed_config"]
    config.pop("route_config", None)
    config["rds"] = {"route_config_name": routes, "config_source": source}
    tree = {**listener_tree([manager], name), "address": address(port)}
    return parsed(listener_pb2.Listener(), tree)
