"""`http2.*` and `cluster.<name>.http2.*`, under Envoy's names."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from proxy.base.stats import StatGroup


class Sender(Protocol):
    """A connection whose waiting frames are counted."""

    def outbound_frames(self) -> tuple[int, int]:
        """(frames, control frames among them) that wait for the peer."""


class Http2CodecStats(StatGroup):
    """The numbers of all HTTP/2 connections of one side; `prefix` ends with "http2.".

    The frames that wait for a peer are asked of `senders` when somebody reads. `deferred_stream_close`,
    `headers_cb_no_stream`, `metadata_empty_frames` and `cookies_total_bytes_too_large` count what cannot happen
    here: nothing received waits for a stream that has closed, METADATA is refused, and cookies count as fields.
    """

    COUNTERS = (
        "cookies_total_bytes_too_large",
        "dropped_headers_with_underscores",
        "goaway_sent",
        "header_list_size_too_large",
        "header_overflow",
        "headers_cb_no_stream",
        "inbound_empty_frames_flood",
        "inbound_priority_frames_flood",
        "inbound_window_update_frames_flood",
        "keepalive_timeout",
        "metadata_empty_frames",
        "outbound_control_flood",
        "outbound_flood",
        "requests_rejected_with_underscores_in_headers",
        "rx_messaging_error",
        "rx_reset",
        "stream_refused_errors",
        "trailers",
        "tx_flush_timeout",
        "tx_reset",
    )
    GAUGES = (
        "deferred_stream_close",
        "outbound_control_frames_active",
        "outbound_frames_active",
        "pending_send_bytes",
        "streams_active",
    )

    cookies_total_bytes_too_large: int
    dropped_headers_with_underscores: int
    goaway_sent: int
    header_list_size_too_large: int
    header_overflow: int
    headers_cb_no_stream: int
    inbound_empty_frames_flood: int
    inbound_priority_frames_flood: int
    inbound_window_update_frames_flood: int
    keepalive_timeout: int
    metadata_empty_frames: int
    outbound_control_flood: int
    outbound_flood: int
    requests_rejected_with_underscores_in_headers: int
    rx_messaging_error: int
    rx_reset: int
    stream_refused_errors: int
    trailers: int
    tx_flush_timeout: int
    tx_reset: int
    deferred_stream_close: int
    pending_send_bytes: int
    streams_active: int

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.senders: WeakSet[Sender] = WeakSet()

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        result = super().gauges()
        for sender in self.senders:
            frames, control = sender.outbound_frames()
            result[f"{self.prefix}outbound_frames_active"] += frames
            result[f"{self.prefix}outbound_control_frames_active"] += control
        return result
