"""`envoy.filters.network.sni_cluster`: the server name of the ClientHello names the cluster of `tcp_proxy`."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts, NetworkFilterFactory

#: Where `tcp_proxy` looks for the cluster of one connection.
CLUSTER_KEY: Final = "envoy.tcp_proxy.cluster"


class SniClusterFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`. A connection without a server name keeps its cluster."""

    reject_delay = 0.0

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Note the server name."""
        name = connection.requested_server_name
        if name:
            connection.filter_state = {**connection.filter_state, CLUSTER_KEY: name}
        return True


def _compile(message: Any, path: str, ctx: CompileContext) -> None:
    del message, path, ctx  # the message has no field


def _create(config: None, services: WorkerServices, listener: ListenerFacts) -> SniClusterFilter:
    del config, services, listener
    return SniClusterFilter()


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.sni_cluster",
    type_name="envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
    terminal=False,
    compile=_compile,
    create=_create,
)
