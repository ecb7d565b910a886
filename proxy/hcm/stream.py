"""One request and its response: the thread that runs through filters, router and codec.

The connection calls `begin`, `on_request_data` and so on as bytes come; the upstream request calls the
`on_upstream_*` methods; both end in `_finish`. A request whose head was seen before and whose route needs no
filter takes the short way: the kept plan gives the bytes for the upstream at once.
"""

from __future__ import annotations

from typing import Final

from proxy.base.response_flags import ResponseFlag
from proxy.hcm.stream_reply import ReplyPart
from proxy.hcm.stream_request import RequestPart
from proxy.hcm.stream_response import ResponsePart
from proxy.hcm.stream_routing import RoutingPart
from proxy.router.cluster_action import ClusterAction
from proxy.router.grpc_timeout import stream_duration
from proxy.router.upstream_plan import timeout_body

#: The gRPC status of a stream that took too long as a whole; other timeouts say 14 (unavailable).
_DEADLINE_EXCEEDED: Final = 4


class Stream(RequestPart, RoutingPart, ResponsePart, ReplyPart):
    """See module."""

    def _apply_max_duration(self, action: ClusterAction) -> None:
        """Let the route's limit replace that of the connection manager."""
        duration = stream_duration(self.head.headers, action)
        if duration is not None:
            self.max_duration_deadline = self.info.start_time + duration if duration else 0.0

    def _on_upstream_too_long(self) -> None:
        self.upstream_deadline = 0.0
        if self.upstream is not None:
            self.upstream.cluster.stats.upstream_rq_max_duration_reached += 1
        self._time_out(
            504 if self.request_complete else 408,
            "upstream max stream duration reached",
            "upstream_max_stream_duration_reached",
            ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED,
        )

    def on_downstream_reset(self, flags: int, details: str | None) -> None:
        """The client has gone, or the connection fell to a protocol error."""
        if self.response_complete or self.destroyed:
            return
        info = self.info
        info.flags |= flags
        info.response_code_details = details
        self.manager.stats.downstream_rq_rx_reset += 1
        self._finish()

    def on_client_paused(self) -> None:
        """The client does not read as fast as the upstream sends."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def on_client_resumed(self) -> None:
        """The client reads again."""
        if self.upstream is not None:
            self.upstream.resume_reading()

    @property
    def shortest_timeout(self) -> float:
        """No deadline of a stream that begins now can come earlier than this many seconds from now."""
        timeout = self.route_timeout or 3600.0
        if self.idle_timeout and self.idle_timeout < timeout:
            timeout = self.idle_timeout
        return 0.0 if self.max_duration_deadline or self.upstream_deadline else timeout

    def next_deadline(self) -> float:
        """The earliest moment at which something of this stream may be due."""
        due = self.last_activity + self.idle_timeout if self.idle_timeout else 0.0
        for moment in (self.deadline, self.max_duration_deadline, self.upstream_deadline):
            if moment and (not due or moment < due):
                due = moment
        return due

    def on_time(self, now: float) -> None:
        """Act on whatever is due."""
        stats = self.manager.stats
        if self.max_duration_deadline and now >= self.max_duration_deadline:
            stats.downstream_rq_max_duration_reached += 1
            self._time_out(
                504 if self.request_complete else 408,
                "downstream duration timeout",
                "max_duration_timeout",
                0,
                _DEADLINE_EXCEEDED,
            )
        elif self.upstream_deadline and now >= self.upstream_deadline:
            self._on_upstream_too_long()
        elif self.deadline and now >= self.deadline:
            self._on_route_timeout()
        elif self.idle_timeout and now >= self.last_activity + self.idle_timeout:
            stats.downstream_rq_idle_timeout += 1
            status = 504 if self.request_complete else 408
            self._time_out(status, "stream timeout", "stream_idle_timeout", ResponseFlag.STREAM_IDLE_TIMEOUT)

    def _on_route_timeout(self) -> None:
        upstream = self.upstream
        self.deadline = 0.0
        status = 504 if self.upstream_plan is None else self.upstream_plan.timeout_status
        if upstream is not None and upstream.expire(status, started=self.response_started):
            self.manager.stats.rq_reset_after_downstream_response_started += 1
        self._time_out(
            status, timeout_body(status), "response_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
        )

    def _time_out(
        self, status: int, body: str, details: str, flags: int, grpc_status: int | None = None
    ) -> None:
        if self.responding:
            self.manager.stats.downstream_rq_tx_reset += 1
            self.manager.stats.downstream_rq_rx_reset += 1
            self.info.flags |= flags
            self.info.response_code_details = details
            self.connection.abort_response()
            self._finish()
        else:
            self.local_reply(status, body, details, flags, grpc_status=grpc_status)

    def _finish(self) -> None:
        """Once per stream: give back what it holds, log, and let the connection go on."""
        if self.destroyed:
            return
        self.destroyed = True
        upstream = self.upstream
        # References back are cut here: a cycle would live until the collector runs, and pausing for a hundred
        # thousand of them shows in the tail latency.
        if upstream is not None:
            if not upstream.over:
                upstream.abandon()
            if self.manager.counts_bytes:
                upstream.describe_bytes(self.info)
            self.upstream = None
        if self._mirrors is not None:
            for mirror in self._mirrors:
                mirror.leave()
            self._mirrors = None
        if self._filters is not None:
            self._filters.destroy()
            self._filters = None
        if self._write_paused:
            self._write_paused = False
            self.connection.resume_reading()
        if self.may_upgrade:
            self.manager.stats.downstream_cx_upgrades_active -= 1
        # Called by name, a method that the object itself holds would be looked for in its class first.
        clock = self.connection.now
        self.info.response_complete = now = clock()
        self.manager.stream_ended(self.info)
        if self.span is not None:
            self.describe_upstream()
            self.span.finish(self.info)
            self.span = None
        self.connection.on_stream_done(self, now)
