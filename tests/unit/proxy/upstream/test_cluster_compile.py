"""Clusters that are accepted and refused."""

import envoy.extensions.clusters.dns.v3.dns_cluster_pb2
import envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2  # noqa: F401
import pytest

from proxy.base.address import Address
from proxy.upstream.circuit_breaker import UNLIMITED
from proxy.upstream.cluster_config import Discovery
from tests.support.cluster_messages import compiled, endpoint, problems

DNS_CLUSTER = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"


def test_defaults_are_envoys():
    config = compiled(endpoint())
    assert config.discovery is Discovery.STATIC
    assert config.connect_timeout == 5.0
    assert config.buffer_limit == 1024 * 1024
    assert config.breakers[0].max_requests == 1024
    assert config.breakers[1].max_retries == 3
    assert config.breakers[0].max_connection_pools == UNLIMITED
    assert config.bind is None
    assert config.transport is None
    assert config.stat_name == "c"


def test_alt_stat_name_names_the_numbers():
    assert compiled(alt_stat_name="other").stat_name == "other"


def test_a_connect_timeout_of_zero_is_refused():
    assert problems(connect_timeout="0s") == [("c.connect_timeout", "value must be greater than 0s")]


def test_an_eds_cluster_says_where_its_endpoints_come_from():
    assert problems(type="EDS") == [
        ("c.eds_cluster_config", "cannot create an EDS cluster without an EDS config")
    ]
    ads = {"eds_config": {"ads": {}}, "service_name": "there"}
    assert problems(type="EDS", eds_cluster_config=ads) == []
    assert problems(type="STATIC", eds_cluster_config=ads) == [
        ("c.eds_cluster_config", "eds_cluster_config set in a non-EDS cluster")
    ]


@pytest.mark.parametrize(("single", "kind"), [(True, "LOGICAL_DNS"), (False, "STRICT_DNS")])
def test_the_dns_cluster_extension(single, kind):
    custom = {"@type": DNS_CLUSTER, "all_addresses_in_single_endpoint": single, "dns_refresh_rate": "7s"}
    config = compiled(
        endpoint("svc.test"), cluster_type={"name": "envoy.clusters.dns", "typed_config": custom}
    )
    assert config.discovery is Discovery[kind]
    assert config.dns.refresh_rate == 7.0


def test_a_cluster_type_without_config_is_refused():
    ((path, _),) = problems(cluster_type={"name": "envoy.clusters.aggregate"})
    assert path == "c.cluster_type"


def test_the_first_threshold_of_a_priority_counts():
    config = compiled(
        circuit_breakers={
            "thresholds": [
                {"max_requests": 1, "track_remaining": True},
                {"max_requests": 2},
                {"priority": "HIGH", "max_connections": 3},
            ],
            "per_host_thresholds": [{"max_connections": 4}],
        }
    )
    default, high = config.breakers
    assert default.max_requests == 1
    assert default.track_remaining
    assert default.max_connections_per_host == 4
    assert high.max_connections == 3
    assert high.max_connections_per_host == UNLIMITED


def test_what_breakers_cannot_do_is_refused():
    found = problems(
        circuit_breakers={
            "per_host_thresholds": [{"max_requests": 1}],
        }
    )
    assert [path for path, _ in found] == [
        "c.circuit_breakers.per_host_thresholds[0].max_requests",
    ]


def test_bind_address_and_socket_options():
    config = compiled(
        upstream_bind_config={
            "source_address": {"address": "127.0.0.2", "port_value": 0},
            "freebind": True,
            "socket_options": [
                {"level": 6, "name": 1, "int_value": 1},
                {"level": 1, "name": 2, "buf_value": "eA=="},
            ],
        },
        upstream_connection_options={"tcp_keepalive": {"keepalive_time": 30}},
    )
    assert config.bind.source == Address("127.0.0.2", 0)
    assert config.bind.freebind
    assert [option.value for option in config.bind.socket_options] == [1, b"x"]
    assert config.keepalive.time == 30
    assert config.keepalive.probes is None


def test_extra_source_addresses_are_refused():
    extra = {"address": {"address": "127.0.0.3", "port_value": 0}}
    ((path, _),) = problems(
        upstream_bind_config={
            "source_address": {"address": "127.0.0.2", "port_value": 0},
            "extra_source_addresses": [extra],
        }
    )
    assert path == "c.upstream_bind_config.extra_source_addresses"


def test_a_raw_buffer_is_plain_bytes():
    raw = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    socket = {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type": raw}}
    assert compiled(transport_socket=socket).transport is None


def test_a_transport_socket_that_is_not_one_is_refused():
    socket = {"name": "x", "typed_config": {"@type": DNS_CLUSTER}}
    ((path, _),) = problems(transport_socket=socket)
    assert path == "c.transport_socket.typed_config"
    ((path, _),) = problems(transport_socket={"name": "tls"})
    assert path == "c.transport_socket"
