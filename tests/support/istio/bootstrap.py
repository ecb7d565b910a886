"""How pilot-agent starts its proxy."""

from __future__ import annotations

from typing import Any

from tests.support.configs import HTTP_OPTIONS, address, typed
from tests.support.istio.filters import manager, router
from tests.support.istio.messages import ADS, typed_struct

FLAGS = (
    *("--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4"),
    *("--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields"),
    *("-l", "warning", "--component-log-level", "misc:error", "--skip-deprecated-logs"),
    *("--concurrency", "2"),
)
"""How pilot-agent starts its proxy, after `-c FILE`."""


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
            HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": {}})
        }
    return cluster


def bootstrap(xds: str, sds: str, status_port: int | str, agent_port: int) -> dict[str, Any]:
    """That of pilot-agent, with a collector of traces. `xds` and `sds` are unix sockets."""
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    agent = manager(
        "agent",
        [{"match": {"prefix": "/healthz/ready"}, "route": {"cluster": "agent"}}],
        [router()],
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
            "address": address("{{admin_port}}"),
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
                _static("agent", address(agent_port)),
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
                    "address": address(status_port, "0.0.0.0"),
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
