"""What one side of an HTTP/2 connection is configured with: `core.v3.Http2ProtocolOptions`, compiled."""

from __future__ import annotations

from msgspec import Struct


class KeepaliveOptions(Struct, frozen=True):
    """`core.v3.KeepaliveSettings`; times in seconds, 0 is off. `interval_jitter` is in percent."""

    interval: float = 0.0
    timeout: float = 0.0
    interval_jitter: float = 15.0
    connection_idle_interval: float = 0.0


class Http2Options(Struct, frozen=True):
    """Names and defaults are those of the proto as Envoy 1.40 applies them; sizes are in bytes.

    `max_headers_kb` and `max_headers_count` come from the connection manager or the cluster.
    `stream_buffer_bytes` is how much data of one stream waits for the peer before its sender is held up;
    once `connection_buffer_bytes` wait on all streams together, 64 KiB are enough.
    """

    hpack_table_size: int = 4096
    max_concurrent_streams: int = 1024
    initial_stream_window_size: int = 16 * 1024 * 1024
    initial_connection_window_size: int = 24 * 1024 * 1024
    allow_connect: bool = False
    max_outbound_frames: int = 10_000
    max_outbound_control_frames: int = 1_000
    max_consecutive_inbound_frames_with_empty_payload: int = 1
    max_inbound_priority_frames_per_stream: int = 100
    max_inbound_window_update_frames_per_data_frame_sent: int = 10
    override_stream_error_on_invalid_http_message: bool = False
    connection_keepalive: KeepaliveOptions | None = None
    custom_settings: tuple[tuple[int, int], ...] = ()
    max_headers_kb: int = 60
    max_headers_count: int = 100
    stream_buffer_bytes: int = 1024 * 1024
    connection_buffer_bytes: int = 4 * 1024 * 1024
