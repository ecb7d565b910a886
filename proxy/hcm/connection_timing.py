"""Deadlines of a connection and its stream, which share one wake-up."""

from __future__ import annotations

from proxy.base.response_flags import ResponseFlag
from proxy.hcm.connection_sending import SendingPart
from proxy.hcm.rejection import Rejection
from proxy.hcm.stream import Stream


class TimingPart(SendingPart):
    """See module."""

    def _arm_idle(self) -> None:
        manager = self.manager
        if self.info.start_time + manager.shortest_idle < self._wake_at:
            self.arm(self.info.start_time + manager.shortest_idle)

    def _arm_stream(self, stream: Stream) -> None:
        due = stream.next_deadline()
        if due and due < self._wake_at:
            self.arm(due)
        config = self.manager.config
        if config.request_timeout and not stream.request_complete:
            self.arm(stream.info.start_time + config.request_timeout)

    def on_wake(self, now: float) -> None:
        """Act on what is due and ask for the next wake-up; see `Timers`."""
        if self._closed:
            return
        # What is due before the next sweep is asked for below, and the sweep looks after the rest.
        self._wake_at = self.manager.next_sweep
        self._wake_up = None
        if self._lingering:
            if now >= self._linger_until:
                self.manager.stats.downstream_cx_delayed_close_timeout += 1
                self._close()
            else:
                self.arm(self._linger_until)
            return
        stream = self._stream
        if stream is not None:
            if not self._request_timed_out(stream, now):
                stream.on_time(now)
            if self._stream is not None:
                self._arm_stream(stream)
        elif self._head_stream is not None:
            self._check_slow_head(self._head_stream, now)
        elif self._idle_timed_out(now):
            return
        config = self.manager.config
        if config.max_connection_duration and not (self._closed or self._drain_until or self._too_old):
            end = self.info.start_time + config.max_connection_duration
            if now >= end:
                self._on_max_duration(now)
            else:
                self.arm(end)

    def _request_timed_out(self, stream: Stream, now: float) -> bool:
        timeout = self.manager.config.request_timeout
        if not timeout or stream.request_complete or now < stream.info.start_time + timeout:
            return False
        self.manager.stats.downstream_rq_timeout += 1
        stream.local_reply(408, "request timeout", "request_overall_timeout")
        return True

    def _idle_timed_out(self, now: float) -> bool:
        """Handle the deadline of a connection without a stream; True if it is being closed."""
        if self._drain_until:
            if now >= self._drain_until:
                self.close_delayed()
                return True
            self.arm(self._drain_until)
            return False
        timeout = self.manager.config.idle_timeout
        if timeout:
            end = self._last_request_end + timeout
            if now >= end:
                self.manager.stats.downstream_cx_idle_timeout += 1
                if not self._requests:
                    self._close()
                    return True
                return self._drain(now)
            self.arm(end)
        return False

    def _drain(self, now: float) -> bool:
        """Close after `drain_timeout`, in which a request may still come: the client may have sent it already.

        True if that is now.
        """
        timeout = self.manager.config.drain_timeout
        if not timeout:
            self._close()
            return True
        self._drain_until = now + timeout
        # The next request is the last one.
        self._requests = self.manager.max_requests - 1
        self.arm(self._drain_until)
        return False

    def _check_slow_head(self, stream: Stream, now: float) -> None:
        config = self.manager.config
        stats = self.manager.stats
        started = self._head_started
        if config.request_headers_timeout and now >= started + config.request_headers_timeout:
            stats.downstream_rq_header_timeout += 1
            self._reject_head(Rejection(408, "request_header_timeout", "request header timeout", close=True))
        elif config.request_timeout and now >= started + config.request_timeout:
            stats.downstream_rq_timeout += 1
            self._reject_head(Rejection(408, "request_overall_timeout", "request timeout", close=True))
        elif stream.idle_timeout and now >= started + stream.idle_timeout:
            stats.downstream_rq_idle_timeout += 1
            self._reject_head(
                Rejection(
                    408, "stream_idle_timeout", "stream timeout", ResponseFlag.STREAM_IDLE_TIMEOUT, close=True
                )
            )
        else:
            for timeout in (config.request_headers_timeout, config.request_timeout, stream.idle_timeout):
                if timeout:
                    self.arm(started + timeout)

    def _on_max_duration(self, now: float) -> None:
        self.manager.stats.downstream_cx_max_duration_reached += 1
        self._too_old = True
        if self._stream is not None or self._head_stream is not None:
            self._closing = True
        elif not self._requests:
            # Nobody knows yet that HTTP is spoken here.
            self._close()
        else:
            self._drain(now)

    def forget_heads(self) -> None:
        """See `ServerConnection`: an HTTP/1 connection keeps none."""

    def sweep(self, now: float, until: float) -> None:
        """Look after a connection without a wake-up of its own; the next look comes at `until`."""
        if self._wake_up is None:
            idle = self._stream is None and self._head_stream is None and not self._lingering
            # The end of a connection's life does not move with its requests.
            idle = idle and not self.manager.config.max_connection_duration
            if idle and self._last_request_end + self.manager.shortest_idle > until:
                self._wake_at = until
            else:
                self.on_wake(now)

    def close_if_idle(self, until: float) -> None:
        """While draining: a connection without a stream, whose last one ended before `until`, closes."""
        if self._stream is None and self._head_stream is None:
            if self._last_request_end <= until:
                self._close()
        else:
            self._closing = True
