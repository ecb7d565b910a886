"""Deadlines and the end of a downstream HTTP/2 connection: idle, drained, too old, silent, broken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo
from proxy.codec.http2_connection import Http2Connection
from proxy.connection.http2_keepalive import Http2Keepalive
from proxy.hcm.rejection import Rejection
from proxy.hcm.request_plan import client_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.hcm.connection_manager import ConnectionManager
    from proxy.hcm.http2_stream import Http2ServerStream
    from proxy.hcm.stream import Stream

#: As plain numbers: an operation on an `IntFlag` costs 2 us.
_TERMINATION: Final = int(ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION)
_IDLE: Final = int(ResponseFlag.STREAM_IDLE_TIMEOUT)


class Http2Lifetime(Http2Connection, asyncio.Protocol):
    """See module. Times are monotonic seconds.

    `wake_at` is when the connection is next looked after. `end_flags` say why all streams end, once they
    do. From `drain_until` on no further requests are taken (`closing`). `lingering` is the time between
    our last byte and the close, up to `linger_until`.
    """

    transport: asyncio.Transport
    end_flags = 0
    drain_until = 0.0
    closing = False
    lingering = False
    linger_until = 0.0
    requests = 0
    _started = False
    _closed = False
    _too_old = False
    _wake_up: Any = None
    _keepalive: Http2Keepalive | None = None

    def __init__(self, manager: ConnectionManager, info: ConnectionInfo) -> None:
        super().__init__(manager.http2_options, client=False, stats=manager.http2_stats)
        self.manager = manager
        self.info = info
        self.time = manager.services.loop.time
        self.key = client_key(info)
        self.wake_at = manager.next_sweep
        self._last_request_end = info.start_time

    def now(self) -> float:
        """Monotonic seconds."""
        return self.time()

    # -- wake-ups

    def arm(self, when: float) -> None:
        """Be woken at `when` or earlier."""
        if when < self.wake_at:
            self._cancel_wake_up()
            self.wake_at = when
            self._wake_up = self.manager.services.timers.wake(when, self)

    def _cancel_wake_up(self) -> None:
        if self._wake_up is not None:
            self.manager.services.timers.cancel(self._wake_up)
            self._wake_up = None

    def arm_stream(self, stream: Stream) -> None:
        """Be woken for the next deadline of `stream`."""
        due = stream.next_deadline()
        if due and due < self.wake_at:
            self.arm(due)
        config = self.manager.config
        if config.request_timeout and not stream.request_complete:
            self.arm(stream.info.start_time + config.request_timeout)
        if config.request_headers_timeout and not stream.info.request_headers_complete:
            self.arm(stream.info.start_time + config.request_headers_timeout)

    def _arm_idle(self) -> None:
        if self._last_request_end + self.manager.shortest_idle < self.wake_at:
            self.arm(self._last_request_end + self.manager.shortest_idle)

    def sweep(self, now: float, until: float) -> None:
        """Look after a connection without a wake-up of its own; the next look comes at `until`."""
        if self._wake_up is None:
            watched = self.streams or self.lingering or self.drain_until
            if self.manager.config.max_connection_duration and not self._too_old:
                watched = True
            if not watched and self._last_request_end + self.manager.shortest_idle > until:
                self.wake_at = until
            else:
                self.on_wake(now)

    def on_wake(self, now: float) -> None:
        """Act on what is due and ask for the next wake-up; see `Timers`."""
        if self._closed:
            return
        # What is due before the next sweep is asked for below, and the sweep looks after the rest.
        self.wake_at = self.manager.next_sweep
        self._wake_up = None
        if self.lingering:
            if now >= self.linger_until:
                self.manager.stats.downstream_cx_delayed_close_timeout += 1
                self.close()
            else:
                self.arm(self.linger_until)
            return
        if self.streams:
            self._check_streams(cast("Iterable[Http2ServerStream]", list(self.streams.values())), now)
        else:
            self._check_idle(now)
        if self._closed:
            return
        self._check_age(now)
        if self.drain_until and not self.closing:
            if now >= self.drain_until:
                self.final_goaway()
                self.closing = True
                self.close_if_done()
            else:
                self.arm(self.drain_until)

    # -- streams

    def _check_streams(self, streams: Iterable[Http2ServerStream], now: float) -> None:
        for one in streams:
            stream = one.stream
            if stream is None:
                self._check_unsent(one, now)
                continue
            if not self._request_timed_out(one, stream, now):
                stream.on_time(now)
            if one.stream is not None:
                self.arm_stream(stream)

    def _check_unsent(self, one: Http2ServerStream, now: float) -> None:
        """A response that the client does not let out may wait, but not for ever."""
        timeout = one.flush_timeout
        if timeout and not one.closed:
            if now >= one.done_at + timeout:
                self.stats.tx_flush_timeout += 1
                one.reset_now()
            else:
                self.arm(one.done_at + timeout)

    def _request_timed_out(self, one: Http2ServerStream, stream: Stream, now: float) -> bool:
        config = self.manager.config
        stats = self.manager.stats
        started = stream.info.start_time
        if config.request_timeout and not stream.request_complete and now >= started + config.request_timeout:
            stats.downstream_rq_timeout += 1
            one.reply(Rejection(408, "request_overall_timeout", "request timeout"))
            return True
        if stream.info.request_headers_complete:
            return False
        if config.request_headers_timeout and now >= started + config.request_headers_timeout:
            stats.downstream_rq_header_timeout += 1
            one.reply(Rejection(408, "request_header_timeout", "request header timeout"))
        elif stream.idle_timeout and now >= started + stream.idle_timeout:
            stats.downstream_rq_idle_timeout += 1
            one.reply(Rejection(408, "stream_idle_timeout", "stream timeout", _IDLE))
        return True

    # -- the connection

    def _check_idle(self, now: float) -> None:
        timeout = self.manager.config.idle_timeout
        if not timeout or self.drain_until:
            return
        end = self._last_request_end + timeout
        if now >= end:
            self.manager.stats.downstream_cx_idle_timeout += 1
            self._drain_or_close()
        else:
            self.arm(end)

    def _check_age(self, now: float) -> None:
        duration = self.manager.config.max_connection_duration
        if not duration or self._too_old:
            return
        end = self.info.start_time + duration
        if now >= end:
            self._too_old = True
            self.manager.stats.downstream_cx_max_duration_reached += 1
            self._drain_or_close()
        else:
            self.arm(end)

    def _drain_or_close(self) -> None:
        if self._started:
            self.drain()
        else:
            self.close()

    def drain(self) -> None:
        """Announce the end; requests that come within `drain_timeout` are still served."""
        if self.drain_until or self._closed or self.lingering:
            return
        self.graceful_goaway()
        self.drain_until = self.now() + self.manager.config.drain_timeout
        self.arm(self.drain_until)

    def drain_for_listener(self) -> None:
        """The listener or the whole proxy is on its way out."""
        if not self.drain_until and not self._closed and not self.lingering:
            self.manager.stats.downstream_cx_drain_close += 1
            self.drain()

    def close_if_idle(self, until: float) -> None:
        """While draining: a connection without a stream, whose last one ended before `until`, closes."""
        if self.streams:
            self.drain()
        elif self._last_request_end <= until:
            if self._started:
                # So that the client may send again what is on its way.
                self.final_goaway()
            self.close()

    # -- PING

    def _start_keepalive(self) -> None:
        options = self.options.connection_keepalive
        if options is not None and options.interval:
            services = self.manager.services
            self._keepalive = Http2Keepalive(options, self, services.timers, services.random, self.now())

    def on_ping_ack(self, opaque: bytes) -> None:  # noqa: ARG002
        """See `Http2Connection`."""
        if self._keepalive is not None:
            self._keepalive.on_ack(self.now())

    def on_keepalive_timeout(self) -> None:
        """See `PingingConnection`."""
        if not self._closed and not self.lingering:
            self.stats.keepalive_timeout += 1
            self.abort(_TERMINATION, "")

    # -- the end

    def close_if_done(self) -> None:
        """Close a connection that takes no more requests once the last of them is through."""
        if not self.streams:
            self.close_delayed()

    def close_delayed(self) -> None:
        """Serve no longer; give the client `delayed_close_timeout` to read and to close first.

        Closing at once with unread bytes in the socket would reset the connection and could destroy what is on
        its way.
        """
        if self._closed or self.lingering:
            return
        self._end_streams(_TERMINATION, "", local=True)
        timeout = self.manager.config.delayed_close_timeout
        if not timeout:
            self.close()
            return
        self._flush()
        self.lingering = True
        self.linger_until = self.now() + timeout
        self.arm(self.linger_until)

    def close(self) -> None:
        """Close once everything written is out."""
        if not self._closed:
            self._end_streams(_TERMINATION, "", local=True)
            self._flush()
            self._closed = True
            self.transport.close()

    def abort(self, flags: int, details: str) -> None:
        """Drop the connection without a flush."""
        if not self._closed:
            self._closed = True
            self._end_streams(flags, details, local=True)
            self.transport.abort()

    def _end_streams(self, flags: int, details: str, *, local: bool) -> None:
        if self.end_flags:
            return
        self.end_flags = flags
        if self.streams:
            self.manager.count_ended_requests(local=local)
        self.terminate(details)

    def _flush(self) -> None:
        """Write out what is queued."""
        raise NotImplementedError
