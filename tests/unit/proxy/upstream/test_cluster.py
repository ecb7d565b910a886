"""A live cluster: who gets the next request, what changes when hosts do."""

from collections import Counter
from types import SimpleNamespace

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.stats import StatsSum, collect_groups
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.upstream.circuit_breaker import SharedSlots
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Health, Host
from proxy.upstream.outlier.outcomes import OutcomeReporter
from tests.support.cluster_messages import compiled, endpoint


def live(config, runtime=None, draw=lambda: 0, **kwargs):
    return Cluster(config, runtime or Runtime(), draw, **kwargs)


def ports(cluster, count):
    return [cluster.choose_host(None).address.port for _ in range(count)]


def test_requests_rotate_over_the_hosts():
    cluster = live(compiled(endpoint(port=1), endpoint(port=2)))
    assert ports(cluster, 4) == [1, 2, 1, 2]


def test_random_and_least_request_are_chosen_by_config():
    draws = iter([1, 0, 0, 0, 1, 0])
    random = live(compiled(endpoint(port=1), endpoint(port=2), lb_policy="RANDOM"), draw=lambda: next(draws))
    assert ports(random, 2) == [2, 1]
    least = live(compiled(endpoint(port=1), endpoint(port=2), lb_policy="LEAST_REQUEST"), draw=draws.__next__)
    least.hosts[0].stats.rq_active = 5
    assert ports(least, 2) == [1, 2]


def test_without_hosts_there_is_nobody_and_it_counts():
    cluster = live(compiled())
    assert cluster.choose_host(None) is None
    assert cluster.stats.upstream_cx_none_healthy == 1
    assert cluster.stats.lb_healthy_panic == 1


def test_panic_serves_from_all_hosts_and_counts():
    cluster = live(
        compiled(endpoint(port=1, health_status="UNHEALTHY"), endpoint(port=2, health_status="UNHEALTHY"))
    )
    assert set(ports(cluster, 2)) == {1, 2}
    assert cluster.stats.lb_healthy_panic == 2


def test_weights_hold_over_one_round():
    cluster = live(
        compiled(endpoint(port=1, load_balancing_weight=3), endpoint(port=2, load_balancing_weight=1))
    )
    assert Counter(ports(cluster, 40)) == {1: 30, 2: 10}


def test_hosts_of_dns_keep_their_connections_while_their_address_stays():
    removed = []
    cluster = live(compiled(endpoint("svc.test", 8080), type="STRICT_DNS"), on_host_removed=removed.append)
    assert cluster.choose_host(None) is None
    cluster.update_resolved([(0, "10.0.0.1"), (0, "10.0.0.2")])
    first, second = cluster.hosts
    assert first.address.text == "10.0.0.1:8080"
    assert first.hostname == "svc.test"
    cluster.update_resolved([(0, "10.0.0.2"), (0, "10.0.0.3")])
    assert cluster.hosts[0] is second
    assert removed == [first]
    assert first.removed
    assert not second.removed


def test_two_names_with_one_address_are_two_hosts():
    cluster = live(compiled(endpoint("a.test", 1), endpoint("b.test", 1), type="STRICT_DNS"))
    cluster.update_resolved([(0, "10.0.0.1"), (1, "10.0.0.1")])
    assert [host.hostname for host in cluster.hosts] == ["a.test", "b.test"]


def test_a_logical_host_moves_without_losing_its_connections():
    cluster = live(compiled(endpoint("svc.test", 80), type="LOGICAL_DNS"))
    cluster.update_resolved([(0, "10.0.0.1")])
    (host,) = cluster.hosts
    cluster.update_resolved([(0, "10.0.0.2")])
    assert cluster.hosts == (host,)
    assert host.address.text == "10.0.0.2:80"
    assert not host.removed


def test_runtime_changes_limits_of_a_running_cluster():
    runtime = Runtime()
    cluster = live(compiled(endpoint()), runtime)
    runtime.replace({"circuit_breakers.c.default.max_requests": "0"})
    cluster.apply_runtime()
    assert not cluster.breakers[0].requests.try_acquire()


def test_runtime_can_turn_panic_off():
    runtime = Runtime()
    cluster = live(compiled(endpoint(health_status="UNHEALTHY")), runtime)
    assert cluster.choose_host(None) is cluster.hosts[0]
    runtime.replace({"upstream.healthy_panic_threshold": "0"})
    cluster.apply_runtime()
    assert cluster.choose_host(None) is None


