"""One try of one request on one pooled connection: pick a host, send, relay, count.

After Envoy's `Router::UpstreamRequest`. The stream behind it hears of exactly one outcome: a response, or a
failure with status, flags and details.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import grpc_status, http_of_status
from proxy.codec.messages import ParsedResponse
from proxy.codec.proxy_protocol import FILTER_STATE, ProxyData
from proxy.connection.upstream_source import SourcedKey
from proxy.router.response_stats import Charges
from proxy.upstream.cluster import Cluster
from proxy.upstream.cluster_config import UpstreamProtocol
from proxy.upstream.host import Host
from proxy.upstream.outlier.error_matcher import judged_by
from proxy.upstream.pool.api import (
    FOR_HTTP2_CLIENTS,
    FOR_RAW_BYTES,
    OutgoingHead,
    PoolFailure,
    ResetReason,
    ServerName,
    UpstreamConnection,
)

FAILURE_FLAGS: Final = {
    PoolFailure.OVERFLOW: ResponseFlag.UPSTREAM_OVERFLOW,
    PoolFailure.LOCAL_CONNECT: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    PoolFailure.REMOTE_CONNECT: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    PoolFailure.TIMEOUT: ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
}
RESET_FLAGS: Final = {
    ResetReason.CONNECTION_TERMINATION: ResponseFlag.UPSTREAM_CONNECTION_TERMINATION,
    ResetReason.PROTOCOL_ERROR: ResponseFlag.UPSTREAM_PROTOCOL_ERROR,
    ResetReason.LOCAL_RESET: ResponseFlag.LOCAL_RESET,
    ResetReason.REMOTE_RESET: ResponseFlag.UPSTREAM_REMOTE_RESET,
    ResetReason.REMOTE_REFUSED_STREAM: ResponseFlag.UPSTREAM_REMOTE_RESET,
    ResetReason.CONNECT_ERROR: ResponseFlag.UPSTREAM_REMOTE_RESET,
    ResetReason.OVERFLOW: ResponseFlag.UPSTREAM_OVERFLOW,
}
#: Interim responses that Envoy relays; one of them counts as a started response in the details of a failure.
RELAYED_INTERIM: Final = frozenset({100, 102, 103, 104})
#: In a response: the host's health checks would fail from now on.
_IMMEDIATE_FAILURE: Final = "x-envoy-immediate-health-check-fail"
_BODY: Final = "upstream connect error or disconnect/reset before headers. reset reason: "

#: Makes the pool of a host that `Host.pools` does not have yet under a key.
PoolLookup = Callable[[Cluster, Host, Any], Any]


class ResponseSink(Protocol):
    """Who hears of the outcome: a stream, or what stands in for one behind a mirrored request."""

    info: StreamInfo

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """A 1xx response other than 101."""

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """The response head, with what has come of the body."""

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """More of the body."""

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:
        """Trailers, which end the response."""

    def on_upstream_failure(
        self, status: int, body: str, details: str, flags: int, host: Any, *, overloaded: bool = False
    ) -> None:
        """No response came and none will."""

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:
        """The upstream broke off in the middle of the response."""

    def on_upstream_write_paused(self) -> None:
        """The upstream does not read as fast as it is sent to."""

    def on_upstream_write_resumed(self) -> None:
        """The upstream reads again."""


class UpstreamRequest:
    """See module. `request_id` goes into the place that `head` has for it. When `over`, nothing more will come."""

    preamble = b""
    client_speaks_http2 = False
    #: What the request wants a TLS connection to be for, if its cluster leaves that to requests.
    server_name: ServerName | None = None
    _outcome_open = False
    _connection: UpstreamConnection | None = None
    _pool: Any = None
    _pending_bytes = 0
    _complete = False
    _counted = False
    _response_started = False
    _interim_seen = False
    #: Whether it was sent again because its first connection was stale.
    _repeated = False
    #: Whether the head of the response told of the host's load, so that trailers need not be asked.
    _load_reported = False
    over = False
    #: Why no response came.
    reason: PoolFailure | ResetReason | None = None
    wire_bytes_received = 0
    wire_bytes_sent = 0
    header_bytes_sent = 0

    def __init__(
        self,
        stream: ResponseSink,
        cluster: Cluster,
        host: Host,
        priority: int,
        method: str,
        head: OutgoingHead,
        request_id: bytes,
    ) -> None:
        self._stream: Any = stream
        self.cluster = host.cluster or cluster
        #: Where responses are counted: an aggregate counts those of its members' hosts.
        self._charged = cluster.stats
        self.host = host
        self.priority = priority
        self.method = method
        self.head = head
        self.request_id = request_id
        self.upgrading = ""
        #: Whether the request is unpacked here, and its bytes go on as they are.
        self.raw = False
        #: Whether the status that ends a gRPC response tells how the host did.
        self.grpc = False
        self.charges: Charges | None = None
        self._pending: list[bytes] | None = None
        self._pending_trailers: HeaderMap | None = None

    # -- the stream's side

    def redirect(self, stream: ResponseSink | None) -> None:
        """Tell `stream` of everything from now on; None when there is nothing more to tell."""
        self._stream = stream

    def take_after(self, former: UpstreamRequest) -> None:
        """Be another try of the same request as `former`."""
        self.charges = former.charges
        self.client_speaks_http2 = former.client_speaks_http2
        self.server_name = former.server_name
        self.grpc = former.grpc

    def start(self, pools: PoolLookup, *, end_stream: bool) -> None:
        """Take a connection from the host's pool, or wait for one. `end_stream`: no body follows."""
        self._complete = end_stream
        key: Any = self.priority
        if self.raw:
            key += FOR_RAW_BYTES
        elif self.client_speaks_http2 and self.cluster.config.protocol is UpstreamProtocol.DOWNSTREAM:
            key += FOR_HTTP2_CLIENTS
        if self.server_name is not None:
            key = (key, self.server_name)
        source = self._stream.info.connection.upstream_source
        if source is not None:
            key = SourcedKey(key, source)
        pool = self.host.pools.get(key)
        if pool is None:
            pool = pools(self.cluster, self.host, key)
        self._pool = pool
        connection = pool.take(self)
        if connection is None:
            self._stream.info.upstream_pool_requested = pool.now()
            pool.wait(self)
        else:
            self.on_pool_ready(connection)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Send (or hold) body bytes; after the end, nothing changes any more."""
        if self.over or self._complete:
            return
        connection = self._connection
        if end_stream:
            self._complete = True
            if connection is not None:
                self._stream.info.upstream_last_byte_sent = self._pool.now()
        if connection is not None:
            connection.send_data(data, end_stream)
        elif data:
            self.hold(data)

    def send_trailers(self, trailers: HeaderMap) -> None:
        """Complete the request with trailers."""
        if self.over or self._complete:
            return
        self._complete = True
        if self._connection is None:
            self._pending_trailers = trailers
        else:
            self._stream.info.upstream_last_byte_sent = self._pool.now()
            self._connection.send_trailers(trailers)

    def hold(self, data: bytes) -> None:
        """Keep body bytes until there is a connection."""
        if self._pending is None:
            self._pending = []
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > self.cluster.config.buffer_limit:
            self._stream.on_upstream_write_paused()

    def abandon(self) -> None:
        """The stream no longer wants this try; its connection closes unless it was through."""
        if self.over:
            return
        if self._connection is None:
            if self._pool is not None:
                self._pool.cancel(self)
        else:
            self._connection.abandon()
        self._end()

    def describe_bytes(self, info: StreamInfo) -> None:
        """Add to `info` what went over the wire."""
        info.upstream_header_bytes_sent += self.header_bytes_sent
        info.upstream_wire_bytes_sent += self.wire_bytes_sent
        info.upstream_wire_bytes_received += self.wire_bytes_received

    def pause_reading(self) -> None:
        """The client does not keep up."""
        if self._connection is not None and not self.over:
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """The client keeps up again."""
        if self._connection is not None and not self.over:
            self._connection.resume_reading()

    def _end(self) -> None:
        self.over = True
        self._connection = None
        if self._counted:
            self._counted = False
            self.cluster.breakers[self.priority].requests.release()
            self.cluster.stats.upstream_rq_active -= 1
            self.host.stats.rq_active -= 1

    # -- the pool's side (`PoolRequest`)

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`."""
        cluster = self.cluster
        if not cluster.breakers[self.priority].requests.try_acquire():
            cluster.stats.upstream_rq_active_overflow += 1
            cluster.breakers[self.priority].refused("requests")
            connection.release()
            # Unlike where there is no room to wait, it has a host by now.
            self.host.stats.rq_error += 1
            self._fail_before_response(PoolFailure.OVERFLOW, "")
            return
        stats = cluster.stats
        stats.upstream_rq_total += 1
        if self.charges is not None:
            self.charges.begin()
        stats.upstream_rq_active += 1
        host_stats = self.host.stats
        host_stats.rq_total += 1
        host_stats.rq_active += 1
        if self.host.outcomes is not None:
            self.host.outcomes.connected()
        self._counted = True
        self._connection = connection
        info = self._stream.info
        info.upstream_host = self.host
        info.upstream_connection = connection
        clock = self._pool.now  # held by the object: called by name, it is looked for in its class first
        info.upstream_pool_ready = info.upstream_first_byte_sent = now = clock()
        body = b""
        if self._pending is not None:
            body = b"".join(self._pending)
            self._pending = None
            if self._pending_bytes > cluster.config.buffer_limit:
                self._stream.on_upstream_write_resumed()
            self._pending_bytes = 0
        trailers = self._pending_trailers
        if self._complete:
            info.upstream_last_byte_sent = now
        connection.send_head(body, self._complete and trailers is None)
        if trailers is not None:
            connection.send_trailers(trailers)

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:
        """See `PoolRequest`."""
        if not self.over:
            self._fail_before_response(failure, detail)

    @property
    def proxied(self) -> ProxyData:
        """See `PoolRequest`."""
        info = self._stream.info
        client = info.connection
        known: ProxyData | None = client.filter_state.get(FILTER_STATE)
        return known or ProxyData(info.downstream_address(), client.local_address)

    def count_own(self, status: int) -> None:
        """Count an answer that was made up in place of the upstream's, unless that had begun to answer."""
        if not self._interim_seen:
            self._count(status)

    def time_out(self) -> None:
        """The host has not answered in time: tell outlier detection, if the host is to blame."""
        if self.host.outcomes is not None and self._counted:
            self.host.outcomes.timed_out()

    def expire(self, status: int, *, started: bool) -> bool:
        """The time of the whole request is up; it is answered with `status` unless the response has `started`.

        True if a gRPC response that had begun comes to no status.
        """
        self.cluster.stats.upstream_rq_timeout += 1
        self.host.stats.rq_timeout += 1
        if self.charges is not None:
            self.charges.time_out()
        if started:
            return self.fail_open_outcome()
        self.time_out()
        self.count_own(status)
        self.host.stats.rq_error += 1
        return False

    def _count(self, status: int) -> None:
        self._charged.codes[status] += 1
        if self.charges is not None:
            self.charges.count(self._charged, status)

    def uncount(self, status: int) -> None:
        """Take back a response that nobody will see."""
        self._charged.codes[status] -= 1
        if self.charges is not None:
            self.charges.count(self._charged, status, -1)

    def count_as_retried(self, status: int) -> None:
        """A response that nobody will see, because the request is tried again, counts as that of a retry."""
        self._charged.count_retried(status)
        self.drop_response(status)

    def drop_response(self, status: int) -> None:
        """A response that nobody will see counts as an error of its host."""
        self.uncount(status)
        if self._outcome_open or status >= 500:
            self.fail_open_outcome()
        else:
            self.host.stats.rq_success -= 1
            self.host.stats.rq_error += 1

    def _fail_before_response(self, failure: PoolFailure, detail: str) -> None:
        self.over = True
        self.reason = failure
        if detail:
            self._stream.info.upstream_transport_failure_reason = detail
        text = failure.value + (f"|{detail}" if detail else "")
        host = None if failure is PoolFailure.OVERFLOW else self.host
        if failure is PoolFailure.OVERFLOW:
            self._charged.rq_dropped += 1
        else:
            self.host.stats.rq_error += 1
            if self.host.outcomes is not None:
                self.host.outcomes.broke()
        self._stream.on_upstream_failure(
            503,
            _BODY + failure.value,
            f"upstream_reset_before_response_started{{{text.replace(' ', '_')}}}",
            FAILURE_FLAGS[failure],
            host,
            overloaded=failure is PoolFailure.OVERFLOW,
        )

    def on_informational(self, response: ParsedResponse) -> None:
        """See `PoolRequest`."""
        status = response.head.status
        if status in RELAYED_INTERIM and not self._interim_seen:
            self._interim_seen = True
            self._count(status)
        self._stream.on_upstream_informational(response)

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._response_started = True
        if self.host.load_reports is not None:
            self._load_reported = self.host.load_reports.on_response(self.host, response.head.headers)
        failing = self.cluster.immediate_failures
        if failing is not None and _IMMEDIATE_FAILURE in response.head.headers:
            failing(self.host)
        status = response.head.status
        self._charged.codes[status] += 1
        if self.charges is not None:
            self.charges.count(self._charged, status)
        outcomes = self.host.outcomes
        if outcomes is not None:
            if self.grpc:
                status_for_host = self._judged_status(response)
            else:
                is_error = self.cluster.config.error_matcher
                status_for_host = status if is_error is None else judged_by(is_error, response.head)
            outcomes.responded(status_for_host)
        if status >= 500:
            self.host.stats.rq_error += 1
        elif self.grpc:
            self._outcome_open = True
            if end_stream:
                self._judge(response.head.headers)
        else:
            self.host.stats.rq_success += 1
        if end_stream:
            self._end()
        self._stream.on_upstream_response(response, body, end_stream)

    @staticmethod
    def _judged_status(response: ParsedResponse) -> int:
        """What outlier detection goes by: a status of gRPC counts where it comes with the head, as in Envoy."""
        status = grpc_status(response.head.headers)
        return response.head.status if status is None else http_of_status(status)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        if end_stream:
            self.fail_open_outcome()
            self._end()
        self._stream.on_upstream_data(data, end_stream)

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """See `PoolRequest`."""
        if self.host.load_reports is not None and not self._load_reported:
            self.host.load_reports.on_response(self.host, trailers)
        if self._outcome_open:
            self._judge(trailers)
        self._end()
        self._stream.on_upstream_trailers(trailers)

    def _judge(self, fields: HeaderMap) -> None:
        self._outcome_open = False
        status = grpc_status(fields)
        if status is not None and http_of_status(status) < 500:
            self.host.stats.rq_success += 1
        else:
            self.host.stats.rq_error += 1

    def fail_open_outcome(self) -> bool:
        """A gRPC response that has begun comes to no status: an error of the host. False if there is none such."""
        if not self._outcome_open:
            return False
        self._outcome_open = False
        self.host.stats.rq_error += 1
        return True

    def on_reset(self, reason: ResetReason, detail: str) -> None:  # noqa: ARG002
        """See `PoolRequest`."""
        if self.over:
            return
        self._end()
        self.reason = reason
        if self.host.outcomes is not None and reason is not ResetReason.OVERFLOW:
            self.host.outcomes.broke()
        word = reason.value.replace(" ", "_")
        if self._response_started:
            self._stream.on_upstream_reset_after_response(
                f"upstream_reset_after_response_started{{{word}}}", RESET_FLAGS[reason]
            )
            return
        self.host.stats.rq_error += 1
        self._stream.on_upstream_failure(
            502 if reason is ResetReason.PROTOCOL_ERROR else 503,
            _BODY + reason.value,
            f"upstream_reset_{'after' if self._interim_seen else 'before'}_response_started{{{word}}}",
            RESET_FLAGS[reason],
            self.host,
        )

    def on_stale(self) -> bool:
        """See `PoolRequest`: once, as what comes next may have other reasons."""
        if self.over or self._repeated:
            return False
        self._repeated = True
        self.cluster.stats.upstream_rq_stale_retry += 1
        self._end()
        self.over = False
        connection = self._pool.take_again(self)
        if connection is None:
            self._pool.wait(self)
        else:
            self.on_pool_ready(connection)
        return True

    def on_write_paused(self) -> None:
        """See `PoolRequest`."""
        self._stream.on_upstream_write_paused()

    def on_write_resumed(self) -> None:
        """See `PoolRequest`."""
        self._stream.on_upstream_write_resumed()
