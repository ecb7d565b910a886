"""One upstream endpoint as a worker sees it: where it is, what it weighs, what it has served.

The pool code keeps its connections in `Host.pools`; nothing here knows what a pool is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from proxy.base.address import Address
from proxy.upstream.health_flags import (
    CONFIGURED,
    DEGRADING,
    DRAINING,
    EXCLUDING,
    FAILING,
    TOLD,
    Health,
    HealthFlag,
    configured_flags,
    flag_texts,
)

__all__ = ["NO_LOCALITY", "Health", "Host", "HostStats", "Locality"]


class Locality(NamedTuple):
    """Region, zone and sub-zone of an endpoint; "" where unset. They sort as in Envoy."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


NO_LOCALITY = Locality()

_LACKING = FAILING | DEGRADING
_FAILED = frozenset({Health.UNHEALTHY, Health.DRAINING, Health.TIMEOUT})


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

    `weight` is at least 1; `locality_weight` is that of the whole locality within its priority, 0 if it has none.
    `healthy_since` is when it last became healthy (monotonic seconds, for slow start), None if nobody noted that.
    `metadata` is the `core.v3.Metadata` of the endpoint or None. `flags` are the `HealthFlag`s that are set,
    `health` is what is configured. `cluster` is the `Cluster` that lists the host. `pools` belongs to the pool
    code (key: see `make_pool`). `removed` turns True when the cluster no longer lists the host: requests in flight
    finish, no new one starts, and its pools drain.
    """

    __slots__ = (
        "_health",
        "address",
        "canary",
        "checked",
        "cluster",
        "flags",
        "healthy_since",
        "hostname",
        "load_reports",
        "locality",
        "locality_weight",
        "metadata",
        "more_addresses",
        "outcomes",
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
        locality_weight: int = 0,
        more_addresses: tuple[Address, ...] = (),
    ) -> None:
        self.address = address
        #: Where else it may be reached.
        self.more_addresses = more_addresses
        self.hostname = hostname
        self.weight = weight
        self.priority = priority
        self._health = health
        self.flags = configured_flags(health)
        self.locality = locality
        self.metadata = metadata
        self.canary = canary
        self.locality_weight = locality_weight
        self.healthy_since: float | None = None
        #: Who reads the load reports in the host's responses: a `lb.client_weights.ClientWeights`,
        #: a `load_counts.EndpointMetrics`, or None.
        self.load_reports: Any = None
        self.cluster: Any = None
        #: Counts what comes of requests, for outlier detection: a `outlier.outcomes.HostOutcomes`, or None.
        self.outcomes: Any = None
        #: Whether the active health checks of its cluster, if there are any, are for it too.
        self.checked = True
        self.removed = False
        self.stats = HostStats()
        self.pools: dict[Any, Any] = {}

    @property
    def health(self) -> Health:
        """What the endpoint's configuration says."""
        return self._health

    @health.setter
    def health(self, health: Health) -> None:
        self._health = health
        self.flags = self.flags & TOLD | configured_flags(health)

    def take_flags(self, told: int) -> None:
        """Set the flags that the controller decides; those of the configuration stay."""
        self.flags = self.flags & CONFIGURED | told & TOLD

    @property
    def healthy(self) -> bool:
        """Whether the host may get traffic when others are there too."""
        return not self.flags & _LACKING

    @property
    def degraded(self) -> bool:
        """Whether the host gets what healthy ones cannot take."""
        flags = self.flags
        return bool(flags & DEGRADING) and not flags & FAILING

    @property
    def unhealthy(self) -> bool:
        """Whether the host gets traffic only when too few others are there."""
        return bool(self.flags & FAILING)

    @property
    def excluded(self) -> bool:
        """Whether the host does not count when availability is reckoned."""
        return bool(self.flags & EXCLUDING)

    @property
    def status(self) -> Health:
        """What checks make of what is configured (Envoy's `healthStatus`)."""
        if self.flags & DRAINING:
            return Health.UNHEALTHY
        if self._health in _FAILED or not self.flags & HealthFlag.DEGRADED_ACTIVE_HC:
            return self._health
        return Health.DEGRADED

    @property
    def health_flags(self) -> str:
        """As `/clusters` prints it."""
        return "".join(flag_texts(self.flags)) or "healthy"

    def __repr__(self) -> str:
        gone = " removed" if self.removed else ""
        return f"<Host {self.address} {self.health_flags} rq_active={self.stats.rq_active}{gone}>"
