"""Tries of requests that are logged by themselves: the router's `upstream_log`.

A kind of request becomes one that is logged by `logged`; the kinds themselves know nothing of it. An entry tells of
one try: its own start, status, flags and bytes of bodies; as in Envoy, what went over the wire is that of all tries
so far.
Source: `extensions.filters.http.router.v3.Router.upstream_log` and `upstream_log_options`.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, field

from proxy.access_log.logger import AccessLogger
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import Timers
from proxy.base.stream_info import StreamInfo
from proxy.codec.head_template import REQUEST_ID_HOLE
from proxy.codec.messages import ParsedResponse
from proxy.router.attempt import Attempt
from proxy.router.upstream_request import (
    FAILURE_FLAGS,
    RESET_FLAGS,
    PoolLookup,
    ResponseSink,
    UpstreamRequest,
)
from proxy.upstream.pool.api import PoolFailure, ResetReason

#: What a try notes in the `StreamInfo` of its stream when it has a connection.
_NOTED: Final = (
    "upstream_host",
    "upstream_connection",
    "upstream_pool_requested",
    "upstream_pool_ready",
    "upstream_first_byte_sent",
)
#: What is the same for all tries of a request.
_SHARED: Final = (
    "remote_address",
    "route_name",
    "route_metadata",
    "virtual_host_name",
    "virtual_host_metadata",
    "virtual_cluster_name",
    "dynamic_metadata",
    "filter_state",
)


class UpstreamLog(Struct, frozen=True):
    """Where entries go: one at the end of a try, with `begins` one when it has its connection.

    In between there is one each `interval` seconds, none where that is 0.0.
    """

    logger: AccessLogger
    timers: Timers
    begins: bool = False
    interval: float = 0.0
    #: Of requests that are logged here, by what they are otherwise.
    kinds: dict[type[UpstreamRequest], type[UpstreamRequest]] = field(default_factory=dict)


class _Periodic:
    """Logs a try that goes on."""

    def __init__(self, request: _Logging) -> None:
        self._request = request
        self._wake_up: Any = None

    def arm(self, now: float) -> None:
        """See `UpstreamLog.interval`."""
        log = self._request.log
        self._wake_up = log.timers.wake(now + log.interval, self)

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        self.arm(now)
        self._request.write("UpstreamPeriodic")

    def stop(self) -> None:
        """The try is over."""
        self._request.log.timers.cancel(self._wake_up)


class _Logging(UpstreamRequest):
    """Logs one try when it is over. `log` is set before it starts."""

    log: UpstreamLog
    _entry: StreamInfo
    _entry_sent = 0
    _entry_received = 0
    _flags = 0
    _expired = False
    _response: ParsedResponse | None = None
    _first_byte = 0.0
    #: A body that has come with a head, as long as nobody knows whether the response is to be passed on.
    _undecided: bytes | None = None
    _stale = False
    _logged = False
    #: Whether the numbers of the stream include what this try has sent and received.
    _told_bytes = False
    _periodic: _Periodic | None = None

    def start(self, pools: PoolLookup, *, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        self._of_stream: StreamInfo = self._stream.info
        self._clock = self.cluster.services.loop.time
        self._entry = StreamInfo(self._of_stream.connection, self._clock())
        self._dropped_header_bytes = self._of_stream.upstream_header_bytes_received
        super().start(pools, end_stream=end_stream)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamRequest`."""
        if self._connection is not None and not self._complete:
            self._entry_sent += len(data)
        super().send_data(data, end_stream)
        if end_stream:
            self._note_last_byte()

    def describe_bytes(self, info: StreamInfo) -> None:
        """See `UpstreamRequest`."""
        self._told_bytes = True
        super().describe_bytes(info)

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See `UpstreamRequest`."""
        super().send_trailers(trailers)
        self._note_last_byte()

    def redirect(self, stream: ResponseSink | None) -> None:
        """See `UpstreamRequest`: who stood between decides for the response."""
        if stream is not None:
            self._accept()
        super().redirect(stream)

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`."""
        held = sum(map(len, self._pending or ()))
        super().on_pool_ready(connection)
        of_stream, entry = self._of_stream, self._entry
        if of_stream.upstream_connection is not connection:
            return  # there was no room
        for name in _NOTED:
            setattr(entry, name, getattr(of_stream, name))
        connection.describe(entry)
        entry.protocol = entry.upstream_protocol
        if self.log.begins and not self._stale:
            self.write("UpstreamPoolReady", sent=False)
        self._entry_sent = held
        self._note_last_byte()
        if self.log.interval and not self.over:
            self._periodic = _Periodic(self)
            self._periodic.arm(self._clock())

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._response = response
        self._first_byte = self._clock()
        self._note_end(end_stream)
        self._undecided = body
        if not isinstance(self, Attempt) or self.owner is None:
            self._entry_received = len(body)
            self._undecided = None
        super().on_response(response, body, end_stream)
        self._accept()

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._entry_received += len(data)
        self._note_end(end_stream)
        super().on_response_data(data, end_stream)

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """See `PoolRequest`."""
        self._entry.response_trailers = trailers
        self._note_end(True)
        super().on_response_trailers(trailers)

    def drop_response(self, status: int) -> None:
        """See `UpstreamRequest`: nobody reads the body."""
        self._undecided = None
        if self.over:
            self._finish()
        super().drop_response(status)

    def expire(self, status: int, *, started: bool) -> bool:
        """See `UpstreamRequest`."""
        self._expired = True
        return super().expire(status, started=started)

    def time_out(self) -> None:
        """See `UpstreamRequest`."""
        if not self._expired:
            self._flags |= self._late_flag()
        super().time_out()

    def _late_flag(self) -> int:
        in_time = isinstance(self, Attempt) and (not self.deadline or self._clock() < self.deadline)
        if in_time and isinstance(self, Attempt) and self.idle_since:
            return ResponseFlag.STREAM_IDLE_TIMEOUT
        return ResponseFlag.UPSTREAM_REQUEST_TIMEOUT

    def on_reset(self, reason: ResetReason, detail: str) -> None:
        """See `PoolRequest`."""
        if not self.over:
            self._flags |= RESET_FLAGS[reason]
        super().on_reset(reason, detail)

    def on_stale(self) -> bool:
        """See `PoolRequest`: it goes on, with another connection."""
        self._stale = True
        again = super().on_stale()
        self._stale = False
        if again and self.over:
            self._finish()
        return again

    def _fail_before_response(self, failure: PoolFailure, detail: str) -> None:
        self._flags |= FAILURE_FLAGS[failure]
        if failure is not PoolFailure.OVERFLOW:
            self._entry.upstream_host = self.host
        if detail:
            self._entry.upstream_transport_failure_reason = detail
        self._finish()
        super()._fail_before_response(failure, detail)

    def _accept(self) -> None:
        if self._undecided is not None:
            self._entry_received += len(self._undecided)
            self._undecided = None
            if self.over:
                self._finish()

    def _end(self) -> None:
        super()._end()
        if self._undecided is None:
            self._finish()

    def _finish(self) -> None:
        if not (self._logged or self._stale):
            self._logged = True
            if self._periodic is not None:
                self._periodic.stop()
                self._periodic = None
            self.write("UpstreamEnd")

    def _note_end(self, end_stream: bool) -> None:
        if end_stream:
            self._entry.upstream_last_byte_received = self._clock()

    def _note_last_byte(self) -> None:
        of_stream = self._of_stream
        if of_stream.upstream_connection is self._entry.upstream_connection:
            self._entry.upstream_last_byte_sent = of_stream.upstream_last_byte_sent

    def write(self, log_type: str, *, sent: bool = True) -> None:
        """Log the try as it is now; it has `sent` nothing when it has just got its connection."""
        entry, of_stream = self._entry, self._of_stream
        for name in _SHARED:
            setattr(entry, name, getattr(of_stream, name))
        entry.upstream_cluster = of_stream.upstream_cluster or self.cluster
        outgoing: Any = self.head
        entry.request = entry.upstream_request_head = _with_id(outgoing.head, self.request_id)
        entry.response_complete = self._clock()
        entry.bytes_received, entry.bytes_sent = self._entry_received, self._entry_sent
        entry.flags = self._flags
        entry.upstream_wire_bytes_sent = of_stream.upstream_wire_bytes_sent
        entry.upstream_wire_bytes_received = of_stream.upstream_wire_bytes_received
        entry.upstream_header_bytes_sent = of_stream.upstream_header_bytes_sent
        entry.upstream_header_bytes_received = self._dropped_header_bytes
        if sent and not self._told_bytes:
            super().describe_bytes(entry)
        response = self._response
        if response is not None:
            entry.response = response.head
            entry.response_code = response.head.status
            entry.upstream_first_byte_received = self._first_byte
            entry.upstream_header_bytes_received += response.header_bytes
        if entry.upstream_connection is not None:
            entry.downstream_wire_bytes_received = of_stream.downstream_wire_bytes_received
            entry.downstream_header_bytes_received = of_stream.downstream_header_bytes_received
        self.log.logger.log(entry, log_type)


def _with_id(head: RequestHead, request_id: bytes) -> RequestHead:
    """The head as it was sent: one that serves several requests has a hole for their ids."""
    if head.headers.get("x-request-id") == REQUEST_ID_HOLE:
        head = head.copy()
        head.headers.set("x-request-id", request_id.decode("latin-1"))
    return head


def logged(kind: type[UpstreamRequest], log: UpstreamLog) -> type[UpstreamRequest]:
    """The kind of request that is as `kind` and goes to this log, which keeps it."""
    found = log.kinds.get(kind)
    if found is None:
        found = log.kinds[kind] = type(f"Logged{kind.__name__}", (_Logging, kind), {"log": log})
    return found
