"""`udp.<stat_prefix>.*` and `cluster.<name>.udp.*`."""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stats import StatGroup


class UdpProxyStats(StatGroup):
    """The numbers of the filters with one `stat_prefix` in one worker: "downstream" is the clients' side."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "downstream_sess_no_route",
        "downstream_sess_rx_bytes",
        "downstream_sess_rx_datagrams",
        "downstream_sess_rx_errors",
        "downstream_sess_total",
        "downstream_sess_tx_bytes",
        "downstream_sess_tx_datagrams",
        "downstream_sess_tx_errors",
        "idle_timeout",
        "session_filter_config_missing",
    )
    GAUGES: ClassVar[tuple[str, ...]] = ("downstream_sess_active",)

    downstream_sess_no_route: int
    downstream_sess_rx_bytes: int
    downstream_sess_rx_datagrams: int
    downstream_sess_rx_errors: int
    downstream_sess_total: int
    downstream_sess_tx_bytes: int
    downstream_sess_tx_datagrams: int
    downstream_sess_tx_errors: int
    idle_timeout: int
    downstream_sess_active: int


class UdpClusterStats(StatGroup):
    """The numbers of all sessions with one cluster in one worker: "tx" is to its hosts."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "sess_rx_datagrams",
        "sess_rx_datagrams_dropped",
        "sess_rx_errors",
        "sess_tunnel_buffer_overflow",
        "sess_tunnel_failure",
        "sess_tunnel_success",
        "sess_tx_datagrams",
        "sess_tx_errors",
    )

    sess_rx_datagrams: int
    sess_rx_datagrams_dropped: int
    sess_rx_errors: int
    sess_tx_datagrams: int
    sess_tx_errors: int
