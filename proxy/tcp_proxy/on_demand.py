"""A connection that waits for its cluster, which is asked for on demand (ODCDS).

Source: `TcpProxy.OnDemand`. A cluster that does not exist, or does not come in time, ends the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct

from proxy.base.stats import StatGroup
from proxy.config.config_source import checked_source
from proxy.config.context import CompileContext
from proxy.config.durations import seconds

if TYPE_CHECKING:
    from proxy.tcp_proxy.session import TcpSession

_TIMEOUT: Final = 60.0
#: What clusters are demanded under, see `proxy.config.demands.Demands`.
_CLUSTERS: Final = "CLUSTER"


class OnDemandConfig(Struct, frozen=True):
    """Where to ask: a serialised `core.v3.ConfigSource`; `timeout` in seconds."""

    source: bytes
    timeout: float


def compile_on_demand(message: Any, path: str, ctx: CompileContext) -> OnDemandConfig:
    """Compile a `TcpProxy.OnDemand`."""
    source = checked_source(message.odcds_config, f"{path}.odcds_config", ctx)
    return OnDemandConfig(source, seconds(message, "timeout", _TIMEOUT))


class OnDemandStats(StatGroup):
    """`tcp.<stat_prefix>.on_demand_cluster_*`, of filters that ask for clusters."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "on_demand_cluster_attempt",
        "on_demand_cluster_missing",
        "on_demand_cluster_success",
        "on_demand_cluster_timeout",
    )

    on_demand_cluster_attempt: int
    on_demand_cluster_missing: int
    on_demand_cluster_success: int
    on_demand_cluster_timeout: int


class ClusterWait:
    """The wait of `session` for the cluster `name`; `cancel` it when the session ends."""

    def __init__(self, session: TcpSession, name: str, config: OnDemandConfig) -> None:
        self._session: TcpSession | None = session
        self._name = name
        owner = session.owner
        self._services = services = owner.services
        self._stats = services.stats.shared(OnDemandStats, owner.stats.prefix)
        self._stats.on_demand_cluster_attempt += 1
        services.demands.ask(_CLUSTERS, name, self, config.source)
        self._timer: Any = services.timers.wake(owner.now() + config.timeout, self)

    def on_demanded(self) -> None:
        """See `DemandUser`."""
        session = self._session
        assert session is not None
        self.cancel()
        if self._services.clusters.get(self._name) is None:
            self._stats.on_demand_cluster_missing += 1
            session.lack_cluster()
        else:
            self._stats.on_demand_cluster_success += 1
            session.find_host(self._name)

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        del now
        session = self._session
        if session is not None:
            self._timer = None
            self.cancel()
            self._stats.on_demand_cluster_timeout += 1
            session.lack_cluster()

    def cancel(self) -> None:
        """The session waits no longer."""
        if self._session is None:
            return
        self._session = None
        self._services.demands.forget(_CLUSTERS, self._name, self)
        if self._timer is not None:
            self._services.timers.cancel(self._timer)
            self._timer = None
