"""Clusters, endpoints and routes from istiod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.configs import HTTP_OPTIONS, address, typed
from tests.support.istio.filters import metadata_exchange
from tests.support.istio.messages import ADS, agent_secrets, common_tls_context

UNLIMITED = 4294967295


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
                HTTP_OPTIONS: typed(
                    HTTP_OPTIONS,
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
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
        "metadata": {"filter_metadata": {"istio": {"services": [{"host": "app.default.svc.cluster.local"}]}}},
    }


def service_cluster(name: str, names: Sequence[str]) -> dict[str, Any]:
    """One of the mesh: mTLS to endpoints that have a sidecar, plain text to others."""
    socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context=common_tls_context(["istio-peer-exchange", "istio"], agent_secrets(), names),
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
        "filters": [metadata_exchange()],
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
        "endpoint": {"address": address(port), "health_check_config": {}},
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
