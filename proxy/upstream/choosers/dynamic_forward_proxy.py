"""`envoy.clusters.dynamic_forward_proxy`: the host is the one that the client names, as the DNS cache knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from proxy.base.services import WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.upstream.dns_cache.config import DynamicForwardProxyConfig
from proxy.upstream.dns_cache.names import HostName, host_name
from proxy.upstream.dns_cache.view import KnownHost, view_of
from proxy.upstream.host import Host

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster

#: In the filter state: a name (a str) and a port (an int) that come before those that the client says.
HOST_KEY: Final = "envoy.upstream.dynamic_host"
PORT_KEY: Final = "envoy.upstream.dynamic_port"

#: New hosts join the cluster's list together, so many seconds after the first: the list is made anew each time.
_GATHERING: Final = 0.05


def default_port(cluster: Cluster) -> int:
    """The port of a host that is named without one."""
    return 80 if cluster.config.transport_of(None) is None else 443


def state_of(info: StreamInfo, key: str) -> Any:
    """An object of the filter state of a stream or its connection, None if there is none."""
    own: Mapping[str, Any] | None = info.filter_state
    if own is not None and key in own:
        return own[key]
    return info.connection.filter_state.get(key)


def chosen_port(info: StreamInfo, default: int) -> int:
    """The port of the filter state, if it has a usable one."""
    port = state_of(info, PORT_KEY)
    return port if isinstance(port, int) and 0 < port < 65536 else default


class DynamicForwardProxy:
    """The hosts of one cluster: all that the cache has an address for."""

    def __init__(self, cluster: Cluster, config: DynamicForwardProxyConfig, services: WorkerServices) -> None:
        self._cluster = cluster
        self._services = services
        self._port = default_port(cluster)
        self._hosts: dict[str, Host] = {}
        self._view = view_of(config.cache, services)
        self._view.listeners[self] = None
        for known in self._view.known.values():
            if known.address is not None:
                self._put(known)
        if self._hosts:
            cluster.replace_hosts(list(self._hosts.values()))
        self._install_at = 0.0

    def choose(self, info: StreamInfo, request_hash: int | None) -> Host | None:
        """The host for a stream or connection, None if it names none or none that the cache knows by now."""
        del request_hash
        wanted = self._wanted(info)
        host = None if wanted is None else self._hosts.get(wanted.key)
        if host is None:
            self._cluster.stats.upstream_cx_none_healthy += 1
            if wanted is not None:
                self._view.prepare(wanted)
            return None
        known = self._view.known.get(host.hostname)
        if known is not None:
            self._view.touch(known)
        return host

    def on_dns_host(self, known: KnownHost) -> None:
        """See `HostListener`. What is connected stays connected, new connections go to the new address."""
        if self._cluster.removed:
            self._view.listeners.pop(self, None)
            return
        assert known.address is not None
        host = self._hosts.get(known.host.key)
        if host is not None:
            host.address = known.address
        else:
            self._put(known)
            self._changed()

    def on_dns_forgotten(self, key: str) -> None:
        """See `HostListener`."""
        if self._cluster.removed:
            self._view.listeners.pop(self, None)
        elif self._hosts.pop(key, None) is not None:
            self._changed()

    def on_wake(self, now: float) -> None:
        """See `Timers`: show who has come and gone."""
        if self._cluster.removed or now < self._install_at:
            return
        self._install_at = 0.0
        self._cluster.replace_hosts(list(self._hosts.values()))

    def _wanted(self, info: StreamInfo) -> HostName | None:
        name = state_of(info, HOST_KEY)
        if name is None:
            head = info.upstream_request_head or info.request
            name = info.connection.requested_server_name if head is None else head.authority
        return host_name(name, chosen_port(info, self._port)) if name else None

    def _put(self, known: KnownHost) -> None:
        assert known.address is not None
        key = known.host.key
        host = self._hosts[key] = Host(known.address, key)
        host.cluster = self._cluster

    def _changed(self) -> None:
        if not self._install_at:
            self._install_at = self._services.loop.time() + _GATHERING
            self._services.timers.wake(self._install_at, self)
