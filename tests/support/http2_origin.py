"""A scripted HTTP/2 origin: one thread reads each connection, one more per stream plays the script.

A script is an `Http2Answer`, the bytes of an HTTP/1 response (which is sent as HTTP/2), or a function of the
`OriginStream` that may do anything: send heads, DATA, trailers, resets, GOAWAY, raw bytes, or wait.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from threading import Condition, Event, Thread
from typing import Any, Self

from tests.support import http2_frames as h2
from tests.support.http2_frames import Code, FieldList
from tests.support.http2_peer import Http2Peer, StreamView
from tests.support.http_text import Fields, Message, parse_responses
from tests.support.origin import HELLO, Origin, OriginConnection

_CONNECTION_FIELDS = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade"})


@dataclass
class Http2Answer:
    """An answer to a whole request. `body` None ends with the head; trailers end instead of the last DATA."""

    status: int = 200
    fields: FieldList = (("content-type", "text/plain"),)
    body: bytes | Sequence[bytes] | None = b"hello"
    trailers: FieldList = ()
    informational: Sequence[int] = ()
    reset: Code | None = None
    delay: float = 0.0


class OriginStream:
    """One stream, from the side of a script."""

    def __init__(self, connection: Http2OriginConnection, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id

    @property
    def view(self) -> StreamView:
        """What was received so far."""
        return self.connection.stream(self.id)

    @property
    def path(self) -> str:
        return self.view.get(":path") or ""

    def wait(self, condition: Callable[[StreamView], bool], timeout: float = 10.0) -> bool:
        """Until the received half satisfies the condition, the connection ends or the time is over."""
        return self.connection.wait(lambda: condition(self.view), timeout)

    def wait_end(self, timeout: float = 10.0) -> bool:
        """Until the request is whole or was reset."""
        return self.wait(lambda view: view.done, timeout)

    def head(self, status: int = 200, fields: FieldList = (), *, end: bool = False) -> None:
        self.connection.send(h2.response(self.id, status, fields, end=end))

    def data(self, body: bytes, *, end: bool = False, timeout: float = 10.0) -> int:
        """Send within the windows and the frame size; how many bytes fitted before the time was over."""
        sent = 0
        while sent < len(body):
            size = self.connection.take_window(self, min(len(body) - sent, 16384), timeout)
            if not size:
                return sent
            last = end and sent + size == len(body)
            self.connection.send(h2.data(self.id, body[sent : sent + size], end=last))
            sent += size
        if end and not body:
            self.connection.send(h2.data(self.id, end=True))
        return sent

    def trailers(self, fields: FieldList) -> None:
        self.connection.send(h2.headers(self.id, fields, end=True))

    def reset(self, code: Code = Code.CANCEL) -> None:
        self.connection.send(h2.rst_stream(self.id, code))

    def answer(self, answer: Http2Answer) -> None:
        """Play an answer; a reset comes last, without an end of the stream before it."""
        for status in answer.informational:
            self.head(status)
        body = answer.body
        closing = answer.reset is None and not answer.trailers
        if body is None:
            self.head(answer.status, answer.fields, end=closing)
        else:
            self.head(answer.status, answer.fields)
            pieces = [body] if isinstance(body, bytes) else list(body)
            for number, piece in enumerate(pieces):
                self.data(piece, end=closing and number == len(pieces) - 1)
        if answer.trailers:
            self.trailers(answer.trailers)
        if answer.reset is not None:
            self.reset(answer.reset)


class Http2OriginConnection(Http2Peer):
    """One accepted connection."""

    def __init__(self, raw: Any, **options: Any) -> None:
        super().__init__(raw, **options)
        self.changed = Condition()
        self.window = h2.DEFAULT_WINDOW
        self.windows: dict[int, int] = {}
        self.open: dict[int, OriginStream] = {}
        self._reading = Event()
        self._reading.set()

    def pause(self) -> None:
        """Read nothing more (after what is being read now), so that the other side cannot write."""
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def wait(self, condition: Callable[[], bool], timeout: float = 10.0) -> bool:
        """Until the condition holds, the connection ends or the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: condition() or self.end != "open", timeout)
            return condition()

    def settle(self, timeout: float = 1.0) -> bool:
        """A PING there and back: everything sent before has been handled. False if the connection ended."""
        payload = b"%08d" % (len(self.acked_pings) + 20_000_000)
        self.send(h2.ping(payload))
        return self.wait(lambda: payload in self.acked_pings, timeout)

    def stream_window(self, stream_id: int) -> int:
        """What may be sent on the stream, the connection's window aside."""
        return self.windows.setdefault(
            stream_id, self.settings.get(h2.INITIAL_WINDOW_SIZE, h2.DEFAULT_WINDOW)
        )

    def take_window(self, stream: OriginStream, wanted: int, timeout: float) -> int:
        """Up to `wanted` bytes of both windows; 0 if there are none in time or the stream is gone."""

        def usable() -> int:
            if stream.view.reset is not None:
                return 0
            return min(wanted, self.window, self.stream_window(stream.id))

        with self.changed:
            self.changed.wait_for(
                lambda: usable() > 0 or self.end != "open" or stream.view.reset is not None, timeout
            )
            size = max(0, usable()) if self.end == "open" else 0
            self.window -= size
            self.windows[stream.id] = self.stream_window(stream.id) - size
            return size

    def _on_frame(self, frame: h2.Frame) -> None:
        super()._on_frame(frame)
        if frame.type == h2.WINDOW_UPDATE:
            increment = int.from_bytes(frame.payload[:4], "big")
            if frame.stream_id == 0:
                self.window += increment
            else:
                self.windows[frame.stream_id] = self.stream_window(frame.stream_id) + increment

    def receive(self, deadline: float, size: int = 1 << 16) -> bool:
        self._reading.wait(max(0.0, deadline - time.monotonic()))
        alive = super().receive(deadline, size)
        with self.changed:
            self.changed.notify_all()
        return alive


