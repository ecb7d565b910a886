from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import base_pb2
from google.protobuf.json_format import ParseDict

from proxy.config.extensions import message_class
from proxy.upstream.cluster_compile import INTERNAL_UPSTREAM, RAW_BUFFER, UPSTREAM_TLS
from proxy.upstream.compile_internal import InternalUpstreamStats, Passthrough
from tests.support.cluster_messages import compiled, endpoint, problems

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets."
RAW = {"name": "raw", "typed_config": {"@type": TYPE + "raw_buffer.v3.RawBuffer"}}
TLS = {"name": "tls", "typed_config": {"@type": TYPE + "tls.v3.UpstreamTlsContext", "sni": "a"}}

for name in (INTERNAL_UPSTREAM, RAW_BUFFER, UPSTREAM_TLS):
    message_class(name)  # parsing JSON needs to know the message


def transport(*kinds: str, inner: dict[str, Any] | None = None) -> dict[str, Any]:
    passed = [{"kind": {kind: {}}, "name": f"of.{kind}"} for kind in kinds]
    return {
        "transport_socket": {
            "name": "internal",
            "typed_config": {
                "@type": TYPE + "internal_upstream.v3.InternalUpstreamTransport",
                "passthrough_metadata": passed,
                "transport_socket": RAW if inner is None else inner,
            },
        }
    }


def metadata(**namespaces: Any) -> Any:
    fields = {name.replace("_", "."): values for name, values in namespaces.items()}
    return ParseDict({"filter_metadata": fields}, base_pb2.Metadata())


def test_the_socket_inside_is_the_clusters() -> None:
    config = compiled(endpoint(), **transport("host"))
    assert config.transport is None
    assert config.passes_metadata
    assert compiled(endpoint(), **transport(inner=TLS)).transport is not None
    assert not compiled(endpoint()).passes_metadata


def test_only_hosts_and_clusters_have_metadata_to_pass_on() -> None:
    ((path, reason),) = problems(endpoint(), **transport("route"))
    assert path.endswith("passthrough_metadata[0].kind")
    assert "route" in reason


def test_metadata_of_host_and_cluster_is_collected() -> None:
    config = compiled(endpoint(), **transport("host", "cluster"))
    stats = InternalUpstreamStats("x.")
    passed = config.passthrough_of(None).collect(
        metadata(of_host={"a": 1, "b": [True, {"c": "d"}]}, other={"x": 1}), metadata(of_cluster={}), stats
    )
    assert passed == {"of.host": {"a": 1, "b": [True, {"c": "d"}]}, "of.cluster": {}}
    assert stats.no_metadata == 0


def test_metadata_that_is_not_there_is_counted() -> None:
    stats = InternalUpstreamStats("x.")
    passthrough = Passthrough(((True, "a"), (False, "b")))
    assert passthrough.collect(None, metadata(c={}), stats) == {}
    assert stats.no_metadata == 2
