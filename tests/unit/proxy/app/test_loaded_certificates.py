from __future__ import annotations

from pathlib import Path

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from proxy.app.loaded_certificates import certificates_of_cluster, certificates_of_listener


def test_chains_and_trusted_authorities_are_found_with_their_source(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"CHAIN")
    context = tls_pb2.DownstreamTlsContext()
    context.common_tls_context.tls_certificates.add().certificate_chain.filename = str(chain)
    context.common_tls_context.validation_context.trusted_ca.inline_string = "CA"
    listener = listener_pb2.Listener()
    listener.filter_chains.add()
    listener.default_filter_chain.transport_socket.typed_config.Pack(context)
    (found,) = certificates_of_listener(listener)
    assert (found.chain, found.chain_path) == (b"CHAIN", str(chain))
    assert (found.ca, found.ca_path) == (b"CA", "<inline>")


def test_a_cluster_without_tls_has_none_and_a_missing_file_is_no_error() -> None:
    assert list(certificates_of_cluster(cluster_pb2.Cluster())) == []
    context = tls_pb2.UpstreamTlsContext()
    context.common_tls_context.tls_certificates.add().certificate_chain.filename = "/nonexistent.pem"
    cluster = cluster_pb2.Cluster()
    cluster.transport_socket.typed_config.Pack(context)
    assert list(certificates_of_cluster(cluster)) == []


def test_those_for_some_hosts_of_a_cluster_are_found(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(b"chain")
    context = tls_pb2.UpstreamTlsContext()
    context.common_tls_context.tls_certificates.add().certificate_chain.filename = str(path)
    cluster = cluster_pb2.Cluster()
    cluster.transport_socket_matches.add(name="mtls").transport_socket.typed_config.Pack(context)
    assert len(list(certificates_of_cluster(cluster))) == 1
