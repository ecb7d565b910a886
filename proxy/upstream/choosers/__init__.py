"""Choice of a host by the connection or request itself, for clusters that list no hosts of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.base.services import ClusterLookup, WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.upstream.cluster_config import AggregateConfig, OriginalDstConfig
from proxy.upstream.host import Host

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster

ChooseByStream = Callable[[StreamInfo, int | None], Host | None]


def make_chooser(
    cluster: Cluster, clusters: ClusterLookup, services: WorkerServices | None
) -> ChooseByStream | None:
    """What `Cluster.choose_by_stream` is to be; None for a cluster with hosts of its own."""
    kind = cluster.config.kind
    if kind is None or services is None:
        return None
    if isinstance(kind, OriginalDstConfig):
        from proxy.upstream.choosers.original_dst import OriginalDst

        return OriginalDst(cluster, kind, services).choose
    if isinstance(kind, AggregateConfig):
        from proxy.upstream.choosers.aggregate import Aggregate

        return Aggregate(cluster, kind.clusters, clusters).choose
    from proxy.upstream.choosers.dynamic_forward_proxy import DynamicForwardProxy
    from proxy.upstream.dns_cache.config import DynamicForwardProxyConfig

    if isinstance(kind, DynamicForwardProxyConfig):
        return DynamicForwardProxy(cluster, kind, services).choose
    raise TypeError(kind)
