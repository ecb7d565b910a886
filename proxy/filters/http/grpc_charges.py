"""The numbers of gRPC requests: `cluster.<name>.grpc.<service>.<method>.*`, and `grpc-web` in place of `grpc`.

Shared by the filters that count them. Service and method come from the client, so their number is bounded:
Envoy makes stats for any, here what comes after the first `MAX_METHODS` counts without its name.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.base.stats import Histogram, StatGroup, StatRegistry

MAX_METHODS: Final = 4096
_MAX_STATUSES: Final = 64


class MethodCounts:
    """What has been counted of one method, or of all that have no numbers of their own."""

    __slots__ = ("counts", "times")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.times: Histogram | None = None

    def add(self, name: str, number: int = 1) -> None:
        """Raise a counter."""
        self.counts[name] = self.counts.get(name, 0) + number

    def charge(self, status: str | None) -> None:
        """A response with that `grpc-status`; None counts nothing."""
        if status is None:
            return
        # The upstream may write anything there.
        if status in self.counts or len(self.counts) < _MAX_STATUSES:
            self.add(status)
        self.charge_success(status == "0")

    def charge_success(self, success: bool) -> None:
        """A response with that outcome."""
        self.add("success" if success else "failure")
        self.add("total")

    def record_time(self, milliseconds: int) -> None:
        """How long the upstream took."""
        if self.times is None:
            self.times = Histogram()
        self.times.record(milliseconds)


class GrpcCharges(StatGroup):
    """Those of one cluster. `method` gives where a request counts."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._methods: dict[str, MethodCounts] = {}

    def method(self, protocol: str, names: tuple[str, str] | None) -> MethodCounts:
        """The numbers of a service and method; of all together for None. `protocol`: "grpc" or "grpc-web"."""
        key = f"{protocol}." if names is None else f"{protocol}.{names[0]}.{names[1]}."
        found = self._methods.get(key)
        if found is None:
            if names is not None and len(self._methods) >= MAX_METHODS:
                return self.method(protocol, None)
            found = self._methods[key] = MethodCounts()
        return found

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {
            f"{self.prefix}{key}{name}": value
            for key, method in self._methods.items()
            for name, value in method.counts.items()
        }

    def histograms(self) -> dict[str, Histogram]:
        """See `StatGroup`."""
        return {
            f"{self.prefix}{key}upstream_rq_time": method.times
            for key, method in self._methods.items()
            if method.times is not None
        }


def charges_of(registry: StatRegistry, cluster: Any) -> GrpcCharges:
    """The numbers of a `proxy.upstream.cluster.Cluster`, shared by all filters of the worker."""
    prefix = cluster.stats.prefix
    key = f"grpc {prefix}"
    known = registry.get(key)
    if isinstance(known, GrpcCharges):
        return known
    made = GrpcCharges(prefix)
    registry.add(key, made)
    return made
