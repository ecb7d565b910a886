"""Clusters by name in a worker."""

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from proxy.base.runtime import Runtime
from proxy.base.stats import StatRegistry, collect
from proxy.config.context import CompileContext
from proxy.upstream.cluster_manager import ClusterManager
from tests.support.cluster_messages import cluster, endpoint


@pytest.fixture
def registry():
    return StatRegistry()


@pytest.fixture
def manager(registry):
    return ClusterManager(Runtime(), registry, lambda: 0)


def message(*endpoints, **fields):
    return cluster(*endpoints, **fields).SerializeToString()


def test_a_cluster_is_built_at_first_use(manager, registry):
    manager.add("c", message(endpoint()), 0)
    assert "c" in manager
    assert len(manager) == 1
    assert manager.active() == []
    built = manager.get("c")
    assert manager.get("c") is built
    assert manager.active() == [built]
    assert registry.groups() == [built.stats]


def test_an_unknown_name_is_none(manager):
    assert manager.get("nope") is None


def test_removing_a_cluster_retires_its_hosts(manager, registry):
    retired = []
    manager.on_host_removed = retired.append
    manager.add("c", message(endpoint()), 0)
    built = manager.get("c")
    manager.remove("c")
    assert manager.get("c") is None
    assert built.removed
    assert retired == list(built.hosts)
    assert registry.groups() == []


def test_the_same_config_again_changes_nothing(manager):
    manager.add("c", message(endpoint()), 0)
    built = manager.get("c")
    manager.add("c", message(endpoint()), 0)
    assert manager.get("c") is built


def test_a_changed_config_replaces_the_cluster(manager):
    manager.add("c", message(endpoint(port=1)), 0)
    old = manager.get("c")
    manager.add("c", message(endpoint(port=2)), 0)
    assert old.removed
    assert manager.get("c").hosts[0].address.port == 2


def test_numbers_go_on_with_another_cluster(manager, registry):
    manager.add("c", message(endpoint(port=1)), 0)
    old = manager.get("c")
    old.stats.upstream_rq_total += 3
    old.stats.upstream_cx_active += 1
    old.stats.rq_dropped += 1
    manager.add("c", message(endpoint(port=2)), 0)
    counters = collect(registry)["counters"]
    assert counters["cluster.c.upstream_rq_total"] == 3
    # How many hosts there are is known when it is built.
    assert "cluster.c.membership_change" not in counters
    new = manager.get("c")
    new.stats.upstream_rq_total += 1
    old.stats.upstream_cx_active -= 1
    numbers = collect(registry)
    assert numbers["counters"]["cluster.c.upstream_rq_total"] == 4
    assert numbers["gauges"]["cluster.c.upstream_cx_active"] == 0
    assert numbers["shared_gauges"]["cluster.c.membership_total"] == 1
    # Those of load reports are told of as they come.
    assert new.stats.rq_dropped == 0


def test_numbers_of_another_name_begin_anew(manager, registry):
    manager.add("c", message(endpoint()), 0)
    manager.get("c").stats.upstream_rq_total += 3
    manager.add("c", message(endpoint(), alt_stat_name="other"), 0)
    manager.get("c")
    counters = collect(registry)["counters"]
    assert counters["cluster.other.upstream_rq_total"] == 0
    assert "cluster.c.upstream_rq_total" not in counters


def test_numbers_of_tls_go_on_while_there_is_tls(manager, registry):
    context = f"type.googleapis.com/{tls_pb2.UpstreamTlsContext.DESCRIPTOR.full_name}"
    tls = {"transport_socket": {"name": "tls", "typed_config": {"@type": context}}}
    manager.add("c", message(endpoint(port=1), **tls), 0)
    manager.get("c").ssl_stats.handshake += 2
    manager.add("c", message(endpoint(port=2), **tls), 0)
    assert manager.get("c").ssl_stats.handshake == 2
    assert collect(registry)["counters"]["cluster.c.ssl.handshake"] == 2
    manager.add("c", message(endpoint(port=2)), 0)
    manager.get("c")
    assert "cluster.c.ssl.handshake" not in collect(registry)["counters"]


