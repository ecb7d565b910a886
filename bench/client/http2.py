"""Lanes of HTTP/2 and gRPC: so many streams at a time on each connection, with the proxy's own codec."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, cast

from bench.client.lane import Lane, connect_failure
from proxy.base.headers import HeaderMap
from proxy.codec.grpc import GrpcStatus, grpc_status
from proxy.codec.http2_connection import Http2Connection
from proxy.codec.http2_frames import ErrorCode, Http2ConnectionError
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_response import Http2Response, Http2ResponseParser
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.http2_stream import Http2Stream

if TYPE_CHECKING:
    from bench.client.load import Load

_OPTIONS: Final = Http2Options()


def _name(kind: type[IntEnum], value: int) -> str:
    try:
        return kind(value).name
    except ValueError:
        return str(value)


class Http2Lane(Lane):
    """One stream at a time; the connection is shared with the other lanes of its `Place`."""

    def __init__(self, load: Load, place: Place) -> None:
        super().__init__(load)
        self.stream: _Stream | None = None
        self._place = place

    def send(self) -> None:
        """See `Lane`."""
        self._place.take(self)

    def drop(self, *, abort: bool = False) -> None:
        """See `Lane`: the stream is reset if it is open; only `new_connection` ends the connection."""
        del abort
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.lane = None
            stream.reset(ErrorCode.CANCEL)
        self._place.leave(self)
        if self.load.options.new_connection:
            self._place.close()

    def close(self) -> None:
        """See `Lane`."""
        super().close()
        self._place.close()


class Place:
    """Where one connection is; another takes its place when it ends."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.connection: _Connection | None = None
        #: Lanes for which the connection has no stream yet.
        self._waiting: deque[Http2Lane] = deque()
        self._connecting: asyncio.Task[None] | None = None

    def take(self, lane: Http2Lane) -> None:
        """Open a stream for the lane as soon as there can be one."""
        self._waiting.append(lane)
        self.serve()

    def leave(self, lane: Http2Lane) -> None:
        """The lane waits no more."""
        if lane in self._waiting:
            self._waiting.remove(lane)

    def serve(self) -> None:
        """Open streams for lanes that wait."""
        connection = self.connection
        if connection is None:
            if self._waiting and self._connecting is None:
                connecting = self._connect()
                self._connecting = asyncio.get_running_loop().create_task(connecting, name="bench connect")
            return
        while self._waiting and connection.can_open:
            connection.request(self._waiting.popleft())

    async def _connect(self) -> None:
        connection = _Connection(self)
        try:
            await self.load.connect(lambda: connection)
        except OSError as error:
            self._connecting = None
            kind = connect_failure(error)
            for lane in list(self._waiting):
                lane.fail(kind)
        else:
            self._connecting = None
            self.load.tally.connections += 1
            self.connection = connection
            self.serve()

    def lost(self, connection: _Connection) -> None:
        """The connection takes no more streams."""
        if self.connection is connection:
            self.connection = None
            self.serve()

    def close(self) -> None:
        """Close the connection; a later request makes another."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None


class _Stream(Http2Stream):
    def __init__(self, connection: Http2Connection, lane: Http2Lane) -> None:
        super().__init__(connection)
        self.lane: Http2Lane | None = lane
        self.ignore_length = lane.request.head
        self._status = 0

    def on_head(self, parsed: Any, end_stream: bool) -> None:
        head = cast("Http2Response", parsed).head
        if head.status < 200:
            return
        self._status = head.status
        if end_stream:
            self._complete(head.headers)

    def on_data(self, data: bytes, end_stream: bool) -> None:
        del data
        if end_stream:
            self._complete(None)

    def on_trailers(self, trailers: Any) -> None:
        self._complete(trailers)

    def on_reset(self, code: int, details: str, remote: bool) -> None:
        del details, remote
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.stream = None
            lane.fail(cast("_Connection", self.connection).failure or f"reset {_name(ErrorCode, code)}")

    def _complete(self, last: HeaderMap | None) -> None:
        lane, self.lane = self.lane, None
        if lane is None:
            return
        lane.stream = None
        if not self.local_closed:
            self.reset(ErrorCode.NO_ERROR)
        status, failure = str(self._status), ""
        if self._status >= 400:
            failure = f"status {self._status // 100}xx"
        elif lane.load.options.target.grpc:
            code = grpc_status(last) if last is not None else None
            if code is None:
                failure = "no grpc-status"
            else:
                status = _name(GrpcStatus, code)
                failure = "" if code == 0 else f"grpc {status}"
        lane.finish(status, failure)


class _Connection(Http2Connection, asyncio.Protocol):
    """`failure` is the kind of error that the streams end with, once that is known."""

    def __init__(self, place: Place) -> None:
        super().__init__(_OPTIONS, client=True, stats=place.load.http2_stats)
        self.failure = ""
        self._place = place
        self._load = place.load
        self._transport: asyncio.Transport | None = None

    def request(self, lane: Http2Lane) -> None:
        """Open a stream for the lane's request."""
        lane.stream = stream = _Stream(self, lane)
        self.open_stream(stream)
        request = lane.request
        if request.body:
            stream.send_message(request.data, request.body)
        else:
            stream.send_head(request.data, True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.start()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._load.tally.received += len(data)
        if self.dead:
            return
        try:
            self.receive(data)
        except Http2ConnectionError as error:
            self._end("protocol", error.code)
            return
        self._place.serve()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self._end("reset" if error is not None else "closed", ErrorCode.NO_ERROR)

    def close(self) -> None:
        """Close; the streams are over."""
        self._end("closed", ErrorCode.NO_ERROR)

    def _end(self, failure: str, code: int) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            data = self.take()
            if data:
                transport.write(data)
            transport.close()
        self.failure = self.failure or failure
        if self._place.connection is self:
            self._place.connection = None
        self.terminate("", code)
        self.dead = True
        self._place.serve()

    def _flush(self) -> None:
        if self.out and self._transport is not None:
            self.write_to(self._transport, encrypted=self._load.options.tls is not None)

    # -- the core's side

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> Http2Response:
        """See `Http2Connection`."""
        return self._load.http2_parser.parse(fields, block_size)

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> HeaderMap:
        """See `Http2Connection`."""
        return self._load.http2_parser.parse_trailers(fields, block_size)

    def wants_write(self) -> None:
        """See `Http2Connection`."""
        asyncio.get_running_loop().call_soon(self._flush)

    def unsent_bytes(self) -> int:
        """See `Http2Connection`."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def on_settings(self) -> None:
        """See `Http2Connection`."""
        self._place.serve()

    def on_stream_closed(self, stream: Http2Stream) -> None:
        """See `Http2Connection`."""
        del stream
        if not self.streams and not self.can_open:
            # A GOAWAY, or all ids are used.
            asyncio.get_running_loop().call_soon(self.close)
        else:
            self._place.serve()

    def on_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """See `Http2Connection`: what is under way may end, the next takes another connection."""
        del last_stream_id, code, debug
        if not self.streams:
            asyncio.get_running_loop().call_soon(self.close)
        self._place.lost(self)

    def on_overflow(self, error: Http2ConnectionError) -> None:
        """See `Http2Connection`."""
        self._end("protocol", error.code)


def http2_state() -> tuple[Http2CodecStats, Http2ResponseParser]:
    """What all connections of a load share."""
    return Http2CodecStats("bench."), Http2ResponseParser()