def test_what_workers_have_in_common_is_not_added_up():
    slots = SharedSlots.create(2, 4)
    config = compiled(
        endpoint(health_status="DEGRADED"), circuit_breakers={"thresholds": [{"track_remaining": True}]}
    )
    total = StatsSum()
    clusters = [live(config, slots=slots, index=3, worker=worker) for worker in (0, 1)]
    for worker, one in enumerate(clusters):
        assert one.breakers[0].requests.try_acquire()
        total.update(worker, collect_groups([one.stats]))
    total.update(0, collect_groups([clusters[0].stats]))
    assert total.counters()["cluster.c.membership_change"] == 1
    gauges = total.gauges()
    assert gauges["cluster.c.membership_degraded"] == 1
    assert gauges["cluster.c.circuit_breakers.default.cx_open"] == 0
    slots.close()


def test_a_cluster_in_use_is_marked_until_it_goes():
    slots = SharedSlots.create(2, 4)
    cluster = live(compiled(endpoint()), slots=slots, index=3, worker=1)
    assert slots.first_builder(3) == 1
    cluster.close()
    assert slots.first_builder(3) == -1
    slots.close()


def test_a_change_of_health_counts_at_once():
    cluster = live(compiled(endpoint(port=1), endpoint(port=2), endpoint(port=3)))
    sick = cluster.hosts[1]
    sick.health = Health.UNHEALTHY
    cluster.health_changed(sick)
    assert set(ports(cluster, 4)) == {1, 3}
    sick.health = Health.HEALTHY
    cluster.health_changed(sick)
    assert set(ports(cluster, 6)) == {1, 2, 3}


def test_flags_that_the_controller_tells_count_at_once_and_outlive_the_host_list():
    flags = {}
    calm = {"healthy_panic_threshold": {"value": 0}}
    config = compiled(*[endpoint(port=port) for port in (1, 2, 3)], common_lb_config=calm)
    cluster = live(config, host_flags=flags)
    drained = []
    cluster.hosts[1].pools["p"] = SimpleNamespace(drain_connections=lambda: drained.append(2))
    flags[("127.0.0.1:2", 0)] = 2
    cluster.flags_changed(flags)
    assert set(ports(cluster, 4)) == {1, 3}
    assert drained == [2]
    flags[("127.0.0.1:1", 0)] = flags[("127.0.0.1:9", 0)] = 1
    cluster.flags_changed([("127.0.0.1:1", 0), ("127.0.0.1:9", 0)])
    assert set(ports(cluster, 4)) == {3}
    cluster.replace_hosts([Host(Address("127.0.0.1", port)) for port in (1, 2, 4)])
    assert set(ports(cluster, 4)) == {4}
    flags.clear()
    cluster.flags_changed([("127.0.0.1:1", 0), ("127.0.0.1:2", 0)])
    assert set(ports(cluster, 6)) == {1, 2, 4}


def test_a_subset_is_chosen_by_the_metadata_of_route_and_request():
    def host(port, **values):
        return endpoint(port=port, metadata={"filter_metadata": {"envoy.lb": values}})

    cluster = live(
        compiled(
            host(1, v="1"),
            host(2, v="1", s="p"),
            lb_subset_config={"subset_selectors": [{"keys": ["v"]}, {"keys": ["s", "v"]}]},
        )
    )
    connection = ConnectionInfo(1, Address("9.9.9.9", 1), Address("8.8.8.8", 2), 0.0, DrainState())
    info = StreamInfo(connection, 0.0)
    assert cluster.host_for(info) is None
    assert cluster.stats.upstream_cx_none_healthy == 1
    info.metadata_match = {"v": "1"}
    assert {cluster.host_for(info).address.port for _ in range(4)} == {1, 2}
    connection.dynamic_metadata = {"envoy.lb": {"s": "p"}}
    assert {cluster.host_for(info).address.port for _ in range(4)} == {2}


def test_outlier_detection_hears_of_hosts_that_come_and_go():
    sent = []
    loop = SimpleNamespace(call_soon=lambda _call: None)
    line = SimpleNamespace(lagging=False, send=sent.append)
    cluster = live(compiled(endpoint(port=1), endpoint(port=2), outlier_detection={}))
    cluster.services = SimpleNamespace(slices=None, outcomes=OutcomeReporter(loop, line))
    cluster.start()
    first, second = cluster.hosts
    cluster.replace_hosts([second])
    cluster.close()
    keys = [(host.address.text, 0) for host in (first, second)]
    assert sent == [
        ("outlier_hosts", cluster.name, keys, []),
        ("outlier_hosts", cluster.name, [], keys[:1]),
        ("outlier_hosts", cluster.name, [], keys[1:]),
    ]
    assert first.outcomes is None
