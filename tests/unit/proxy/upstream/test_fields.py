"""Optional fields of messages."""

from envoy.config.cluster.v3 import cluster_pb2

from proxy.upstream.fields import wrapped


def test_a_wrapper_that_is_set_to_zero_is_not_the_default():
    message = cluster_pb2.Cluster()
    assert wrapped(message, "per_connection_buffer_limit_bytes", 5) == 5
    message.per_connection_buffer_limit_bytes.value = 0
    assert wrapped(message, "per_connection_buffer_limit_bytes", 5) == 0
