"""Finds the filters by the types of their configs. A filter is imported when the first config names it.

Importing them all would cost every proxy the memory of those that few configs name. A module has a `FACTORY`, or
several `FACTORIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from proxy.filters.api import HttpFilterFactory, NetworkFilterFactory
    from proxy.filters.listener.api import ListenerFilterFactory

_LISTENER: Final[Mapping[str, str]] = {
    f"envoy.extensions.filters.listener.{name}": f"proxy.filters.listener.{module}"
    for name, module in (
        ("http_inspector.v3.HttpInspector", "http_inspector"),
        ("local_ratelimit.v3.LocalRateLimit", "local_ratelimit"),
        ("original_dst.v3.OriginalDst", "original_dst"),
        ("original_src.v3.OriginalSrc", "original_src"),
        ("proxy_protocol.v3.ProxyProtocol", "proxy_protocol"),
        ("tls_inspector.v3.TlsInspector", "tls_inspector"),
    )
}
_NETWORK: Final[Mapping[str, str]] = {
    **{
        f"envoy.extensions.filters.network.{name}": module
        for name, module in (
            ("connection_limit.v3.ConnectionLimit", "proxy.filters.network.connection_limit"),
            ("direct_response.v3.Config", "proxy.filters.network.direct_response"),
            ("echo.v3.Echo", "proxy.filters.network.echo"),
            ("ext_authz.v3.ExtAuthz", "proxy.filters.network.ext_authz"),
            ("http_connection_manager.v3.HttpConnectionManager", "proxy.hcm.connection_manager"),
            ("local_ratelimit.v3.LocalRateLimit", "proxy.filters.network.local_ratelimit"),
            ("rbac.v3.RBAC", "proxy.filters.network.rbac"),
            ("set_filter_state.v3.Config", "proxy.filters.network.set_filter_state"),
            ("sni_cluster.v3.SniCluster", "proxy.filters.network.sni_cluster"),
            (
                "sni_dynamic_forward_proxy.v3.FilterConfig",
                "proxy.filters.network.sni_dynamic_forward_proxy",
            ),
            ("tcp_proxy.v3.TcpProxy", "proxy.tcp_proxy.filter"),
            ("wasm.v3.Wasm", "proxy.filters.network.istio"),
        )
    },
    "envoy.tcp.metadataexchange.config.MetadataExchange": "proxy.filters.network.istio",
    "io.istio.network.authn.Config": "proxy.filters.network.istio",
    "istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1.TcpClusterRewrite": (
        "proxy.filters.network.tcp_cluster_rewrite"
    ),
    "stats.PluginConfig": "proxy.filters.network.istio",
}
_HTTP: Final[Mapping[str, str]] = {
    **{
        f"envoy.extensions.filters.http.{name}": f"proxy.filters.http.{module}"
        for name, module in (
            ("api_key_auth.v3.ApiKeyAuth", "api_key_auth"),
            ("basic_auth.v3.BasicAuth", "basic_auth"),
            ("buffer.v3.Buffer", "buffer"),
            ("stateful_session.v3.StatefulSession", "stateful_session"),
            ("compressor.v3.Compressor", "compressor"),
            ("cors.v3.Cors", "cors"),
            ("csrf.v3.CsrfPolicy", "csrf"),
            ("decompressor.v3.Decompressor", "decompressor"),
            ("dynamic_forward_proxy.v3.FilterConfig", "dynamic_forward_proxy"),
            ("ext_authz.v3.ExtAuthz", "ext_authz"),
            ("fault.v3.HTTPFault", "fault"),
            ("grpc_http1_bridge.v3.Config", "grpc_http1_bridge"),
            ("grpc_http1_reverse_bridge.v3.FilterConfig", "grpc_http1_reverse_bridge"),
            ("grpc_json_transcoder.v3.GrpcJsonTranscoder", "grpc_json_transcoder"),
            ("grpc_stats.v3.FilterConfig", "grpc_stats"),
            ("grpc_web.v3.GrpcWeb", "grpc_web"),
            ("header_mutation.v3.HeaderMutation", "header_mutation"),
            ("health_check.v3.HealthCheck", "health_check"),
            ("local_ratelimit.v3.LocalRateLimit", "local_ratelimit"),
            ("on_demand.v3.OnDemand", "on_demand"),
            ("rbac.v3.RBAC", "rbac"),
            ("router.v3.Router", "router"),
            ("wasm.v3.Wasm", "istio"),
        )
    },
    "io.istio.http.connect_authority.Config": "proxy.filters.http.istio",
    "io.istio.http.connect_baggage.Config": "proxy.filters.http.istio",
    "io.istio.http.peer_metadata.Config": "proxy.filters.http.istio",
    "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig": "proxy.filters.http.istio",
    "stats.PluginConfig": "proxy.filters.http.istio",
}
#: The types of configs of a route, each with the type of its filter's own config.
_HTTP_OF_ROUTE: Final[Mapping[str, str]] = {
    f"envoy.extensions.filters.http.{name}": f"envoy.extensions.filters.http.{of}"
    for name, of in (
        ("api_key_auth.v3.ApiKeyAuthPerRoute", "api_key_auth.v3.ApiKeyAuth"),
        ("basic_auth.v3.BasicAuthPerRoute", "basic_auth.v3.BasicAuth"),
        ("buffer.v3.BufferPerRoute", "buffer.v3.Buffer"),
        ("compressor.v3.CompressorPerRoute", "compressor.v3.Compressor"),
        ("cors.v3.CorsPolicy", "cors.v3.Cors"),
        ("csrf.v3.CsrfPolicy", "csrf.v3.CsrfPolicy"),
        ("dynamic_forward_proxy.v3.PerRouteConfig", "dynamic_forward_proxy.v3.FilterConfig"),
        ("ext_authz.v3.ExtAuthzPerRoute", "ext_authz.v3.ExtAuthz"),
        ("fault.v3.HTTPFault", "fault.v3.HTTPFault"),
        ("grpc_http1_reverse_bridge.v3.FilterConfigPerRoute", "grpc_http1_reverse_bridge.v3.FilterConfig"),
        ("grpc_json_transcoder.v3.GrpcJsonTranscoder", "grpc_json_transcoder.v3.GrpcJsonTranscoder"),
        ("header_mutation.v3.HeaderMutationPerRoute", "header_mutation.v3.HeaderMutation"),
        ("local_ratelimit.v3.LocalRateLimit", "local_ratelimit.v3.LocalRateLimit"),
        ("on_demand.v3.PerRouteConfig", "on_demand.v3.OnDemand"),
        ("rbac.v3.RBACPerRoute", "rbac.v3.RBAC"),
        ("stateful_session.v3.StatefulSessionPerRoute", "stateful_session.v3.StatefulSession"),
    )
}


def listener_filter(type_name: str) -> ListenerFilterFactory | None:
    """The factory for a config message such as `envoy.extensions.filters.listener.original_dst.v3.OriginalDst`."""
    factory: ListenerFilterFactory | None = _found(_LISTENER, type_name)
    return factory


def network_filter(type_name: str) -> NetworkFilterFactory | None:
    """The factory for a config message such as `envoy.extensions.filters.network.echo.v3.Echo`."""
    factory: NetworkFilterFactory | None = _found(_NETWORK, type_name)
    return factory


def http_filter(type_name: str) -> HttpFilterFactory | None:
    """The factory for a config message such as `envoy.extensions.filters.http.router.v3.Router`."""
    factory: HttpFilterFactory | None = _found(_HTTP, type_name)
    return factory


def http_filter_of_route_type(type_name: str) -> HttpFilterFactory | None:
    """The factory whose per-route config is that message."""
    factory: HttpFilterFactory | None = _found(_HTTP, _HTTP_OF_ROUTE.get(type_name, ""))
    return factory


def _found(modules: Mapping[str, str], type_name: str) -> Any:
    name = modules.get(type_name)
    if name is None:
        return None
    module = import_module(name)
    factories = getattr(module, "FACTORIES", None) or (module.FACTORY,)
    return next(one for one in factories if one.type_name == type_name)
