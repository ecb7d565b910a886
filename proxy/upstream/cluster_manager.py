"""Name → live cluster in a worker.

A cluster is kept as the bytes of its message until the first request wants it: ten thousand configured
clusters of which ten are called must cost what ten cost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from envoy.config.cluster.v3 import cluster_pb2

from proxy.base.runtime import Runtime
from proxy.base.services import WorkerServices
from proxy.base.stat_names import stat_name
from proxy.base.stats import Group, StatRegistry
from proxy.config.context import CompileContext
from proxy.upstream.choosers import make_chooser
from proxy.upstream.circuit_breaker import SharedSlots
from proxy.upstream.cluster import Cluster, Resolved, compile_cluster
from proxy.upstream.cluster_config import ClusterConfig
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.health_flags import HostKey
from proxy.upstream.host import Host, Locality
from proxy.upstream.lb.api import Draw
from proxy.upstream.renewal import keeps_connections

logger = logging.getLogger("outrider.upstream")


class ClusterManager:
    """All clusters that a worker knows.

    `on_host_removed` is called with each host that leaves its cluster, so that the pools in `host.pools`
    drain.
    """

    def __init__(
        self,
        runtime: Runtime,
        stats: StatRegistry,
        draw: Draw,
        slots: SharedSlots | None = None,
        worker_index: int = 0,
        context: Callable[[], CompileContext] = CompileContext,
        on_host_removed: Callable[[Host], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._stats = stats
        self._draw = draw
        self._slots = slots
        self._worker = worker_index
        self._context = context
        self.on_host_removed = on_host_removed
        #: The worker's; a cluster whose hosts depend on the stream needs them.
        self.services: WorkerServices | None = None
        #: The cluster whose hosts are proxies like this one, "" for none: zone-aware routing compares with it.
        self.local_cluster_name = ""
        #: Whether a control plane is told of the load.
        self.reports_load = False
        self._known: dict[str, tuple[bytes, int]] = {}
        self._live: dict[str, Cluster] = {}
        self._resolved: dict[str, Sequence[Resolved]] = {}
        self._host_flags: dict[str, dict[HostKey, int]] = {}

    def get(self, name: str) -> Cluster | None:
        """The live cluster of that name, built now if this is its first use; None if there is none."""
        cluster = self._live.get(name)
        if cluster is None and name in self._known:
            return self._build(name)
        return cluster

    def add(self, name: str, serialized: bytes, index: int) -> None:
        """Know a cluster, or replace the one of that name.

        `serialized` is a validated `config.cluster.v3.Cluster`; `index` is its place in the shared slots, the
        same in every worker.
        """
        known, self._known[name] = self._known.get(name), (serialized, index)
        live = self._live.get(name)
        if live is not None and known is not None:
            if known == (serialized, index):
                return
            if known[1] == index and keeps_connections(known[0], serialized):
                live.renew(self._compile(name)[0])
                return
            live.stats.rest()
            self._drop_live(name)
        if name == self.local_cluster_name and self._live:
            self.get(name)

    def remove(self, name: str) -> None:
        """Forget a cluster: new requests find none, those in flight finish, its pools drain."""
        self._known.pop(name, None)
        self._resolved.pop(name, None)
        self._drop_live(name)
        self._stats.remove(_stats_key(name))
        self._stats.remove(_tls_key(name))
        self._stats.remove(f"cluster.{name} lb_orca_oob")

    def update_hosts(self, name: str, resolved: Sequence[Resolved]) -> None:
        """Take the resolved addresses of a DNS cluster, as (endpoint index, IP address) pairs."""
        self._resolved[name] = resolved
        cluster = self._live.get(name)
        if cluster is not None:
            cluster.update_resolved(resolved)

    def update_flags(self, name: str, changes: Mapping[HostKey, int | None]) -> None:
        """Take the health flags of hosts, None where nothing is known any more; see `proxy.app.host_health`.

        Those of hosts or clusters that are not here yet wait for them.
        """
        flags = self._host_flags.setdefault(name, {})
        for key, value in changes.items():
            if value is None:
                flags.pop(key, None)
            else:
                flags[key] = value
        cluster = self._live.get(name)
        if cluster is not None:
            cluster.flags_changed(changes)
        if not flags and name not in self._known:
            del self._host_flags[name]

    def apply_runtime(self) -> None:
        """The runtime has changed: renew every limit that it may override."""
        for cluster in self._live.values():
            cluster.apply_runtime()

    def active(self) -> list[Cluster]:
        """The clusters in use."""
        return list(self._live.values())

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def _compile(self, name: str) -> tuple[ClusterConfig, CompileContext]:
        context = self._context()
        message = cluster_pb2.Cluster.FromString(self._known[name][0])
        return compile_cluster(message, f"cluster {name}", context), context

    def _build(self, name: str) -> Cluster | None:
        index = self._known[name][1]
        config, context = self._compile(name)
        if context.problems:
            # Accepted once and bad now: a file that it names has changed or gone.
            logger.error("cluster %s cannot be used: %s", name, "; ".join(map(str, context.problems)))
            return None
        local = None
        if self.local_cluster_name and name != self.local_cluster_name:
            local = self.get(self.local_cluster_name)
        where = None
        if context.node is not None and context.node.HasField("locality"):
            where = context.node.locality
        cluster = Cluster(
            config,
            self._runtime,
            self._draw,
            self._slots,
            index,
            self._worker,
            self._host_removed,
            own_locality=None if where is None else Locality(where.region, where.zone, where.sub_zone),
            local_cluster=local,
            host_flags=self._host_flags.setdefault(name, {}),
            reports_load=self.reports_load,
            stats=self._former(_stats_key(name), ClusterStats, f"cluster.{stat_name(config.stat_name)}."),
        )
        resolved = self._resolved.get(name)
        if resolved is not None:
            cluster.update_resolved(resolved)
        cluster.services = self.services
        if self.services is not None:
            for breaker in cluster.breakers:
                breaker.watch = self.services.breaker_watch
        cluster.start()
        chooser = make_chooser(cluster, self, self.services)
        if chooser is not None:
            cluster.choose_by_stream = chooser
        self._live[name] = cluster
        if name == self.local_cluster_name:
            cluster.watchers.append(self._local_cluster_changed)
            self._local_cluster_changed()
        self._stats.add(_stats_key(name), cluster.stats)
        if config.encrypts:
            self._add_tls_stats(cluster)
        else:
            self._stats.remove(_tls_key(name))
        if config.passes_metadata:
            from proxy.upstream.compile_internal import InternalUpstreamStats  # few clusters need it

            cluster.internal_stats = InternalUpstreamStats(f"cluster.{config.stat_name}.internal_upstream.")
            self._stats.add(f"cluster.{name} internal", cluster.internal_stats)
        return cluster

    def _local_cluster_changed(self) -> None:
        local = self._live[self.local_cluster_name]
        for cluster in self._live.values():
            if cluster is not local:
                cluster.local_cluster = local
                cluster.rebalance()

    def _add_tls_stats(self, cluster: Cluster) -> None:
        from proxy.connection.tls_stats import SecretStats, SslStats  # needs ssl, which plain text does not

        config = cluster.config
        prefix = f"cluster.{config.stat_name}.ssl."
        former = self._former(_tls_key(cluster.name), SslStats, prefix)
        cluster.ssl_stats = SslStats(prefix) if former is None else former
        secrets = SecretStats(f"cluster.{config.stat_name}.client_ssl_socket_factory.")
        if self._worker == 0:
            for transport in (config.transport, *(one.transport for one in config.transport_matches)):
                secrets.count(transport)
        self._stats.add(_tls_key(cluster.name), cluster.ssl_stats)
        self._stats.add(f"cluster.{cluster.name} secrets", secrets)

    def _drop_live(self, name: str) -> None:
        cluster = self._live.pop(name, None)
        if cluster is not None:
            cluster.close()
            if cluster.internal_stats is not None:
                self._stats.remove(f"cluster.{name} internal")
            if cluster.ssl_stats is not None:
                self._stats.remove(f"cluster.{name} secrets")

    def _former(self, key: str, kind: type[Group], prefix: str) -> Group | None:
        """The numbers of the last cluster of a name, where the next one counts under the same names."""
        group = self._stats.get(key)
        return group if isinstance(group, kind) and group.prefix == prefix else None

    def _host_removed(self, host: Host) -> None:
        if self.on_host_removed is not None:
            self.on_host_removed(host)


def _stats_key(name: str) -> str:
    return f"cluster.{name}"


def _tls_key(name: str) -> str:
    return f"cluster.{name} ssl"