def test_a_cluster_that_goes_between_two_uses_leaves_no_numbers(manager, registry):
    manager.add("c", message(endpoint(port=1)), 0)
    manager.get("c").stats.upstream_rq_total += 3
    manager.add("c", message(endpoint(port=2)), 0)
    manager.remove("c")
    assert registry.groups() == []


def test_addresses_that_came_before_first_use_are_there(manager):
    manager.add("c", message(endpoint("svc.test", 80), type="STRICT_DNS"), 0)
    manager.update_hosts("c", [(0, "10.0.0.1")])
    assert manager.get("c").hosts[0].address.text == "10.0.0.1:80"
    manager.update_hosts("c", [(0, "10.0.0.2")])
    assert manager.get("c").hosts[0].address.text == "10.0.0.2:80"


def test_a_cluster_that_has_become_bad_is_no_cluster(manager, caplog):
    manager.add("c", message(endpoint("not an address")), 0)
    assert manager.get("c") is None
    assert "malformed IP address" in caplog.text


def test_a_runtime_change_reaches_clusters_in_use():
    runtime = Runtime()
    manager = ClusterManager(runtime, StatRegistry(), lambda: 0)
    manager.add("c", message(endpoint()), 0)
    built = manager.get("c")
    runtime.replace({"circuit_breakers.c.default.max_retries": "9"})
    manager.apply_runtime()
    assert built.breakers[0].retries.limit == 9


def test_a_change_of_the_local_cluster_concerns_all_others():
    def serialized(name, *zones):
        places = [
            {"locality": {"zone": zone}, "lb_endpoints": [endpoint(port=port)]}
            for port, zone in enumerate(zones, 1)
        ]
        zone_aware = {"zone_aware_lb_config": {"min_cluster_size": 1}}
        message = cluster(name=name, load_assignment={"endpoints": places}, common_lb_config=zone_aware)
        return message.SerializeToString()

    node = base_pb2.Node(locality=base_pb2.Locality(zone="a"))
    manager = ClusterManager(
        Runtime(), StatRegistry(), lambda: 5000, context=lambda: CompileContext(node=node)
    )
    manager.local_cluster_name = "local"
    manager.add("local", serialized("local", "a", "b"), 0)
    manager.add("far", serialized("far", "a", "b"), 1)
    far = manager.get("far")
    assert {far.choose_host(None).address.port for _ in range(4)} == {1}
    manager.add("local", serialized("local", "b"), 0)
    assert {far.choose_host(None).address.port for _ in range(4)} == {1, 2}
    assert far.stats.lb_local_cluster_not_ok == 0
    manager.add("local", serialized("local", "b", "c"), 0)
    assert {far.choose_host(None).address.port for _ in range(4)} == {1, 2}
    assert far.stats.lb_local_cluster_not_ok == 1


def test_other_limits_leave_the_hosts_and_their_pools_alone(manager, registry):
    retired = []
    manager.on_host_removed = retired.append
    manager.add("c", message(endpoint()), 0)
    live = manager.get("c")
    (host,) = live.hosts
    assert live.breakers[0].requests.try_acquire()
    thresholds = [{"max_requests": 1, "max_connections": 7}]
    manager.add("c", message(endpoint(), circuit_breakers={"thresholds": thresholds}), 0)
    assert manager.get("c") is live
    assert live.hosts == (host,)
    assert not host.removed
    assert not retired
    assert registry.groups() == [live.stats]
    assert live.breakers[0].connections.limit == 7
    # What was in use before counts.
    assert not live.breakers[0].requests.try_acquire()


def test_other_metadata_is_taken_over(manager):
    manager.add("c", message(endpoint()), 0)
    live = manager.get("c")
    manager.add("c", message(endpoint(), metadata={"filter_metadata": {"a": {"b": "c"}}}), 0)
    assert manager.get("c") is live
    assert live.config.metadata.filter_metadata["a"]["b"] == "c"


def test_a_cluster_at_another_place_is_another_one(manager):
    manager.add("c", message(endpoint()), 0)
    live = manager.get("c")
    manager.add("c", message(endpoint()), 1)
    assert live.removed
    assert manager.get("c") is not live
