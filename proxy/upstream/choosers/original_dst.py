"""ORIGINAL_DST: the host is where the client wanted to go; it is made when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.base.address import Address, parse_ip_port
from proxy.base.services import WorkerServices
from proxy.base.stream_info import LOOP, StreamInfo
from proxy.upstream.cluster_config import OriginalDstConfig
from proxy.upstream.host import Host

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster

ADDRESS_KEY: Final = "envoy.network.transport_socket.original_dst_address"

#: New hosts join the cluster's list together, so many seconds after the first: the list is made anew each time.
_GATHERING: Final = 0.05


class OriginalDst:
    """The hosts of one cluster. A host goes when it was neither chosen for a cleanup interval nor is connected."""

    def __init__(self, cluster: Cluster, config: OriginalDstConfig, services: WorkerServices) -> None:
        self._cluster = cluster
        self._config = config
        self._services = services
        self._hosts: dict[Address, Host] = {}
        self._used: set[Address] = set()
        self._install_at = 0.0
        self._clean_at = 0.0

    def choose(self, info: StreamInfo, request_hash: int | None) -> Host | None:
        """The host for a stream or connection, None if nobody knows where it was to go."""
        del request_hash
        address = self._destination(info)
        if address is None or address.path:
            self._cluster.stats.upstream_cx_none_healthy += 1
            return None
        if self._config.port is not None:
            address = Address(address.ip, self._config.port)
        self._used.add(address)
        return self._hosts.get(address) or self._add(address)

    def _destination(self, info: StreamInfo) -> Address | None:
        connection = info.connection
        state = info.filter_state
        found = state.get(ADDRESS_KEY) if state is not None else None
        if found is None:
            found = connection.filter_state.get(ADDRESS_KEY)
        if isinstance(found, Address):
            return found
        if self._config.metadata:
            found = self._parsed(self._in_metadata(info))
        if found is None and self._config.header:
            found = self._parsed(_field(info, self._config.header))
        if found is None and connection.local_address_restored:
            if connection.destination_is_proxy and self._config.port is None:
                # The redirect sends the new connection here again, and so on without end.
                connection.termination_details = LOOP
                return None
            found = connection.local_address
        return found

    def _in_metadata(self, info: StreamInfo) -> str | None:
        for metadata in (info.dynamic_metadata, info.connection.dynamic_metadata):
            value: Any = metadata
            for key in self._config.metadata:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, str):
                return value
        return None

    def _parsed(self, text: str | None) -> Address | None:
        if text is None:
            return None
        address = parse_ip_port(text)
        if address is None:
            self._cluster.stats.original_dst_host_invalid += 1
        return address

    def _add(self, address: Address) -> Host:
        cluster = self._cluster
        host = self._hosts[address] = Host(address, cluster.name + address.text)
        host.cluster = cluster
        now = self._services.loop.time()
        if not self._clean_at:
            self._clean_at = now + self._config.cleanup_interval
            self._services.timers.wake(self._clean_at, self)
        if not self._install_at:
            self._install_at = now + _GATHERING
            self._services.timers.wake(self._install_at, self)
        return host

    def on_wake(self, now: float) -> None:
        """See `Timers`: show new hosts, forget old ones."""
        if self._cluster.removed:
            return
        changed = False
        if self._install_at and now >= self._install_at:
            self._install_at = 0.0
            changed = True
        if self._clean_at and now >= self._clean_at:
            changed = self._clean() or changed
            self._clean_at = 0.0
            if self._hosts:
                self._clean_at = now + self._config.cleanup_interval
                self._services.timers.wake(self._clean_at, self)
        if changed:
            self._cluster.replace_hosts(list(self._hosts.values()))

    def _clean(self) -> bool:
        used, self._used = self._used, set()
        stale = [
            address
            for address, host in self._hosts.items()
            if address not in used and not any(pool.in_use for pool in host.pools.values())
        ]
        for address in stale:
            del self._hosts[address]
        return bool(stale)


def _field(info: StreamInfo, name: str) -> str | None:
    """The first line of a field of the request."""
    head = info.upstream_request_head or info.request
    if head is None:
        return None
    lines = None if head.headers.repeated is None else head.headers.repeated.get(name)
    return head.headers.get(name) if lines is None else lines[0]
