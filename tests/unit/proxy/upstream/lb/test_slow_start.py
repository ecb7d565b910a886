"""Slow start: how the weight of a new host rises."""

import pytest

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.host import Health, Host
from proxy.upstream.lb.api import SlowStartConfig
from proxy.upstream.lb.round_robin import RoundRobin
from proxy.upstream.lb.slow_start import SlowStart


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def host(port=1, health=Health.HEALTHY):
    return Host(Address("10.0.0.1", port), weight=10, health=health)


@pytest.mark.parametrize(
    ("config", "age", "weight"),
    [
        (SlowStartConfig(10.0), 0.0, 1.0),
        (SlowStartConfig(10.0), 5.0, 5.0),
        (SlowStartConfig(10.0), 10.0, 10.0),
        (SlowStartConfig(10.0, aggression=2.0), 2.5, 5.0),
        (SlowStartConfig(10.0, aggression=0.5), 5.0, 2.5),
        (SlowStartConfig(10.0, min_weight=0.4), 1.0, 4.0),
        (SlowStartConfig(10.0, aggression=-1.0), 5.0, 5.0),
    ],
)
def test_the_weight_of_an_age(config, age, weight):
    clock = Clock()
    slow = SlowStart(config, Runtime(), clock)
    one = host()
    slow.note([one])
    clock.now += age
    assert slow.scaled(10.0, one) == pytest.approx(weight)


def test_the_runtime_may_say_how_aggressive():
    clock = Clock()
    slow = SlowStart(SlowStartConfig(10.0, 1.0, "k"), Runtime({"k": "2"}), clock)
    one = host()
    slow.note([one])
    clock.now += 2.5
    assert slow.scaled(10.0, one) == pytest.approx(5.0)


def test_hosts_that_are_not_healthy_are_not_new():
    slow = SlowStart(SlowStartConfig(10.0), Runtime(), Clock())
    sick = host(health=Health.UNHEALTHY)
    slow.note([sick])
    assert sick.healthy_since is None
    assert slow.scaled(10.0, sick) == 10.0


def test_a_new_host_gets_little_until_the_window_is_over():
    clock = Clock()
    slow = SlowStart(SlowStartConfig(10.0), Runtime(), clock)
    old = host(1)
    picker = RoundRobin([old], lambda: 0, slow)
    clock.now += 60.0
    new = host(2)
    picker.renew([old, new])
    counted = [picker.pick(None).address.port for _ in range(110)]
    assert 5 <= counted.count(2) <= 15
    clock.now += 20.0
    counted = [picker.pick(None).address.port for _ in range(100)]
    assert 45 <= counted.count(2) <= 55
    assert not slow.active