Http2Script = Http2Answer | bytes | Callable[[OriginStream], None]


@dataclass
class _State:
    script: Callable[[OriginStream], None]
    streams: list[OriginStream] = field(default_factory=list)


class Http2Origin:
    """A listening origin on `port`, prior knowledge or `tls`. Use as a context manager, or call `close`.

    Every connection starts with SETTINGS of `settings` and a connection window of `window` bytes more.
    `options` are those of `Http2Peer`.
    """

    def __init__(
        self,
        script: Http2Script = HELLO,
        *,
        port: int = 0,
        settings: Mapping[int, int] | None = None,
        window: int = 1 << 24,
        tls: SSLContext | None = None,
        **options: Any,
    ) -> None:
        self._settings = settings if settings is not None else {h2.INITIAL_WINDOW_SIZE: 1 << 24}
        self._window = window
        self._options = options
        self._state = _State(_player(script))
        self._connections: list[Http2OriginConnection] = []
        self._threads: list[Thread] = []
        self._listener = Origin(port=port, tls=tls, take_over=self._serve)
        self.port = self._listener.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def script(self, script: Http2Script) -> None:
        """Play so from now on, and forget the requests seen so far."""
        self._state = _State(_player(script))

    @property
    def streams(self) -> list[OriginStream]:
        """Every stream since `script` was last called, in order of their heads."""
        return list(self._state.streams)

    @property
    def requests(self) -> list[Message]:
        """The streams in the form of messages: pseudo-fields stand among the fields."""
        return [_message(stream.view) for stream in self.streams]

    @property
    def connections(self) -> list[Http2OriginConnection]:
        return list(self._connections)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> list[OriginStream]:
        """At least `count` heads; AssertionError if they don't come in time."""
        deadline = time.monotonic() + timeout
        while len(self._state.streams) < count:
            assert time.monotonic() < deadline, f"{len(self.streams)} of {count} requests reached the origin"
            time.sleep(0.005)
        return self.streams

    def close_connections(self) -> None:
        """End every connection from this side."""
        for connection in self.connections:
            connection.resume()
        self._listener.close_connections()

    def close(self) -> None:
        for connection in self.connections:
            connection.resume()
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self, accepted: OriginConnection) -> None:
        connection = Http2OriginConnection(accepted.socket, **self._options)
        self._connections.append(connection)
        connection.send(h2.settings(self._settings) + h2.window_update(0, self._window))
        preface = b""
        with contextlib.suppress(OSError):
            accepted.socket.settimeout(10)
            while len(preface) < len(h2.PREFACE):
                more = accepted.socket.recv(len(h2.PREFACE) - len(preface))
                if not more:
                    return
                preface += more
        if preface != h2.PREFACE:
            connection.end = f"not HTTP/2: {preface!r}"
            return
        while connection.receive(time.monotonic() + 60):
            self._start_scripts(connection)
        self._start_scripts(connection)

    def _start_scripts(self, connection: Http2OriginConnection) -> None:
        for stream_id, view in list(connection.streams.items()):
            if stream_id in connection.open or not view.heads:
                continue
            stream = OriginStream(connection, stream_id)
            connection.open[stream_id] = stream
            state = self._state
            state.streams.append(stream)
            thread = Thread(target=state.script, args=(stream,), name="http2-origin-stream", daemon=True)
            self._threads.append(thread)
            thread.start()


def _player(script: Http2Script) -> Callable[[OriginStream], None]:
    if isinstance(script, bytes):
        script = _from_http1(script)
    if not isinstance(script, Http2Answer):
        return script
    answer = script

    def play(stream: OriginStream) -> None:
        stream.wait_end()
        if answer.delay:
            time.sleep(answer.delay)
        stream.answer(answer)

    return play


def _from_http1(text: bytes) -> Http2Answer:
    responses, _ = parse_responses(text, ["GET"], ended=True)
    final = responses[-1]
    fields = [(name.lower(), value) for name, value in final.fields if name.lower() not in _CONNECTION_FIELDS]
    return Http2Answer(
        final.status,
        fields,
        final.body or None,
        [(name.lower(), value) for name, value in final.trailers],
        [response.status for response in responses[:-1]],
    )


def _message(view: StreamView) -> Message:
    fields: Fields = list(view.fields)
    start = f"{view.get(':method')} {view.get(':path')} HTTP/2"
    return Message(start, fields, bytes(view.body), list(view.trailers), view.ended)
