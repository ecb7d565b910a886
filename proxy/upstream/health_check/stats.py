"""`cluster.<name>.health_check.*`."""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stats import StatGroup


class HealthCheckStats(StatGroup):
    """What Envoy counts of the checks of one cluster."""

    COUNTERS: ClassVar = (
        "attempt",
        "success",
        "failure",
        "passive_failure",
        "network_failure",
        "verify_cluster",
    )
    GAUGES: ClassVar = ("healthy", "degraded")

    attempt: int
    success: int
    failure: int
    passive_failure: int
    network_failure: int
    verify_cluster: int
    healthy: int
    degraded: int
