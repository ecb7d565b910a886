"""`envoy.filters.http.dynamic_forward_proxy`: a request waits until the host that it names is resolved.

Source: envoy.extensions.filters.http.dynamic_forward_proxy.v3. Only requests to a dynamic_forward_proxy cluster
wait; that cluster chooses the host by the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.upstream.choosers.dynamic_forward_proxy import HOST_KEY, chosen_port, default_port, state_of
from proxy.upstream.dns_cache.config import DnsCacheConfig, DynamicForwardProxyConfig, compile_dns_cache
from proxy.upstream.dns_cache.hosts import Load
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.view import DnsCacheView, KnownHost, view_of

#: Where `save_upstream_address` puts the address of the host.
ADDRESS_KEY: Final = "envoy.stream.upstream_address"


class FilterConfig(Struct, frozen=True):
    """The `FilterConfig` of the proto."""

    cache: DnsCacheConfig
    save_address: bool = False
    host_from_state: bool = False


class RouteConfig(Struct, frozen=True):
    """The `PerRouteConfig`: an authority, or the lower-case name of the field that has it."""

    literal: str = ""
    header: str = ""


def _compile(message: Any, path: str, context: CompileContext) -> FilterConfig:
    if not message.HasField("dns_cache_config"):
        context.problem(f"{path}.dns_cache_config", "the filter needs a DNS cache")
    return FilterConfig(
        compile_dns_cache(message.dns_cache_config, f"{path}.dns_cache_config", context),
        message.save_upstream_address,
        message.allow_dynamic_host_from_filter_state,
    )


def _compile_route(message: Any, path: str, context: CompileContext) -> RouteConfig:
    del path, context
    return RouteConfig(message.host_rewrite_literal, message.host_rewrite_header.lower())


class DynamicForwardProxyFilter(HttpFilter):
    """Stops a request at its head while its host is resolved for the first time."""

    def __init__(self, callbacks: StreamCallbacks, config: FilterConfig, view: DnsCacheView) -> None:
        super().__init__(callbacks)
        self._config = config
        self._view = view
        self._waits_for = ""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        del end_stream
        cluster = self.callbacks.route_cluster()
        kind = None if cluster is None else cluster.config.kind
        if not isinstance(kind, DynamicForwardProxyConfig) or not kind.named:
            return FilterStatus.CONTINUE
        self._rewrite(head)
        authority, port = head.authority, default_port(cluster)
        if self._config.host_from_state:
            info = self.callbacks.info
            named = state_of(info, HOST_KEY)
            if named:
                authority = named
            port = chosen_port(info, port)
        if not authority and self._view.pending < self._view.limit:
            self.callbacks.local_reply(400, "Empty host header", "empty_host_header")
            return FilterStatus.STOP
        host = host_name(authority, port)
        load, known = self._view.load(host, self)
        match load:
            case Load.IN_CACHE:
                return FilterStatus.CONTINUE if self._take(known) else FilterStatus.STOP
            case Load.LOADING:
                self._waits_for = host.key
                return FilterStatus.STOP_ALL_AND_WATERMARK
            case Load.OVERFLOW:
                self._refuse()
            case Load.PENDING_OVERFLOW:
                self.callbacks.local_reply(
                    503,
                    "Dynamic forward proxy pending request overflow",
                    "dynamic_forward_proxy_pending_request_overflow",
                )
        return FilterStatus.STOP

    def on_dns_loaded(self, known: KnownHost | None) -> None:
        """See `Waiter`."""
        if not self._waits_for:
            return
        self._waits_for = ""
        if known is None:
            self._refuse()
        elif self._take(known):
            self.continue_decoding()

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        if self._waits_for:
            self._view.leave(self._waits_for, self)
            self._waits_for = ""

    def _rewrite(self, head: RequestHead) -> None:
        rules: RouteConfig | None = self.callbacks.route_config(self.name)
        if rules is None:
            return
        if rules.literal:
            head.authority = rules.literal
        elif rules.header:
            lines = None if head.headers.repeated is None else head.headers.repeated.get(rules.header)
            value = head.headers.get(rules.header) if lines is None else lines[0]
            if value is not None:
                head.authority = value

    def _take(self, known: KnownHost | None) -> bool:
        """Note the address of the host; without one the request is answered, which gives False."""
        address = None if known is None else known.address
        info = self.callbacks.info
        if address is None:
            reason = "" if known is None else "_".join(known.reason.split())
            self.callbacks.local_reply(
                503,
                "DNS resolution failure",
                f"dns_resolution_failure{{{reason}}}",
                ResponseFlag.DNS_RESOLUTION_FAILED,
            )
            return False
        if self._config.save_address:
            if info.filter_state is None:
                info.filter_state = {}
            info.filter_state[ADDRESS_KEY] = address
        return True

    def _refuse(self) -> None:
        self.callbacks.local_reply(503, "DNS cache overflow", "dns_cache_overflow")


def _create(
    config: FilterConfig,
    services: WorkerServices,
    stat_prefix: str,
) -> Callable[[StreamCallbacks], HttpFilter]:
    del stat_prefix
    view = view_of(config.cache, services)
    return lambda callbacks: DynamicForwardProxyFilter(callbacks, config, view)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.dynamic_forward_proxy",
    type_name="envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
