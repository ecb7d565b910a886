"""One check by HTTP, or by gRPC, over a connection of a pool that belongs to the host's checks alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue, UInt32Value

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.codec.grpc import PREFIX_BYTES, grpc_status, prefix
from proxy.codec.messages import ParsedResponse
from proxy.upstream.health_check.config import GrpcCheck, HttpCheck, StatusRange
from proxy.upstream.health_check.verdict import Failure
from proxy.upstream.pool.api import OutgoingHead, PoolFailure, ResetReason

USER_AGENT: Final = "Envoy/HC"
GRPC_PATH: Final = "/grpc.health.v1.Health/Check"
_IMMEDIATE: Final = "x-envoy-immediate-health-check-fail"
_OK: Final = 200
#: `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
_SERVING: Final = 1
#: A message longer than any answer of the service (an enum of one byte or two).
_MOST_GRPC_BYTES: Final = 1024


class Result(NamedTuple):
    """What came of a check; `failure` is None if it went well. `status` is that of an HTTP answer, or 0.

    `verified` tells that the name of the answering cluster was compared.
    """

    failure: Failure | None = None
    degraded: bool = False
    retriable: bool = False
    exclude: bool = False
    verified: bool = False
    status: int = 0


BROKEN: Final = Result(Failure.NETWORK)
TIMED_OUT: Final = Result(Failure.NETWORK_TIMEOUT)


def payload_found(wanted: tuple[bytes, ...], data: bytes) -> bool:
    """Whether every piece is in `data`, each after the one before it."""
    start = 0
    for piece in wanted:
        place = data.find(piece, start)
        if place < 0:
            return False
        start = place + len(piece)
    return True


def http_head(check: HttpCheck, authority: str, scheme: str) -> RequestHead:
    """The request of an HTTP check, before header operations."""
    headers = HeaderMap()
    headers.add("user-agent", USER_AGENT)
    if check.send:
        headers.add("content-length", str(len(check.send)))
    return RequestHead(check.method, check.path, authority, headers, scheme=scheme)


def grpc_head(authority: str, scheme: str, timeout: float) -> RequestHead:
    """The request of a gRPC check, before header operations; `timeout` in seconds."""
    headers = HeaderMap()
    headers.add("content-type", "application/grpc")
    headers.add("te", "trailers")
    headers.add("user-agent", USER_AGENT)
    headers.add("grpc-timeout", f"{int(timeout * 1000)}m")
    return RequestHead("POST", GRPC_PATH, authority, headers, scheme=scheme)


def grpc_message(check: GrpcCheck) -> bytes:
    """A `HealthCheckRequest` in its frame: like `StringValue`, it has a text as field 1."""
    message: bytes = StringValue(value=check.service_name).SerializeToString()
    return prefix(len(message)) + message


class StreamProbe:
    """A request of a pool; `done` hears of the result once, unless `cancel` comes first. See `PoolRequest`."""

    preamble = b""
    upgrading = ""
    proxied = None
    request_id = b""

    def __init__(
        self, pool: Any, head: OutgoingHead, method: str, body: bytes, done: Callable[[Result], None]
    ) -> None:
        self._pool = pool
        self.head = head
        self.method = method
        self._body = body
        self._done: Callable[[Result], None] | None = done
        self._connection: Any = None
        self.wire_bytes_received = 0
        self.wire_bytes_sent = 0
        self.header_bytes_sent = 0

    def start(self) -> None:
        """Send the request, as soon as there is a connection."""
        connection = self._pool.take(self)
        if connection is None:
            self._pool.wait(self)
        else:
            self.on_pool_ready(connection)

    def cancel(self) -> None:
        """Give up: the connection closes if an answer was due."""
        if self._done is None:
            return
        self._done = None
        connection, self._connection = self._connection, None
        if connection is None:
            self._pool.cancel(self)
        else:
            connection.abandon()

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`."""
        self._connection = connection
        connection.send_head(self._body, True)

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:  # noqa: ARG002
        """See `PoolRequest`."""
        self._finish(TIMED_OUT if failure is PoolFailure.TIMEOUT else BROKEN)

    def on_informational(self, response: ParsedResponse) -> None:
        """See `PoolRequest`."""

    def on_reset(self, reason: ResetReason, detail: str) -> None:  # noqa: ARG002
        """See `PoolRequest`."""
        self._connection = None
        self._finish(BROKEN)

    def on_write_paused(self) -> None:
        """See `PoolRequest`."""

    def on_write_resumed(self) -> None:
        """See `PoolRequest`."""

    def _finish(self, result: Result) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)

    def _stop(self, result: Result) -> None:
        """The answer is known before its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        self._finish(result)


class HttpProbe(StreamProbe):
    """`HttpHealthCheck`. `verifies` tells whether the name of the answering cluster counts."""

    def __init__(
        self,
        pool: Any,
        check: HttpCheck,
        head: OutgoingHead,
        done: Callable[[Result], None],
        *,
        verifies: bool,
    ) -> None:
        super().__init__(pool, head, check.method, check.send, done)
        self._check = check
        self._verifies = verifies
        self._response: ParsedResponse | None = None
        self._received = bytearray()

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._response = response
        self.on_response_data(body, end_stream)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        if self._check.receive:
            limit = self._check.buffer_size
            self._received += data[: limit - len(self._received)] if limit else data
        if end_stream:
            self._complete()

    def on_response_trailers(self, trailers: HeaderMap) -> None:  # noqa: ARG002
        """See `PoolRequest`."""
        self._complete()

    def _complete(self) -> None:
        self._connection = None
        assert self._response is not None
        head = self._response.head
        self._finish(judge(self._check, head.status, head.headers, bytes(self._received), self._verifies))


def judge(check: HttpCheck, status: int, headers: HeaderMap, body: bytes, verifies: bool) -> Result:
    """What a whole answer says of its host; `body` is what was kept of it."""
    exclude = _IMMEDIATE in headers
    if check.receive and not payload_found(check.receive, body):
        return Result(Failure.ACTIVE, exclude=exclude, status=status)
    if not _within(status, check.expected):
        retriable = _within(status, check.retriable)
        return Result(Failure.ACTIVE, retriable=retriable, exclude=exclude, status=status)
    degraded = "x-envoy-degraded" in headers
    if check.service_name is not None and verifies:
        if not check.service_name(headers.get("x-envoy-upstream-healthchecked-cluster", "")):
            return Result(Failure.ACTIVE, verified=True, status=status)
        return Result(degraded=degraded, verified=True, status=status)
    return Result(degraded=degraded, status=status)


def _within(status: int, ranges: tuple[StatusRange, ...]) -> bool:
    return any(start <= status < end for start, end in ranges)


class GrpcProbe(StreamProbe):
    """`GrpcHealthCheck`: well is a host that answers OK and SERVING."""

    def __init__(
        self, pool: Any, check: GrpcCheck, head: OutgoingHead, done: Callable[[Result], None]
    ) -> None:
        super().__init__(pool, head, "POST", grpc_message(check), done)
        self._received = b""

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        head = response.head
        if end_stream and not body:
            # A status without a message says in any case that the host does not serve.
            self._end(Result(Failure.ACTIVE))
        elif head.status != _OK or not head.headers.get("content-type", "").startswith("application/grpc"):
            (self._end if end_stream else self._stop)(Result(Failure.ACTIVE))
        else:
            self.on_response_data(body, end_stream)

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """See `PoolRequest`."""
        self._received += data
        if end_stream:
            self._end(Result(Failure.ACTIVE))
        elif len(self._received) > _MOST_GRPC_BYTES:
            self._stop(Result(Failure.ACTIVE))

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """See `PoolRequest`."""
        well = grpc_status(trailers) == 0 and serving(self._received)
        self._end(Result() if well else Result(Failure.ACTIVE))

    def _end(self, result: Result) -> None:
        self._connection = None
        self._finish(result)


def serving(data: bytes) -> bool:
    """Whether the frames of an answer are one `HealthCheckResponse` that says SERVING.

    Like `UInt32Value`, it has a number as field 1. Empty frames do not count, as in Envoy.
    """
    found: bytes | None = None
    while data:
        if len(data) < PREFIX_BYTES or data[0]:
            return False
        size = int.from_bytes(data[1:PREFIX_BYTES], "big")
        message, data = data[PREFIX_BYTES : PREFIX_BYTES + size], data[PREFIX_BYTES + size :]
        if len(message) < size or (message and found is not None):
            return False
        found = message or found
    if found is None:
        return False
    try:
        return bool(UInt32Value.FromString(found).value == _SERVING)
    except DecodeError:
        return False
