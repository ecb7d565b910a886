"""What may happen under pressure, in Envoy's words."""

from __future__ import annotations

from typing import Final

STOP_ACCEPTING_REQUESTS: Final = "envoy.overload_actions.stop_accepting_requests"
DISABLE_HTTP_KEEPALIVE: Final = "envoy.overload_actions.disable_http_keepalive"
STOP_ACCEPTING_CONNECTIONS: Final = "envoy.overload_actions.stop_accepting_connections"
REJECT_INCOMING_CONNECTIONS: Final = "envoy.overload_actions.reject_incoming_connections"
SHRINK_HEAP: Final = "envoy.overload_actions.shrink_heap"
REDUCE_TIMEOUTS: Final = "envoy.overload_actions.reduce_timeouts"

ACTIONS: Final = frozenset(
    {
        STOP_ACCEPTING_REQUESTS,
        DISABLE_HTTP_KEEPALIVE,
        STOP_ACCEPTING_CONNECTIONS,
        REJECT_INCOMING_CONNECTIONS,
        SHRINK_HEAP,
        REDUCE_TIMEOUTS,
    }
)

TCP_LISTENER_ACCEPT: Final = "envoy.load_shed_points.tcp_listener_accept"
DECODE_HEADERS: Final = "envoy.load_shed_points.http_connection_manager_decode_headers"

CREATING_CODEC: Final = "envoy.load_shed_points.hcm_ondata_creating_codec"
HTTP1_ABORT_DISPATCH: Final = "envoy.load_shed_points.http1_server_abort_dispatch"

POINTS: Final = frozenset({TCP_LISTENER_ACCEPT, DECODE_HEADERS, CREATING_CODEC, HTTP1_ABORT_DISPATCH})

# Those of Envoy that are not done here, so that a refusal can tell them from a mistake.
OTHERS: Final = frozenset(
    {
        "envoy.overload_actions.reset_high_memory_stream",
        "envoy.overload_actions.close_idle_http_connections",
        "envoy.load_shed_points.connection_pool_new_connection",
        "envoy.load_shed_points.http2_server_go_away_and_close_on_dispatch",
        "envoy.load_shed_points.http2_server_go_away_on_dispatch",
        "envoy.load_shed_points.http_downstream_filter_check",
    }
)

CONNECTION_IDLE: Final = "HTTP_DOWNSTREAM_CONNECTION_IDLE"
CONNECTION_MAX: Final = "HTTP_DOWNSTREAM_CONNECTION_MAX"

TIMERS: Final = frozenset({CONNECTION_IDLE, CONNECTION_MAX})
"""The timeouts that `reduce_timeouts` may reduce here."""
