"""`tcp.<stat_prefix>.*`."""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stats import StatGroup


class TcpProxyStats(StatGroup):
    """The numbers of the filters with one `stat_prefix` in one worker.

    What is read is passed on in the same step, so that nothing is ever buffered on its way in.
    """

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "downstream_cx_no_route",
        "downstream_cx_rx_bytes_total",
        "downstream_cx_total",
        "downstream_cx_tx_bytes_total",
        "downstream_flow_control_paused_reading_total",
        "downstream_flow_control_resumed_reading_total",
        "early_data_received_count_total",
        "idle_timeout",
        "max_downstream_connection_duration",
        "upstream_flush_total",
    )
    GAUGES: ClassVar[tuple[str, ...]] = (
        "downstream_cx_rx_bytes_buffered",
        "downstream_cx_tx_bytes_buffered",
        "upstream_flush_active",
    )

    downstream_cx_no_route: int
    downstream_cx_rx_bytes_total: int
    downstream_cx_total: int
    downstream_cx_tx_bytes_total: int
    downstream_flow_control_paused_reading_total: int
    downstream_flow_control_resumed_reading_total: int
    early_data_received_count_total: int
    idle_timeout: int
    max_downstream_connection_duration: int
    upstream_flush_total: int
    downstream_cx_rx_bytes_buffered: int
    downstream_cx_tx_bytes_buffered: int
    upstream_flush_active: int
