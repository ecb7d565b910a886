"""What is known against a host, as Envoy's `HostUtility::HealthFlag`: the one source for whether it gets traffic.

Those of `CONFIGURED` follow from the endpoint's configuration, in every process by itself.
The others (`TOLD`) are decided by the controller, which keeps them (`proxy.app.host_health.HostHealth`) and tells
workers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: (address as text, priority): what a host of a cluster is known by in all processes.
HostKey = tuple[str, int]


class HealthFlag(IntEnum):
    """One bit each; the numbers are Envoy's. Combine them with `|` to an `int`."""

    FAILED_ACTIVE_HC = 0x1
    FAILED_OUTLIER_CHECK = 0x2
    FAILED_EDS_HEALTH = 0x4
    DEGRADED_ACTIVE_HC = 0x8
    DEGRADED_EDS_HEALTH = 0x10
    PENDING_DYNAMIC_REMOVAL = 0x20
    PENDING_ACTIVE_HC = 0x40
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 0x80
    ACTIVE_HC_TIMEOUT = 0x100
    EDS_STATUS_DRAINING = 0x200


#: With any of these a host is unhealthy; with none of them and any of `DEGRADING` it is degraded.
FAILING: Final = int(
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.FAILED_EDS_HEALTH
    | HealthFlag.EDS_STATUS_DRAINING
)
DEGRADING: Final = int(HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.DEGRADED_EDS_HEALTH)
#: With any of these it does not count when availability is reckoned.
EXCLUDING: Final = int(
    HealthFlag.PENDING_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.EDS_STATUS_DRAINING
)
CONFIGURED: Final = int(
    HealthFlag.FAILED_EDS_HEALTH | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING
)
#: What the controller tells of.
TOLD: Final = ~CONFIGURED
#: When one of these is set, connections to the host take no further request: others might do better.
DRAINING: Final = int(HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_OUTLIER_CHECK)


class Health(IntEnum):
    """Health as configured; the numbers are those of `envoy.config.core.v3.HealthStatus`."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2
    DRAINING = 3
    TIMEOUT = 4
    DEGRADED = 5


_OF_HEALTH: Final = {
    Health.UNHEALTHY: int(HealthFlag.FAILED_EDS_HEALTH),
    Health.DRAINING: int(HealthFlag.EDS_STATUS_DRAINING),
    Health.TIMEOUT: int(HealthFlag.FAILED_EDS_HEALTH),
    Health.DEGRADED: int(HealthFlag.DEGRADED_EDS_HEALTH),
}


def configured_flags(health: Health) -> int:
    """The flags that follow from configured health."""
    return _OF_HEALTH.get(health, 0)


def flag_texts(flags: int) -> tuple[str, ...]:
    """As `/clusters` prints them, in Envoy's order; nothing for a host without flags."""
    return tuple(f"/{flag.name.lower()}" for flag in HealthFlag if flags & flag)


def coarse(flags: int) -> Health:
    """Healthy, degraded or unhealthy (Envoy's `coarseHealth`)."""
    if flags & FAILING:
        return Health.UNHEALTHY
    return Health.DEGRADED if flags & DEGRADING else Health.HEALTHY
