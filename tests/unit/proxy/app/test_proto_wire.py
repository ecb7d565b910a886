from __future__ import annotations

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2

from proxy.app.proto_wire import length_delimited


def test_joined_messages_parse_as_one() -> None:
    cluster = cluster_pb2.Cluster(name="a" * 300).SerializeToString()
    static = length_delimited(2, cluster) + length_delimited(2, cluster)
    whole = bootstrap_pb2.Bootstrap(flags_path="x").SerializeToString() + length_delimited(2, static)
    message = bootstrap_pb2.Bootstrap.FromString(whole)
    assert message.flags_path == "x"
    assert [one.name for one in message.static_resources.clusters] == ["a" * 300] * 2
