"""`envoy.filters.network.sni_dynamic_forward_proxy`: a connection waits until its server name is resolved.

Source: envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3. The dynamic_forward_proxy cluster behind
`tcp_proxy` then finds the host under the same name and port. A connection without a name goes on at once.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts, NetworkFilterFactory, Pending, Undecided, WaitingGate
from proxy.upstream.choosers.dynamic_forward_proxy import HOST_KEY, PORT_KEY
from proxy.upstream.dns_cache.config import DnsCacheConfig, compile_dns_cache
from proxy.upstream.dns_cache.hosts import Load
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.view import DnsCacheView, KnownHost, view_of

_MAX_PORT: Final = 65535


class SniDynamicForwardProxyConfig(Struct, frozen=True):
    """The cache, and the port of hosts for which the filter state has none."""

    cache: DnsCacheConfig
    port: int


class SniDynamicForwardProxyFilter(WaitingGate):
    """The gate; see `proxy.filters.api.WaitingGate`."""

    def __init__(self, port: int, view: DnsCacheView) -> None:
        self._port = port
        self._view = view

    def on_connection(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        """See `WaitingGate`."""
        state = connection.filter_state
        name = state.get(HOST_KEY) or connection.requested_server_name
        if not name:
            return True
        port = state.get(PORT_KEY)
        if not isinstance(port, int) or not 0 < port <= _MAX_PORT:
            port = self._port
            connection.filter_state = {**state, PORT_KEY: port}
        host = host_name(name, port)
        wait = _Wait(self._view, host.key, waiting)
        load, _ = self._view.load(host, wait)
        if load is Load.LOADING:
            return wait
        # A host without an address passes: the cluster will not find it.
        return load is Load.IN_CACHE


class _Wait:
    """One connection's wait for its host."""

    __slots__ = ("_key", "_view", "_waiting")

    def __init__(self, view: DnsCacheView, key: str, waiting: Undecided) -> None:
        self._view = view
        self._key = key
        self._waiting = waiting

    def on_dns_loaded(self, known: KnownHost | None) -> None:
        """See `Waiter`."""
        self._waiting.on_decided(known is not None)

    def cancel(self) -> None:
        """See `Pending`."""
        self._view.leave(self._key, self)


def _compile(message: Any, path: str, ctx: CompileContext) -> SniDynamicForwardProxyConfig:
    port = message.port_value if message.HasField("port_value") else 443
    if not message.HasField("dns_cache_config"):
        ctx.problem(f"{path}.dns_cache_config", "value is required")
    cache = compile_dns_cache(message.dns_cache_config, f"{path}.dns_cache_config", ctx)
    return SniDynamicForwardProxyConfig(cache, port)


def _create(
    config: SniDynamicForwardProxyConfig, services: WorkerServices, listener: ListenerFacts
) -> SniDynamicForwardProxyFilter:
    del listener
    return SniDynamicForwardProxyFilter(config.port, view_of(config.cache, services))


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.sni_dynamic_forward_proxy",
    type_name="envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
    terminal=False,
    compile=_compile,
    create=_create,
    waits=True,
)
