"""Hosts as `/clusters` shows them."""

import pytest

from proxy.base.address import Address
from proxy.upstream.health_flags import HealthFlag
from proxy.upstream.host import Health, Host


@pytest.mark.parametrize(
    ("health", "healthy", "flags"),
    [
        (Health.UNKNOWN, True, "healthy"),
        (Health.HEALTHY, True, "healthy"),
        (Health.UNHEALTHY, False, "/failed_eds_health"),
        (Health.DRAINING, False, "/eds_status_draining"),
        (Health.TIMEOUT, False, "/failed_eds_health"),
        (Health.DEGRADED, False, "/degraded_eds_health"),
    ],
)
def test_configured_health_decides_about_traffic_and_is_shown(health, healthy, flags):
    host = Host(Address("10.0.0.1", 80), health=health)
    assert host.healthy is healthy
    assert host.health_flags == flags
    assert flags in repr(host)


def test_what_checks_say_adds_to_what_is_configured():
    host = Host(Address("10.0.0.1", 80), health=Health.DEGRADED)
    host.take_flags(HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_EDS_HEALTH)
    assert (host.healthy, host.degraded, host.unhealthy) == (False, False, True)
    assert host.health_flags == "/failed_active_hc/degraded_eds_health"
    host.health = Health.HEALTHY
    assert host.health_flags == "/failed_active_hc"
    host.take_flags(HealthFlag.DEGRADED_ACTIVE_HC)
    assert (host.healthy, host.degraded, host.unhealthy) == (False, True, False)
    host.take_flags(HealthFlag.ACTIVE_HC_TIMEOUT)
    assert (host.healthy, host.excluded) == (True, False)
    host.take_flags(HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
    assert host.excluded
