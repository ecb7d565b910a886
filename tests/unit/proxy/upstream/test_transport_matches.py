"""Which transport socket a host of a cluster gets."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2  # noqa: F401  (for json_format)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401  (for json_format)
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.upstream.cluster_compile import compile_cluster

TLS = {
    "name": "tls",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "mesh.test",
    },
}
PLAIN = {
    "name": "raw",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    },
}


def config(**fields: Any) -> Any:
    ctx = CompileContext()
    message = json_format.ParseDict({"name": "c", **fields}, cluster_pb2.Cluster())
    compiled = compile_cluster(message, "cluster", ctx)
    assert not ctx.problems
    return compiled


def metadata(**fields: Any) -> Any:
    return json_format.ParseDict(
        {"filter_metadata": {"envoy.transport_socket_match": fields}}, base_pb2.Metadata()
    )


def test_the_first_match_counts_and_the_clusters_own_socket_is_the_last_resort() -> None:
    compiled = config(
        transport_socket=PLAIN,
        transport_socket_matches=[
            {"name": "mtls", "match": {"tlsMode": "istio", "zone": 1}, "transport_socket": TLS},
            {"name": "plain", "match": {"tlsMode": "istio"}, "transport_socket": PLAIN},
        ],
    )
    assert compiled.encrypts
    assert compiled.transport_of(metadata(tlsMode="istio", zone=1, more=True)).sni == "mesh.test"
    assert compiled.match_of(metadata(tlsMode="istio")).name == "plain"
    assert compiled.match_of(metadata(tlsMode="other", zone=1)) is None
    assert compiled.match_of(None) is None
    assert compiled.transport_of(None) is None


def test_an_empty_match_fits_every_host() -> None:
    matches = [{"name": "all", "match": {}, "transport_socket": TLS}]
    assert config(transport_socket_matches=matches).transport_of(None).sni == "mesh.test"
