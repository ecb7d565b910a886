"""Numbers that a cluster keeps when it is told to: `config.cluster.v3.TrackClusterStats`.

Clusters that track nothing have no object of this module, and their requests do not ask for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from proxy.base.stat_names import stat_name
from proxy.base.stats import Histogram

if TYPE_CHECKING:
    from proxy.upstream.host import Host

SIZES: Final = (
    "upstream_rq_headers_size",
    "upstream_rq_body_size",
    "upstream_rs_headers_size",
    "upstream_rs_body_size",
)
COUNTS: Final = ("upstream_rq_headers_count", "upstream_rs_headers_count")
BUDGETS: Final = (
    "upstream_rq_timeout_budget_percent_used",
    "upstream_rq_timeout_budget_per_try_percent_used",
)
ENDPOINT_COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
ENDPOINT_GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")
#: 1 for a host that is healthy.
HEALTHY: Final = "healthy"


class TrackConfig(Struct, frozen=True):
    """What is asked for, of requests and of hosts."""

    timeout_budgets: bool = False
    request_response_sizes: bool = False
    per_endpoint_stats: bool = False

    @property
    def follows_requests(self) -> bool:
        """Whether each try of a request is looked at."""
        return self.timeout_budgets or self.request_response_sizes


def compile_tracked(cluster: Any) -> TrackConfig | None:
    """What a `config.cluster.v3.Cluster` asks for, None if that is nothing."""
    message = cluster.track_cluster_stats
    config = TrackConfig(
        message.timeout_budgets or cluster.track_timeout_budgets,
        message.request_response_sizes,
        message.per_endpoint_stats,
    )
    return None if config == TrackConfig() else config


class Tracked:
    """The numbers of one cluster in one worker; `hosts` gives those that it has now.

    What a `former` cluster of the name has counted goes on.
    """

    def __init__(
        self, config: TrackConfig, hosts: Callable[[], Iterable[Host]], former: Tracked | None = None
    ) -> None:
        self.sizes = config.request_response_sizes
        self.budgets = config.timeout_budgets
        self._hosts: Callable[[], Iterable[Host]] = hosts if config.per_endpoint_stats else tuple
        self._histograms = {
            **({name: Histogram("bytes") for name in SIZES} if self.sizes else {}),
            **({name: Histogram("") for name in COUNTS} if self.sizes else {}),
            **({name: Histogram("") for name in BUDGETS} if self.budgets else {}),
        }

        if former is not None:
            kept = former._histograms
            self._histograms.update((name, kept[name]) for name in self._histograms if name in kept)

    def rest(self) -> None:
        """The cluster has gone."""
        self._hosts = tuple

    def record(self, name: str, value: int) -> None:
        """Count one value of one of the histograms."""
        self._histograms[name].record(value)

    def histograms(self) -> Mapping[str, Histogram]:
        """By name without prefix."""
        return self._histograms

    def counters(self) -> dict[str, int]:
        """Those of hosts, by name without prefix."""
        return {
            f"endpoint.{stat_name(host.address.text)}.{name}": getattr(host.stats, name)
            for host in self._hosts()
            for name in ENDPOINT_COUNTERS
        }

    def gauges(self) -> dict[str, int]:
        """The same."""
        result: dict[str, int] = {}
        for host in self._hosts():
            prefix = f"endpoint.{stat_name(host.address.text)}."
            for name in ENDPOINT_GAUGES:
                result[prefix + name] = getattr(host.stats, name)
            result[prefix + HEALTHY] = int(host.healthy)
        return result

    def shared(self) -> frozenset[str]:
        """The names of gauges that all workers hold alike."""
        return frozenset(f"endpoint.{stat_name(host.address.text)}.{HEALTHY}" for host in self._hosts())
