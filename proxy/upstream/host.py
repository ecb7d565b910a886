"""One upstream endpoint as a worker sees it: where it is, what it weighs, what it has served.

The pool code keeps its connections in `Host.pools`; nothing here knows what a pool is.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from proxy.base.address import Address


class Health(IntEnum):
    """Health as configured; the numbers are those of `envoy.config.core.v3.HealthStatus`."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2
    DRAINING = 3
    TIMEOUT = 4
    DEGRADED = 5


class Locality:
    """Region, zone and sub-zone of an endpoint; "" where unset."""

    __slots__ = ("region", "sub_zone", "zone")

    def __init__(self, region: str = "", zone: str = "", sub_zone: str = "") -> None:
        self.region = region
        self.zone = zone
        self.sub_zone = sub_zone


NO_LOCALITY = Locality()


class HostStats:
    """Per-host numbers of `/clusters`, raised by the pool and the router."""

    __slots__ = (
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "rq_active",
        "rq_error",
        "rq_pending_active",
        "rq_success",
        "rq_timeout",
        "rq_total",
    )

    def __init__(self) -> None:
        self.cx_active = 0
        self.cx_connect_fail = 0
        self.cx_total = 0
        self.rq_active = 0
        self.rq_error = 0
        self.rq_pending_active = 0
        self.rq_success = 0
        self.rq_timeout = 0
        self.rq_total = 0


class Host:
    """A live endpoint of one cluster in one worker.

    `weight` is at least 1. `metadata` is the `core.v3.Metadata` of the endpoint or None. `cluster` is the
    `Cluster` that lists the host. `pools` belongs to the pool code (key: see `make_pool`). `removed` turns True
    when the cluster no longer lists the host: requests in flight finish, no new one starts, and its pools drain.
    """

    __slots__ = (
        "address",
        "canary",
        "cluster",
        "health",
        "hostname",
        "locality",
        "metadata",
        "pools",
        "priority",
        "removed",
        "stats",
        "weight",
    )

    def __init__(
        self,
        address: Address,
        hostname: str = "",
        weight: int = 1,
        priority: int = 0,
        health: Health = Health.UNKNOWN,
        locality: Locality = NO_LOCALITY,
        metadata: Any = None,
        canary: bool = False,
    ) -> None:
        self.address = address
        self.hostname = hostname
        self.weight = weight
        self.priority = priority
        self.health = health
        self.locality = locality
        self.metadata = metadata
        self.canary = canary
        self.cluster: Any = None
        self.removed = False
        self.stats = HostStats()
        self.pools: dict[Any, Any] = {}

    @property
    def healthy(self) -> bool:
        """Whether the host may get traffic when others are there too (`UNKNOWN` counts as healthy)."""
        return self.health in {Health.UNKNOWN, Health.HEALTHY}

    @property
    def health_flags(self) -> str:
        """As `/clusters` prints it."""
        if self.healthy:
            return "healthy"
        return "/degraded_eds_health" if self.health == Health.DEGRADED else "/failed_eds_health"

    def __repr__(self) -> str:
        gone = " removed" if self.removed else ""
        return f"<Host {self.address} {self.health.name} rq_active={self.stats.rq_active}{gone}>"
