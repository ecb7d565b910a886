"""What a scripted HTTP/2 client and a scripted origin have in common: the receiving half of a connection.

It keeps every frame and, per stream, what came on it. It answers SETTINGS and PING and gives the windows back,
unless it is told not to. It never complains.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import hpack

from tests.support import http2_frames as h2
from tests.support.compare import masked
from tests.support.http2_frames import Frame, code_name
from tests.support.http_text import Fields

_HUGE = 1 << 30


@dataclass
class StreamView:
    """What a peer sent on one stream. `heads` are header blocks up to the final one, `trailers` what followed."""

    heads: list[Fields] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    reset: str | None = None

    @property
    def done(self) -> bool:
        """Nothing more can come."""
        return self.ended or self.reset is not None

    @property
    def end(self) -> str:
        """`open`, `ended`, `reset CANCEL` or `ended, reset NO_ERROR`."""
        words = ["ended"] if self.ended else []
        if self.reset is not None:
            words.append(f"reset {self.reset}")
        return ", ".join(words) or "open"

    @property
    def fields(self) -> Fields:
        """The last head; empty if none came."""
        return self.heads[-1] if self.heads else []

    def get(self, name: str) -> str | None:
        """The first value of a field of the head."""
        return next((value for key, value in self.fields if key == name), None)

    @property
    def status(self) -> int:
        return int(self.get(":status") or 0)

    def add_block(self, fields: Fields) -> None:
        if self.heads and not (self.get(":status") or "").startswith("1"):
            self.trailers += fields
        else:
            self.heads.append(fields)

    def summary(self) -> tuple[object, ...]:
        """Everything that can be compared, changing values masked, fields sorted by name."""
        return (
            [sorted(masked(head)) for head in self.heads],
            bytes(self.body),
            sorted(masked(self.trailers)),
            self.end,
        )


class Http2Peer:
    """One side of a connection. `settings` are the peer's; `goaways` holds (last stream, code, debug data).

    With `credit` received DATA is given back to the windows at once; with `answer_settings` and `answer_pings`
    these frames get their ACK. `end` is "open", "closed" or "reset".
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        credit: bool = True,
        answer_settings: bool = True,
        answer_pings: bool = True,
    ) -> None:
        self.socket = connection
        self.credit = credit
        self.answer_settings = answer_settings
        self.answer_pings = answer_pings
        self.frames: list[Frame] = []
        self.streams: dict[int, StreamView] = {}
        self.settings: dict[int, int] = {}
        self.settings_acks = 0
        self.acked_pings: list[bytes] = []
        self.goaways: list[tuple[int, str, bytes]] = []
        self.received_bytes = 0
        self.end = "open"
        self._reader = h2.FrameReader()
        self._decoder = hpack.Decoder(max_header_list_size=_HUGE)
        self._decoder.max_allowed_table_size = 65536
        self._block: tuple[int, bytearray, bool] | None = None
        self._lock = threading.Lock()

    def send(self, data: bytes | Sequence[bytes]) -> bool:
        """Send as one write; False if the peer is gone."""
        whole = data if isinstance(data, bytes) else b"".join(data)
        with self._lock:
            try:
                self.socket.sendall(whole)
            except OSError:
                return False
        return True

    def reset(self) -> None:
        """Close with a TCP reset."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def stream(self, stream_id: int) -> StreamView:
        return self.streams.setdefault(stream_id, StreamView())

    def receive(self, deadline: float, size: int = 1 << 16) -> bool:
        """Read once until monotonic time `deadline`; False at the end of the connection or of the time."""
        left = deadline - time.monotonic()
        if left <= 0 or self.end != "open":
            return False
        try:
            self.socket.settimeout(left)
            data = self.socket.recv(size)
        except TimeoutError:
            return False
        except ConnectionResetError:
            self.end = "reset"
            return False
        except (ssl.SSLError, OSError):
            self.end = "closed"
            return False
        if not data:
            self.end = "closed"
            return False
        self.received_bytes += len(data)
        for frame in self._reader.feed(data):
            self.frames.append(frame)
            self._on_frame(frame)
        return True

    def _on_frame(self, frame: Frame) -> None:
        kind, payload = frame.type, frame.payload
        if kind == h2.DATA:
            self.stream(frame.stream_id).body += frame.content()
            if self.credit and payload:
                update = h2.window_update(0, len(payload))
                ended = frame.flags & h2.END_STREAM
                self.send(update if ended else update + h2.window_update(frame.stream_id, len(payload)))
            self._end_stream(frame)
        elif kind in (h2.HEADERS, h2.CONTINUATION):
            self._on_block(frame)
        elif kind == h2.RST_STREAM:
            self.stream(frame.stream_id).reset = code_name(int.from_bytes(payload[:4], "big"))
        elif kind == h2.SETTINGS:
            self._on_settings(frame)
        elif kind == h2.PING:
            if frame.flags & h2.ACK:
                self.acked_pings.append(payload)
            elif self.answer_pings:
                self.send(h2.ping(payload, ack=True))
        elif kind == h2.GOAWAY:
            last, code = struct.unpack(">LL", payload[:8])
            self.goaways.append((last, code_name(code), payload[8:]))

    def _on_settings(self, frame: Frame) -> None:
        if frame.flags & h2.ACK:
            self.settings_acks += 1
            return
        self.settings.update(struct.iter_unpack(">HL", frame.payload))
        if self.answer_settings:
            self.send(h2.settings_ack())

    def _on_block(self, frame: Frame) -> None:
        if self._block is None:
            self._block = (frame.stream_id, bytearray(), bool(frame.flags & h2.END_STREAM))
        stream_id, block, ended = self._block
        block += frame.content()
        if not frame.flags & h2.END_HEADERS:
            return
        self._block = None
        decoded = self._decoder.decode(bytes(block), raw=True)
        fields = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in decoded]
        stream = self.stream(stream_id)
        stream.add_block(fields)
        stream.ended |= ended

    def _end_stream(self, frame: Frame) -> None:
        if frame.flags & h2.END_STREAM:
            self.stream(frame.stream_id).ended = True
