"""The filters of Istio's listeners, its own among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.configs import typed
from tests.support.istio.messages import typed_struct

TRACING = {
    "client_sampling": {"value": 100},
    "random_sampling": {"value": 1},
    "overall_sampling": {"value": 100},
    "custom_tags": [{"tag": "istio.mesh_id", "literal": {"value": "cluster.local"}}],
}
REQUEST_ID = {
    "typed_config": typed(
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", use_request_id_for_trace_sampling=True
    )
}


def router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
    }


def manager(
    prefix: str, routes: Sequence[dict[str, Any]], filters: Sequence[dict[str, Any]], **fields: Any
) -> dict[str, Any]:
    if routes:
        host = {"name": "all", "domains": ["*"], "routes": list(routes)}
        fields["route_config"] = {"name": prefix, "virtual_hosts": [host], "validate_clusters": False}
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=prefix,
            http_filters=list(filters),
            **fields,
        ),
    }


def http_filters(outbound: bool) -> list[dict[str, Any]]:
    method: list[dict[str, Any]] = [{"istio_headers": {}}, {"workload_discovery": {}}]
    side = "upstream" if outbound else "downstream"
    peer = {f"{side}_discovery": method, f"{side}_propagation": [{"istio_headers": {}}]}
    alpn = [
        {"upstream_protocol": protocol, "alpn_override": [own, "istio", plain]}
        for protocol, own, plain in (
            ("HTTP10", "istio-http/1.0", "http/1.0"),
            ("HTTP11", "istio-http/1.1", "http/1.1"),
            ("HTTP2", "istio-h2", "h2"),
        )
    ]
    null_vm = {
        "root_id": "stats",
        "vm_config": {
            "runtime": "envoy.wasm.runtime.null",
            "code": {"local": {"inline_string": "envoy.wasm.stats"}},
        },
    }
    filters = [
        {
            "name": "istio.metadata_exchange",
            "typed_config": typed_struct("io.istio.http.peer_metadata.Config", **peer),
        },
        {
            "name": "envoy.filters.http.grpc_stats",
            "typed_config": typed(
                "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
                emit_filter_state=True,
                stats_for_all_methods=False,
            ),
        },
        {
            "name": "istio.alpn",
            "typed_config": typed(
                "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", alpn_override=alpn
            ),
        },
        {
            "name": "envoy.filters.http.fault",
            "typed_config": typed("envoy.extensions.filters.http.fault.v3.HTTPFault"),
        },
        {
            "name": "envoy.filters.http.cors",
            "typed_config": typed("envoy.extensions.filters.http.cors.v3.Cors"),
        },
        {
            "name": "istio.stats",
            "typed_config": typed("stats.PluginConfig", disable_host_header_fallback=True),
        },
        {
            "name": "envoy.filters.http.wasm",
            "typed_config": typed("envoy.extensions.filters.http.wasm.v3.Wasm", config=null_vm),
        },
        router(),
    ]
    return filters if outbound else [one for one in filters if one["name"] != "istio.alpn"]


def metadata_exchange() -> dict[str, Any]:
    return {
        "name": "istio.metadata_exchange",
        "typed_config": typed_struct(
            "envoy.tcp.metadataexchange.config.MetadataExchange",
            protocol="istio-peer-exchange",
            enable_discovery=True,
        ),
    }


def _network_stats() -> dict[str, Any]:
    return {"name": "istio.stats", "typed_config": typed("stats.PluginConfig")}


def tcp(cluster: str, prefix: str) -> list[dict[str, Any]]:
    proxy = typed(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=prefix,
        cluster=cluster,
        idle_timeout="3600s",
    )
    return [_network_stats(), {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]


def inspectors(*names: str) -> list[dict[str, Any]]:
    types = {
        "tls_inspector": "TlsInspector",
        "http_inspector": "HttpInspector",
        "original_dst": "OriginalDst",
    }
    return [
        {
            "name": f"envoy.filters.listener.{name}",
            "typed_config": typed(f"envoy.extensions.filters.listener.{name}.v3.{types[name]}"),
        }
        for name in names
    ]
