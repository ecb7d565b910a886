"""Hosts as `/clusters` shows them."""

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Health, Host


@pytest.mark.parametrize(
    ("health", "healthy", "flags"),
    [
        (Health.UNKNOWN, True, "healthy"),
        (Health.HEALTHY, True, "healthy"),
        (Health.UNHEALTHY, False, "/failed_eds_health"),
        (Health.DRAINING, False, "/failed_eds_health"),
        (Health.TIMEOUT, False, "/failed_eds_health"),
        (Health.DEGRADED, False, "/degraded_eds_health"),
    ],
)
def test_configured_health_decides_about_traffic_and_is_shown(health, healthy, flags):
    host = Host(Address("10.0.0.1", 80), health=health)
    assert host.healthy is healthy
    assert host.health_flags == flags
    assert health.name in repr(host)
