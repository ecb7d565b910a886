"""What the tests of HTTP/2 floods share: one config with low limits, and what is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support import http2_frames as h2
from tests.support.compare import Difference
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    file_log,
    http2_cluster,
    listener,
    route,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.http2_origin import Http2Answer, Http2Script, OriginStream

#: Low limits, so that a case is over soon.
FRAMES, CONTROL_FRAMES = 1000, 100
LIMITS = {"max_outbound_frames": FRAMES, "max_outbound_control_frames": CONTROL_FRAMES}
LISTENERS = ("plain", "strict", "lenient", "hasty", "idle", "pinging", "few", "picky", "wide", "roomy")
COUNTERS = (
    "dropped_headers_with_underscores",
    "header_overflow",
    "inbound_empty_frames_flood",
    "inbound_priority_frames_flood",
    "inbound_window_update_frames_flood",
    "keepalive_timeout",
    "outbound_control_flood",
    "outbound_flood",
    "rx_messaging_error",
    "stream_refused_errors",
    "tx_flush_timeout",
)
CODEC_STATS = tuple(f"http2.{name}" for name in COUNTERS)
STATS = (
    *CODEC_STATS,
    "http.ingress.downstream_cx_protocol_error",
    "http.ingress.downstream_cx_idle_timeout",
    "http.ingress.downstream_cx_max_duration_reached",
    "http.ingress.downstream_cx_overload_disable_keepalive",
    "http.ingress.downstream_rq_idle_timeout",
    "http.ingress.downstream_rq_too_many_premature_resets",
    *(f"cluster.{cluster}.http2.{name}" for cluster in ("origin", "strict", "lenient") for name in COUNTERS),
    *(
        f"cluster.{cluster}.{name}"
        for cluster in ("origin", "strict", "lenient")
        for name in ("upstream_cx_protocol_error", "upstream_rq_rx_reset")
    ),
)
HELLO = Http2Answer()
BIG_WINDOWS = {h2.INITIAL_WINDOW_SIZE: h2.MAX_WINDOW}
OPEN_CONNECTION = h2.window_update(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW)


def _listener(name: str, cluster: str = "origin", http2: Json | None = None, **hcm: Any) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route(cluster, "/", timeout="0s")], ["a"])]}
    fields = {
        "codec_type": "HTTP2",
        "delayed_close_timeout": "0.1s",
        "http2_protocol_options": {**LIMITS, **(http2 or {})},
        "access_log": [file_log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")],
        **hcm,
    }
    return listener([connection_manager(table, **fields)], name)


def flood_config() -> Json:
    strict = {"max_consecutive_inbound_frames_with_empty_payload": 0}
    lenient = {"override_stream_error_on_invalid_http_message": True}
    return bootstrap(
        [
            _listener("plain"),
            _listener("strict", "strict", strict),
            _listener("lenient", "lenient", lenient),
            _listener("hasty", stream_idle_timeout="1s"),
            _listener("idle", common_http_protocol_options={"idle_timeout": "0.4s"}, drain_timeout="0.2s"),
            _listener("pinging", http2={"connection_keepalive": {"interval": "0.3s", "timeout": "0.2s"}}),
            _listener("few", http2={"max_concurrent_streams": 2}),
            _listener("roomy", "roomy"),
            _listener("picky", max_request_headers_kb=8),
            {**_listener("wide"), "per_connection_buffer_limit_bytes": 1 << 30},
        ],
        [
            http2_cluster("origin", http2=LIMITS),
            http2_cluster("roomy", "{{origin_port}}"),
            http2_cluster("strict", "{{origin_port}}", http2={**LIMITS, **strict}),
            http2_cluster("lenient", "{{origin_port}}", http2={**LIMITS, **lenient}),
        ],
    )


def agree(
    pair: Pair,
    scenario: Callable[[Side], Any],
    script: Http2Script = HELLO,
    stats: tuple[str, ...] = STATS,
) -> Any:
    """`scenario` and the counters of floods must come to the same on both sides; what it came to."""

    def run(side: Side) -> Any:
        side.origin.script(script)
        return scenario(side)

    with pair.same_stats(*stats):
        envoy, outrider = pair.both(run)
        pair.check([] if envoy == outrider else [Difference("scenario", envoy, outrider)])
    return outrider


def connect(side: Side, name: str = "plain", **options: Any) -> Http2Client:
    return Http2Client(side.proxy.ports[name], **options)


def bomb(references: int) -> bytes:
    """A field of 4,000 bytes entered into the table once and then named again and again."""
    value = b"x" * 3900
    entry = b"\x40" + h2.integer(5, 7) + b"bombs" + h2.integer(len(value), 7) + value
    head = h2.request(1)[9:]
    return head + entry + bytes([0x80 | 62]) * references


def never(stream: OriginStream) -> None:
    """An origin that does not answer."""
