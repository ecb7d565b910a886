"""The example for Traffic Director against a server that behaves as it does: TLS, tokens, all on one stream.

Only the name of the server, its authority and the port of the admin server are different from the example.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.runtime.v3 import rtds_pb2

from tests.support.certs import Authority
from tests.support.client import get
from tests.support.configs import address, typed
from tests.support.mesh import parsed
from tests.support.origin import Origin
from tests.support.outrider import ROOT, Outrider
from tests.support.ports import free_port
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

TEMPLATE = (ROOT / "examples" / "traffic-director" / "bootstrap.yaml").read_text()
SERVICE = "cloud-internal-istio:cloud_mp_111222333444_5678"
ADS = {"resource_api_version": "V3", "ads": {}}


class _Metadata(http.server.BaseHTTPRequestHandler):
    """The metadata server of a VM; every token is a new one."""

    tokens: list[str]

    def do_GET(self) -> None:
        good = self.headers["Metadata-Flavor"] == "Google" and self.path.endswith("/default/token")
        token = f"ya29.{len(self.tokens)}"
        self.tokens.append(token)
        body = json.dumps({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}).encode()
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        return


@contextmanager
def metadata_server() -> Iterator[tuple[str, list[str]]]:
    tokens: list[str] = []
    handler = type("Metadata", (_Metadata,), {"tokens": tokens})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}", tokens
        server.shutdown()
        thread.join()


def interception_listener(port: int) -> Any:
    """One listener for every VIP; redirected connections are told apart by where they were to go."""

    def chain(address: str) -> dict[str, Any]:
        manager = typed(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="trafficdirector",
            rds={"route_config_name": "URL_MAP/111222333444_map_0", "config_source": ADS},
            http_filters=[
                {
                    "name": "envoy.fault",
                    "typed_config": typed("envoy.extensions.filters.http.fault.v3.HTTPFault"),
                },
                {"name": "envoy.cors", "typed_config": typed("envoy.extensions.filters.http.cors.v3.Cors")},
                {
                    "name": "envoy.router",
                    "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
                },
            ],
            access_log=[
                {
                    "name": "envoy.file_access_log",
                    "typed_config": typed(
                        "envoy.extensions.access_loggers.file.v3.FileAccessLog", path="/dev/stdout"
                    ),
                }
            ],
            upgrade_configs=[{"upgrade_type": "websocket"}],
            normalize_path=True,
            merge_slashes=True,
        )
        ranges = [{"address_prefix": address, "prefix_len": 32}]
        return {
            "filter_chain_match": {"prefix_ranges": ranges, "destination_port": port},
            "filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}],
        }

    tree = {
        "name": "TRAFFICDIRECTOR_INTERCEPTION_PORT",
        "address": address(port, "0.0.0.0"),
        "use_original_dst": True,
        "filter_chains": [chain("10.0.0.1"), chain("127.0.0.1")],
    }
    return parsed(listener_pb2.Listener(), tree)


def service() -> Any:
    most = 2147483647
    limits = {
        "max_connections": most,
        "max_pending_requests": most,
        "max_requests": most,
        "max_retries": most,
    }
    tree = {
        "name": SERVICE,
        "alt_stat_name": "/projects/111222333444/global/backendServices/web",
        "type": "EDS",
        "connect_timeout": "30s",
        "eds_cluster_config": {"eds_config": ADS},
        "circuit_breakers": {"thresholds": [limits]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}, "locality_weighted_lb_config": {}},
        "lrs_server": {"self": {}},
        "metadata": {"filter_metadata": {"com.google.trafficdirector": {"backend_service_name": "web"}}},
    }
    return parsed(cluster_pb2.Cluster(), tree)


def endpoints(first: int, second: int) -> Any:
    """Two zones; all of the traffic belongs to the first, as far as weights say."""

    def zone(name: str, weight: int, port: int) -> dict[str, Any]:
        host = {"endpoint": {"address": address(port)}, "health_status": "HEALTHY"}
        return {
            "locality": {"region": "us-central1", "zone": name, "sub_zone": "jf:us-central1-a_1_neg"},
            "load_balancing_weight": weight,
            "lb_endpoints": [{**host, "load_balancing_weight": 1}],
        }

    zones = [zone("us-central1-a", 1_000_000, first), zone("us-central1-b", 1, second)]
    return parsed(endpoint_pb2.ClusterLoadAssignment(), {"cluster_name": SERVICE, "endpoints": zones})


def url_map() -> Any:
    retries = {"retry_on": "gateway-error", "num_retries": 1}
    action = {"cluster": SERVICE, "timeout": "30s", "retry_policy": retries}
    host = {
        "name": "web",
        "domains": ["web", "web:*"],
        "routes": [{"match": {"prefix": ""}, "route": action}],
    }
    return parsed(
        route_pb2.RouteConfiguration(), {"name": "URL_MAP/111222333444_map_0", "virtual_hosts": [host]}
    )


@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
def test_a_sidecar_of_traffic_director_comes_up_and_serves(tmp_path: Path, api_type: str) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    credentials = grpc.ssl_server_credentials([(issued.key.read_bytes(), issued.certificate.read_bytes())])
    port = free_port()
    with (
        metadata_server() as (metadata, tokens),
        XdsServer(credentials=credentials) as server,
        Origin() as first,
        Origin() as second,
    ):
        runtime = rtds_pb2.Runtime(name="traffic_director_runtime")
        runtime.layer.update({"overload.global_downstream_max_connections": 1000})
        server.set(
            runtime, service(), endpoints(first.port, second.port), interception_listener(port), url_map()
        )
        template = (
            TEMPLATE.replace("trafficdirector.googleapis.com:443", f"localhost:{server.port}")
            .replace("/etc/ssl/certs/ca-certificates.crt", str(authority.certificate))
            .replace("port_value: 15000", "port_value: {{admin_port}}")
            .replace("api_type: GRPC", f"api_type: {api_type}", 1)
        )
        with Outrider(
            template, listeners=(), environment={"GCE_METADATA_HOST": metadata}, wait=False
        ) as proxy:
            proxy.wait_ready(30)
            for _ in range(10):
                assert get(port, host="web").status == 200
            assert (len(first.requests), len(second.requests)) == (10, 0)
            assert get(port, host="elsewhere").status == 404

            for kind in (ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.RUNTIME):
                server.wait_for(lambda kind=kind: server.acked(kind))
                assert server.nacks(kind) == []
            seen = server.requests[0]
            assert seen.metadata["authorization"] == f"Bearer {tokens[0]}"
            node = seen.message.node
            assert node.id.startswith("projects/111222333444/networks/default/nodes/")
            assert node.metadata["TRAFFICDIRECTOR_INTERCEPTION_PORT"] == "15001"

            # Traffic Director ends streams after a while; each new one takes a token of its own.
            before = server.streams_opened
            server.cut()
            server.wait_for(
                lambda: server.streams_opened > before and server.subscribed(ResourceType.LISTENER)
            )
            assert server.requests[-1].metadata["authorization"] == f"Bearer {tokens[-1]}"
            assert len(tokens) > 1
            assert get(port, host="web").status == 200
