"""Which hosts get traffic."""

from proxy.base.address import Address
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import HostSet


def host(port, health=Health.HEALTHY, priority=0):
    return Host(Address("10.0.0.1", port), health=health, priority=priority)


def test_unhealthy_hosts_get_no_traffic_while_most_are_healthy():
    good, other, bad = host(1), host(2), host(3, Health.DRAINING)
    hosts = HostSet([good, other, bad])
    assert hosts.usable == (good, other)
    assert not hosts.panic


def test_below_the_panic_threshold_all_hosts_get_traffic():
    members = [host(1), host(2, Health.UNHEALTHY), host(3, Health.UNHEALTHY)]
    hosts = HostSet(members)
    assert hosts.panic
    assert hosts.usable == tuple(members)


def test_a_threshold_of_zero_turns_panic_off():
    hosts = HostSet([host(1, Health.UNHEALTHY)], panic_threshold=0)
    assert not hosts.panic
    assert hosts.usable == ()


def test_degraded_hosts_serve_when_no_healthy_one_is_left():
    degraded = host(1, Health.DEGRADED)
    assert HostSet([degraded, host(2, Health.UNHEALTHY)]).usable == (degraded,)
    assert HostSet([degraded, host(2)]).usable[0].address.port == 2


def test_only_the_first_priority_that_has_hosts_serves():
    first, second = host(1, priority=1), host(2, priority=2)
    assert HostSet([second, first]).usable == (first,)


def test_no_hosts_at_all():
    assert HostSet([]).usable == ()
    assert HostSet([]).panic
    assert not HostSet([], panic_threshold=0).panic


def test_draining_hosts_do_not_bring_panic_nearer():
    good = host(1)
    hosts = HostSet([good, host(2, Health.UNHEALTHY), host(3, Health.DRAINING)])
    assert hosts.usable == (good,)
    assert len(hosts.excluded) == 1
