"""What the control plane of the mesh scenarios sends: as bytes, made before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.load.generator import HOST

_PREFIX: Final = "type.googleapis.com/"
CLUSTERS: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
_V3: Final = 2  # core.v3.ApiVersion


def entries(messages: Iterable[Any]) -> bytes:
    """Messages as the `resources` of a response."""
    response = discovery_pb2.DiscoveryResponse()
    for message in messages:
        response.resources.add().Pack(message)
    return bytes(response.SerializeToString())


def clusters(count: int, connect_timeout: int = 1) -> bytes:
    """`cluster0` and so on, each with endpoints from the same stream."""
    return entries(_cluster(f"cluster{number}", connect_timeout) for number in range(count))


def _cluster(name: str, connect_timeout: int) -> Any:
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    message.connect_timeout.seconds = connect_timeout
    _ads(message.eds_cluster_config.eds_config)
    return message


def endpoints(numbers: Iterable[int], count: int, port: int) -> bytes:
    """One endpoint for each of these of `count` clusters: the origin for the first and the last one.

    The others have addresses of their own, as in a mesh, and get no requests.
    """
    called = (0, count - 1)
    return entries(
        _endpoints(
            f"cluster{number}",
            "127.0.0.1"
            if number in called
            else f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
            port,
        )
        for number in numbers
    )


def _endpoints(name: str, ip: str, port: int) -> Any:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    group = message.endpoints.add()
    group.locality.region, group.locality.zone = "region", "zone"
    group.load_balancing_weight.value = 1
    address = group.lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = ip, port
    return message


def many_hosts(number: int, hosts: int, port: int, version: int) -> bytes:
    """The endpoints of one cluster in three zones, with weights; every version differs in each of them.

    Half of them have another address in every other version.
    """
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=f"cluster{number}")
    groups = [message.endpoints.add() for _ in range(3)]
    for zone, group in enumerate(groups):
        group.locality.region, group.locality.zone = "region", f"zone{zone}"
        group.load_balancing_weight.value = 1
    for host in range(hosts):
        endpoint = groups[host % 3].lb_endpoints.add()
        endpoint.load_balancing_weight.value = 1 + (host + version) % 5
        address = endpoint.endpoint.address.socket_address
        third = 1 + (host & 1) * (version & 1)
        address.address, address.port_value = f"127.{third}.{host >> 8}.{host & 255}", port
    return entries([message])


def routes(count: int, header: str = "0") -> bytes:
    """A table with a virtual host per cluster: the first is the one of the load generators.

    The last one adds a response header `x-table` with the value of `header`.
    """
    table = route_pb2.RouteConfiguration(name="mesh")
    for number in range(count):
        host = table.virtual_hosts.add(name=f"vh{number}")
        host.domains.extend([host_name(number), f"{host_name(number)}:80"])
        if not number:
            host.domains.append(HOST)
        route = host.routes.add()
        route.match.prefix = "/"
        route.route.cluster = f"cluster{number}"
        route.route.timeout.seconds = 5
    added = table.virtual_hosts[-1].response_headers_to_add.add()
    added.header.key, added.header.value = "x-table", header
    return entries([table])


def host_name(number: int) -> str:
    """What virtual host `number` is called."""
    return f"svc{number}.default.svc.cluster.local"


def listener(port: int) -> bytes:
    """One listener with the table."""
    manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="mesh")
    manager.rds.route_config_name = "mesh"
    _ads(manager.rds.config_source)
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    message = listener_pb2.Listener(name="mesh")
    address = message.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    chain = message.filter_chains.add()
    chain.filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(manager)
    return entries([message])


def _ads(source: Any) -> None:
    source.resource_api_version = _V3
    source.ads.SetInParent()
