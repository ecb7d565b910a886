"""Changes of a cluster that leave its connections alone."""

import pytest

from proxy.upstream.renewal import keeps_connections
from tests.support.cluster_messages import cluster, endpoint


@pytest.mark.parametrize(
    ("fields", "keeps"),
    [
        ({}, True),
        ({"circuit_breakers": {"thresholds": [{"max_requests": 3}]}}, True),
        ({"metadata": {"filter_metadata": {"a": {"b": "c"}}}}, True),
        ({"connect_timeout": "9s"}, False),
        ({"lb_policy": "RANDOM"}, False),
        ({"alt_stat_name": "other"}, False),
        ({"transport_socket": {"name": "raw_buffer"}}, False),
    ],
)
def test_only_what_no_connection_depends_on_may_differ(fields, keeps):
    before = cluster(endpoint()).SerializeToString()
    after = cluster(endpoint(), **fields).SerializeToString()
    assert keeps_connections(before, after) is keeps
