"""What Istio sends to its sidecars, in the shape that istiod gives it: bootstrap, listeners, clusters, routes.

Only what the machine cannot have is different: listeners bind to ports (as with interception mode NONE), and those
are free ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ADS: dict[str, Any] = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
PREFIX = "type.googleapis.com/"
H2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP_ALPN = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]
UNLIMITED = 4294967295

FLAGS = (
    *("--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4"),
    *("--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields"),
    *("-l", "warning", "--component-log-level", "misc:error", "--skip-deprecated-logs"),
    *("--concurrency", "2"),
)
"""How pilot-agent starts its proxy, after `-c FILE`."""


def typed(type_name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": PREFIX + type_name, **fields}


def typed_struct(type_name: str, **value: Any) -> dict[str, Any]:
    return typed("udpa.type.v1.TypedStruct", type_url=PREFIX + type_name, value=value)


def socket_address(address: str, port: int | str) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _static(name: str, address: dict[str, Any], http2: bool = False) -> dict[str, Any]:
    cluster = {
        "name": name,
        "alt_stat_name": f"{name};",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            H2: typed(H2, explicit_http_config={"http2_protocol_options": {}})
        }
    return cluster


def bootstrap(xds: str, sds: str, status_port: int | str, agent_port: int) -> dict[str, Any]:
    """That of pilot-agent, with a collector of traces. `xds` and `sds` are unix sockets."""
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    agent = _manager(
        "agent",
        [{"match": {"prefix": "/healthz/ready"}, "route": {"cluster": "agent"}}],
        [_router()],
    )
    return {
        "application_log_config": {
            "log_format": {"text_format": "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n\t%v\tthread=%t"}
        },
        "node": {
            "id": "sidecar~10.0.0.1~app-1.default~default.svc.cluster.local",
            "cluster": "app.default",
            "locality": {"region": "r", "zone": "z"},
            "metadata": {"ISTIO_VERSION": "1.27.0", "INTERCEPTION_MODE": "REDIRECT", "NAMESPACE": "default"},
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "global config",
                    "static_layer": {
                        "envoy.reloadable_features.http_reject_path_with_fragment": False,
                        "re2.max_program_size.error_level": "32768",
                    },
                },
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "bootstrap_extensions": [
            {
                "name": "metadata_discovery",
                "typed_config": typed_struct("istio.workload.BootstrapExtension", config_source={"ads": {}}),
            },
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": typed_struct(
                    "envoy.extensions.bootstrap.internal_listener.v3.InternalListener", buffer_size_kb=64
                ),
            },
        ],
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [
                {"tag_name": "cluster_name", "regex": "^cluster(\\.(.+);)"},
                {"tag_name": "prefix", "regex": "^listener(?=\\.).*?\\.http\\.(((?:[_.[:digit:]]*))\\.)"},
            ],
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"prefix": "cluster_manager"},
                        {"prefix": "listener_manager"},
                        {"prefix": "server"},
                        {"prefix": "cluster.xds-grpc"},
                        {"suffix": "rbac.allowed"},
                        {"safe_regex": {"regex": "vhost\\..*\\.route\\..*"}},
                    ]
                }
            },
        },
        "admin": {
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": typed(
                        "envoy.extensions.access_loggers.file.v3.FileAccessLog", path="/dev/null"
                    ),
                }
            ],
            "profile_path": "/var/lib/istio/data/envoy.prof",
            "address": socket_address("127.0.0.1", "{{admin_port}}"),
        },
        "dynamic_resources": {
            "lds_config": ADS,
            "cds_config": ADS,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "set_node_on_first_message_only": True,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {
            "clusters": [
                _static("agent", socket_address("127.0.0.1", agent_port)),
                _static("sds-grpc", {"pipe": {"path": sds}}, http2=True),
                {
                    **_static("xds-grpc", {"pipe": {"path": xds}}, http2=True),
                    "circuit_breakers": {
                        "thresholds": [{"priority": one, **limits} for one in ("DEFAULT", "HIGH")]
                    },
                    "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
                    "max_requests_per_connection": 1,
                },
            ],
            "listeners": [
                {
                    "name": "0.0.0.0_15021",
                    "address": socket_address("0.0.0.0", status_port),
                    "ignore_global_conn_limit": True,
                    "bypass_overload_manager": True,
                    "filter_chains": [{"filters": [agent]}],
                }
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": typed(
                        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        max_active_downstream_connections=2147483647,
                    ),
                }
            ]
        },
        "tracing": {
            "http": {
                "name": "envoy.tracers.zipkin",
                "typed_config": typed(
                    "envoy.config.trace.v3.ZipkinConfig",
                    collector_cluster="zipkin",
                    collector_endpoint="/api/v2/spans",
                    collector_endpoint_version="HTTP_JSON",
                ),
            }
        },
        "cluster_manager": {
            "outlier_detection": {"event_log_path": "/dev/stdout"},
            "enable_deferred_cluster_creation": True,
        },
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }


# -- listeners


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
    }


def _manager(
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


def _http_filters(outbound: bool) -> list[dict[str, Any]]:
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
        _router(),
    ]
    return filters if outbound else [one for one in filters if one["name"] != "istio.alpn"]


_TRACING = {
    "client_sampling": {"value": 100},
    "random_sampling": {"value": 1},
    "overall_sampling": {"value": 100},
    "custom_tags": [{"tag": "istio.mesh_id", "literal": {"value": "cluster.local"}}],
}
_REQUEST_ID = {
    "typed_config": typed(
        "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", use_request_id_for_trace_sampling=True
    )
}


def _metadata_exchange() -> dict[str, Any]:
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


def _tcp(cluster: str, prefix: str) -> list[dict[str, Any]]:
    proxy = typed(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=prefix,
        cluster=cluster,
        idle_timeout="3600s",
    )
    return [_network_stats(), {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]


def _inspectors(*names: str) -> list[dict[str, Any]]:
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


def virtual_outbound(port: int) -> dict[str, Any]:
    return {
        "name": "virtualOutbound",
        "address": socket_address("127.0.0.1", port),
        "use_original_dst": True,
        "traffic_direction": "OUTBOUND",
        "filter_chains": [
            {
                "name": "virtualOutbound-blackhole",
                "filter_chain_match": {"destination_port": port},
                "filters": _tcp("BlackHoleCluster", "BlackHoleCluster"),
            },
            {
                "name": "virtualOutbound-catchall-tcp",
                "filters": _tcp("PassthroughCluster", "PassthroughCluster"),
            },
        ],
    }


def outbound(name: str, port: int, routes: str) -> dict[str, Any]:
    """A listener for the HTTP services on a port."""
    manager = _manager(
        f"outbound_{name}",
        [],
        _http_filters(outbound=True),
        rds={"config_source": ADS, "route_config_name": routes},
        tracing=_TRACING,
        request_id_extension=_REQUEST_ID,
        use_remote_address=False,
        normalize_path=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        stream_idle_timeout="0s",
        max_request_headers_kb=60,
        upgrade_configs=[{"upgrade_type": "websocket"}],
    )
    match = {"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1", "h2c"]}
    return {
        "name": name,
        "address": socket_address("127.0.0.1", port),
        "traffic_direction": "OUTBOUND",
        "continue_on_listener_filters_timeout": True,
        "listener_filters_timeout": "0s",
        "listener_filters": _inspectors("tls_inspector", "http_inspector"),
        "default_filter_chain": {
            "name": "PassthroughFilterChain",
            "filters": _tcp("PassthroughCluster", "PassthroughCluster"),
        },
        "filter_chains": [{"filter_chain_match": match, "filters": [manager]}],
    }


def _tls(alpn: Sequence[str], sds: dict[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    validation = {
        "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": n}} for n in names]
    }
    return {
        "alpn_protocols": list(alpn),
        "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": sds}],
        "combined_validation_context": {
            "default_validation_context": validation if names else {},
            "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": sds},
        },
    }


def _sds() -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": "sds-grpc"}}
    return {
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [service],
            "set_node_on_first_message_only": True,
        },
        "initial_fetch_timeout": "0s",
        "resource_api_version": "V3",
    }


def virtual_inbound(port: int, cluster: str) -> dict[str, Any]:
    """Strict mTLS: HTTP of the mesh by ALPN, other bytes of the mesh, and plain text on a port of its own."""
    manager = _manager(
        f"inbound_0.0.0.0_{port}",
        [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"},
          "decorator": {"operation": "app:80/*"}}],
        _http_filters(outbound=False),
        tracing=_TRACING,
        request_id_extension=_REQUEST_ID,
        use_remote_address=False,
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
        server_name="istio-envoy",
    )  # fmt: skip
    socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context=_tls(["h2", "http/1.1"], _sds()),
            require_client_certificate=True,
        ),
    }
    tcp_socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context=_tls(["istio-peer-exchange", "h2", "http/1.1"], _sds()),
            require_client_certificate=True,
        ),
    }
    authn = {"name": "istio_authn", "typed_config": typed_struct("io.istio.network.authn.Config")}
    return {
        "name": "virtualInbound",
        "address": socket_address("127.0.0.1", port),
        "traffic_direction": "INBOUND",
        "continue_on_listener_filters_timeout": True,
        "listener_filters_timeout": "0s",
        "listener_filters": _inspectors("original_dst", "tls_inspector", "http_inspector"),
        "filter_chains": [
            {
                "name": "virtualInbound-blackhole",
                "filter_chain_match": {"destination_port": 1},
                "filters": _tcp("BlackHoleCluster", "BlackHoleCluster"),
            },
            {
                "name": f"0.0.0.0_{port}",
                "filter_chain_match": {
                    "destination_port": port,
                    "transport_protocol": "tls",
                    "application_protocols": HTTP_ALPN,
                },
                "filters": [authn, _metadata_exchange(), manager],
                "transport_socket": socket,
                "transport_socket_connect_timeout": "15s",
            },
            {
                "name": f"0.0.0.0_{port}",
                "filter_chain_match": {
                    "destination_port": port,
                    "transport_protocol": "tls",
                    "application_protocols": ["istio", "istio-peer-exchange"],
                },
                "filters": [authn, _metadata_exchange(), *_tcp(cluster, cluster)],
                "transport_socket": tcp_socket,
            },
        ],
    }


# -- clusters and routes


def _limits() -> dict[str, Any]:
    most = {"max_connections": UNLIMITED, "max_pending_requests": UNLIMITED, "max_requests": UNLIMITED}
    return {"thresholds": [{**most, "max_retries": UNLIMITED, "track_remaining": True}]}


def builtin_clusters() -> list[dict[str, Any]]:
    return [
        {"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"},
        {
            "name": "PassthroughCluster",
            "type": "ORIGINAL_DST",
            "connect_timeout": "10s",
            "lb_policy": "CLUSTER_PROVIDED",
            "circuit_breakers": _limits(),
            "typed_extension_protocol_options": {
                H2: typed(
                    H2,
                    use_downstream_protocol_config={
                        "http_protocol_options": {},
                        "http2_protocol_options": {},
                    },
                )
            },
        },
    ]


def inbound_cluster(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": _limits(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address("127.0.0.1", port)}}]}],
        },
        "metadata": {"filter_metadata": {"istio": {"services": [{"host": "app.default.svc.cluster.local"}]}}},
    }


def service_cluster(name: str, names: Sequence[str]) -> dict[str, Any]:
    """One of the mesh: mTLS to endpoints that have a sidecar, plain text to others."""
    socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context=_tls(["istio-peer-exchange", "istio"], _sds(), names),
            sni=f"outbound_.80_._.{name}",
        ),
    }
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "10s",
        "eds_cluster_config": {"eds_config": ADS, "service_name": name},
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": _limits(),
        "common_lb_config": {"locality_weighted_lb_config": {}},
        "filters": [_metadata_exchange()],
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": socket},
            {
                "name": "tlsMode-disabled",
                "match": {},
                "transport_socket": {
                    "name": "envoy.transport_sockets.raw_buffer",
                    "typed_config": typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
                },
            },
        ],
    }


def service_endpoints(name: str, port: int, *, tls: bool) -> dict[str, Any]:
    endpoint: dict[str, Any] = {
        "endpoint": {"address": socket_address("127.0.0.1", port), "health_check_config": {}},
        "load_balancing_weight": 1,
        "health_status": "HEALTHY",
        "metadata": {"filter_metadata": {"istio": {"workload": "app;default;app;;Kubernetes"}}},
    }
    if tls:
        endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    locality = {"region": "r", "zone": "z"}
    return {
        "cluster_name": name,
        "endpoints": [{"locality": locality, "load_balancing_weight": 1, "lb_endpoints": [endpoint]}],
    }


def routes(name: str, cluster: str) -> dict[str, Any]:
    retries = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": "5",
        "retriable_status_codes": [503],
    }
    action = {"cluster": cluster, "timeout": "0s", "max_grpc_timeout": "0s", "retry_policy": retries}
    host = {
        "name": "app.default.svc.cluster.local:80",
        "domains": ["app.default.svc.cluster.local", "app", "app.default", "10.96.0.1"],
        "routes": [
            {
                "name": "default",
                "match": {"prefix": "/"},
                "route": action,
                "decorator": {"operation": "app.default.svc.cluster.local:80/*"},
            }
        ],
        "include_request_attempt_count": True,
    }
    passthrough = {
        "name": "allow_any",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster", "timeout": "0s"}}],
        "include_request_attempt_count": True,
    }
    return {
        "name": name,
        "virtual_hosts": [host, passthrough],
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }
