"""Listeners from istiod."""

from __future__ import annotations

from typing import Any

from tests.support.configs import address, typed
from tests.support.istio.filters import (
    REQUEST_ID,
    TRACING,
    http_filters,
    inspectors,
    manager,
    metadata_exchange,
    tcp,
)
from tests.support.istio.messages import ADS, agent_secrets, common_tls_context, typed_struct

HTTP_ALPN = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]


def virtual_outbound(port: int) -> dict[str, Any]:
    return {
        "name": "virtualOutbound",
        "address": address(port),
        "use_original_dst": True,
        "traffic_direction": "OUTBOUND",
        "filter_chains": [
            {
                "name": "virtualOutbound-blackhole",
                "filter_chain_match": {"destination_port": port},
                "filters": tcp("BlackHoleCluster", "BlackHoleCluster"),
            },
            {
                "name": "virtualOutbound-catchall-tcp",
                "filters": tcp("PassthroughCluster", "PassthroughCluster"),
            },
        ],
    }


def outbound(name: str, port: int, routes: str) -> dict[str, Any]:
    """A listener for the HTTP services on a port."""
    http = manager(
        f"outbound_{name}",
        [],
        http_filters(outbound=True),
        rds={"config_source": ADS, "route_config_name": routes},
        tracing=TRACING,
        request_id_extension=REQUEST_ID,
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
        "address": address(port),
        "traffic_direction": "OUTBOUND",
        "continue_on_listener_filters_timeout": True,
        "listener_filters_timeout": "0s",
        "listener_filters": inspectors("tls_inspector", "http_inspector"),
        "default_filter_chain": {
            "name": "PassthroughFilterChain",
            "filters": tcp("PassthroughCluster", "PassthroughCluster"),
        },
        "filter_chains": [{"filter_chain_match": match, "filters": [http]}],
    }


def virtual_inbound(port: int, cluster: str) -> dict[str, Any]:
    """Strict mTLS: HTTP of the mesh by ALPN, other bytes of the mesh, and plain text on a port of its own."""
    http = manager(
        f"inbound_0.0.0.0_{port}",
        [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"},
          "decorator": {"operation": "app:80/*"}}],
        http_filters(outbound=False),
        tracing=TRACING,
        request_id_extension=REQUEST_ID,
        use_remote_address=False,
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
        server_name="istio-envoy",
    )  # fmt: skip
    socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context=common_tls_context(["h2", "http/1.1"], agent_secrets()),
            require_client_certificate=True,
        ),
    }
    tcp_socket = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context=common_tls_context(["istio-peer-exchange", "h2", "http/1.1"], agent_secrets()),
            require_client_certificate=True,
        ),
    }
    authn = {"name": "istio_authn", "typed_config": typed_struct("io.istio.network.authn.Config")}
    return {
        "name": "virtualInbound",
        "address": address(port),
        "traffic_direction": "INBOUND",
        "continue_on_listener_filters_timeout": True,
        "listener_filters_timeout": "0s",
        "listener_filters": inspectors("original_dst", "tls_inspector", "http_inspector"),
        "filter_chains": [
            {
                "name": "virtualInbound-blackhole",
                "filter_chain_match": {"destination_port": 1},
                "filters": tcp("BlackHoleCluster", "BlackHoleCluster"),
            },
            {
                "name": f"0.0.0.0_{port}",
                "filter_chain_match": {
                    "destination_port": port,
                    "transport_protocol": "tls",
                    "application_protocols": HTTP_ALPN,
                },
                "filters": [authn, metadata_exchange(), http],
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
                "filters": [authn, metadata_exchange(), *tcp(cluster, cluster)],
                "transport_socket": tcp_socket,
            },
        ],
    }
