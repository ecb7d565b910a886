"""What a downstream HTTP/1 connection knows, and what each of its parts may do.

The connection is one object (one that lives for a single request cannot afford more) whose methods stand in
three files: `connection_sending` (the response), `connection_timing` (deadlines), `http1_connection` (the request,
and the life of the connection).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from proxy.base.stream_info import ConnectionInfo
from proxy.codec.http1_body import BodyDecoder
from proxy.hcm.rejection import Rejection
from proxy.hcm.request_plan import client_key
from proxy.hcm.stream import Stream

if TYPE_CHECKING:
    from proxy.hcm.connection_manager import ConnectionManager
    from proxy.hcm.http1_connection import Http1ServerConnection


class ConnectionState(asyncio.Protocol):
    """See module. Times are monotonic seconds."""

    http2 = False
    transport: asyncio.Transport
    # Defaults on the class: a connection of one request never changes most of them.
    _stream: Stream | None = None
    _buffer = b""
    _decoder: BodyDecoder | None = None
    _requests = 0
    _closing = False  # close once the present response is out
    _client_closes = False
    _closed = False
    _lingering = False  # our close waits for the peer's, for `delayed_close_timeout`
    _linger_until = 0.0
    _read_disabled = 0
    _reading_paused = False
    _dispatching = False
    _client_paused = False
    #: Whether it has lived as long as it may.
    _too_old = False
    _wake_up: Any = None
    _head_started = 0.0
    #: An idle connection that is about to close answers one more request until then.
    _drain_until = 0.0
    #: The stream of a request whose head is not complete; it exists from the first byte, as in Envoy.
    _head_stream: Stream | None = None

    def __init__(self, manager: ConnectionManager, info: ConnectionInfo) -> None:
        self.manager = manager
        self.info = info
        self.now = manager.services.loop.time
        self._key = client_key(info)
        self._wake_at = manager.next_sweep
        self._last_request_end = info.start_time

    def _new_stream(self, now: float) -> Stream:
        stats = self.manager.stats
        stats.downstream_rq_total += 1
        stats.downstream_rq_http1_total += 1
        stats.downstream_rq_active += 1
        return Stream(cast("Http1ServerConnection", self), self.manager, now)

    def _reject_head(self, rejection: Rejection) -> None:
        """Answer a request whose head cannot be used."""
        stream = self._head_stream or self._new_stream(self.now())
        self._head_stream = None
        self._buffer = b""
        self._stream = stream
        stream.info.protocol = "HTTP/1.1"
        stream.begin_rejected(rejection)

    def _write(self, data: bytes) -> None:
        self.manager.stats.downstream_cx_tx_bytes_total += len(data)
        self.transport.write(data)

    def _close(self) -> None:
        """Close once everything written is out."""
        if not self._closed:
            self._closed = True
            self.transport.close()

    def close_after_response(self) -> None:
        """Announce the end with the response, and close after it."""
        self._closing = True

    def drain_after_response(self) -> None:
        """See `DownstreamCodec`: the response under way is the last one."""
        self._closing = True

    def abort_response(self) -> None:
        """See `DownstreamCodec`: only the end of the connection tells the client."""
        self.close_delayed()

    def close_delayed(self) -> None:
        """Stop serving; give the client `delayed_close_timeout` to read and to close first.

        Closing at once with unread bytes in the socket would reset the connection and could destroy the
        response on its way (RFC 9112 section 9.6).
        """
        if self._closed or self._lingering:
            return
        timeout = self.manager.config.delayed_close_timeout
        if not timeout:
            self._close()
            return
        self._lingering = True
        self._buffer = b""
        self._decoder = None
        self._linger_until = self.now() + timeout
        self.arm(self._linger_until)

    def pause_reading(self) -> None:
        """Stop reading; counted, each call needs its `resume_reading`."""
        self._read_disabled += 1
        if self._read_disabled == 1 and not self._closed:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""
        if not self._read_disabled:
            return
        self._read_disabled -= 1
        if self._read_disabled == 0 and not self._closed:
            self.transport.resume_reading()

    def arm(self, when: float) -> None:
        """Be woken at `when` or earlier."""
        if when < self._wake_at:
            timers = self.manager.services.timers
            if self._wake_up is not None:
                timers.cancel(self._wake_up)
            self._wake_at = when
            self._wake_up = timers.wake(when, self)

    def on_wake(self, now: float) -> None:
        """Act on what is due and ask for the next wake-up; see `Timers`."""
        raise NotImplementedError
