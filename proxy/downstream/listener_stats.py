"""Statistics of listeners, under Envoy's names."""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stats import Histogram, StatGroup


class ListenerStats(StatGroup):
    """`listener.<address>.*` of one worker, with its `worker_<n>.*` twins."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "downstream_cx_total",
        "downstream_cx_destroy",
        "downstream_cx_overflow",
        "downstream_cx_overload_reject",
        "downstream_cx_transport_socket_connect_timeout",
        "downstream_global_cx_overflow",
        "downstream_listener_filter_error",
        "downstream_listener_filter_remote_close",
        "downstream_pre_cx_timeout",
        "extension_config_missing",
        "network_extension_config_missing",
        "no_filter_chain_match",
    )
    GAUGES: ClassVar[tuple[str, ...]] = ("downstream_cx_active", "downstream_pre_cx_active")
    HISTOGRAMS: ClassVar[dict[str, str]] = {"downstream_cx_length_ms": "ms"}

    downstream_cx_total: int
    downstream_cx_destroy: int
    downstream_cx_overflow: int
    downstream_cx_overload_reject: int
    downstream_cx_transport_socket_connect_timeout: int
    downstream_global_cx_overflow: int
    downstream_listener_filter_error: int
    downstream_listener_filter_remote_close: int
    downstream_pre_cx_timeout: int
    extension_config_missing: int
    network_extension_config_missing: int
    no_filter_chain_match: int
    downstream_cx_active: int
    downstream_pre_cx_active: int
    downstream_cx_length_ms: Histogram

    def __init__(self, prefix: str, worker: int) -> None:
        super().__init__(prefix)
        self._worker = f"{prefix}worker_{worker}."

    def counters(self) -> dict[str, int]:
        """With the twin of `downstream_cx_total`."""
        values = super().counters()
        values[f"{self._worker}downstream_cx_total"] = self.downstream_cx_total
        return values

    def gauges(self) -> dict[str, int]:
        """With the twin of `downstream_cx_active`."""
        values = super().gauges()
        values[f"{self._worker}downstream_cx_active"] = self.downstream_cx_active
        return values

    def histograms(self) -> dict[str, Histogram]:
        """With `connections_accepted_per_socket_event`: the event loop accepts one an event."""
        values = super().histograms()
        accepted = Histogram("")
        total = self.downstream_cx_total + self.downstream_cx_overflow + self.downstream_global_cx_overflow
        if total:
            accepted.counts[1] = total
        values[f"{self.prefix}connections_accepted_per_socket_event"] = accepted
        return values
