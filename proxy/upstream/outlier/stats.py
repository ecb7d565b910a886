"""Envoy's `cluster.<name>.outlier_detection.*`."""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stat_names import stat_name
from proxy.base.stats import StatGroup

_CAUSES = (
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "failure_percentage",
    "local_origin_failure_percentage",
    "local_origin_success_rate",
    "success_rate",
)


class OutlierStats(StatGroup):
    """See module. `ejections_detected_<cause>` and `ejections_enforced_<cause>` are raised by name."""

    COUNTERS: ClassVar = (
        "ejections_consecutive_5xx",
        "ejections_detected_degradation",
        "ejections_enforced_total",
        "ejections_overflow",
        "ejections_success_rate",
        "ejections_total",
        *(f"ejections_detected_{cause}" for cause in _CAUSES),
        *(f"ejections_enforced_{cause}" for cause in _CAUSES),
    )
    GAUGES: ClassVar = ("ejections_active",)

    ejections_active: int
    ejections_consecutive_5xx: int
    ejections_enforced_total: int
    ejections_overflow: int
    ejections_success_rate: int
    ejections_total: int

    def detected(self, cause: str) -> None:
        """Count a host that would be ejected for `cause`."""
        self.__dict__[f"ejections_detected_{cause}"] += 1

    def enforced(self, cause: str) -> None:
        """Count a host that is ejected for `cause`."""
        self.ejections_enforced_total += 1
        self.__dict__[f"ejections_enforced_{cause}"] += 1


def stats_of(name: str) -> OutlierStats:
    """Those of the cluster with this `alt_stat_name` or name."""
    return OutlierStats(f"cluster.{stat_name(name)}.outlier_detection.")
