"""Frames that break a rule of HTTP/2, or only seem to, and what Envoy 1.40 does about them.

They follow the preface and an exchange of SETTINGS. Nobody answers the requests in them.
"""

from __future__ import annotations

import struct

from tests.support import http2_frames as h2
from tests.support.http2_frames import Code

#: The connection ends with a GOAWAY, or without; only the stream ends; nothing happens.
GOAWAY, SILENT, RESET, FINE = "GOAWAY", "silent", "RST_STREAM", "fine"
REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
OPEN = h2.request(1, end=False)
WHOLE = h2.request(1)
#: Name: (frames, verdict, code of it).
CASES: dict[str, tuple[bytes, str, int]] = {
    "SETTINGS of 5 bytes": (h2.frame(h2.SETTINGS, payload=b"12345"), GOAWAY, Code.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (h2.frame(h2.SETTINGS, 0, 1), SILENT, 0),
    "SETTINGS ACK with payload": (h2.frame(h2.SETTINGS, 1, 0, bytes(6)), GOAWAY, Code.FRAME_SIZE_ERROR),
    "SETTINGS ACK for nothing": (h2.settings_ack(), SILENT, 0),
    "ENABLE_PUSH 2": (h2.settings({h2.ENABLE_PUSH: 2}), SILENT, 0),
    "INITIAL_WINDOW_SIZE 2^31": (h2.settings({h2.INITIAL_WINDOW_SIZE: 2**31}), SILENT, 0),
    "MAX_FRAME_SIZE 100": (h2.settings({h2.MAX_FRAME_SIZE: 100}), SILENT, 0),
    "ENABLE_CONNECT_PROTOCOL 2": (h2.settings({h2.ENABLE_CONNECT_PROTOCOL: 2}), SILENT, 0),
    "unknown setting": (h2.settings({77: 1}), FINE, 0),
    "window of a stream beyond 2^31 by SETTINGS": (
        OPEN + h2.window_update(1, 2**31 - 1 - 65535) + h2.settings({h2.INITIAL_WINDOW_SIZE: 65536}),
        RESET,
        Code.FLOW_CONTROL_ERROR,
    ),
    "PING of 7 bytes": (h2.frame(h2.PING, payload=b"1234567"), GOAWAY, Code.FRAME_SIZE_ERROR),
    "PING on a stream": (h2.frame(h2.PING, 0, 1, b"12345678"), SILENT, 0),
    "WINDOW_UPDATE of 3 bytes": (
        h2.frame(h2.WINDOW_UPDATE, payload=b"123"),
        GOAWAY,
        Code.FRAME_SIZE_ERROR,
    ),
    "WINDOW_UPDATE by 0": (h2.window_update(0, 0), SILENT, 0),
    "WINDOW_UPDATE of a stream by 0": (OPEN + h2.window_update(1, 0), SILENT, 0),
    "WINDOW_UPDATE beyond 2^31": (h2.window_update(0, 2**31 - 1), SILENT, 0),
    "WINDOW_UPDATE of a stream beyond 2^31": (OPEN + h2.window_update(1, 2**31 - 1), SILENT, 0),
    "WINDOW_UPDATE on an idle stream": (h2.window_update(5, 1), SILENT, 0),
    "WINDOW_UPDATE on a closed stream": (OPEN + h2.rst_stream(1) + h2.window_update(1, 1), FINE, 0),
    "RST_STREAM of 3 bytes": (
        OPEN + h2.frame(h2.RST_STREAM, 0, 1, b"123"),
        GOAWAY,
        Code.FRAME_SIZE_ERROR,
    ),
    "RST_STREAM on stream 0": (h2.rst_stream(0), SILENT, 0),
    "RST_STREAM on an idle stream": (h2.rst_stream(5), SILENT, 0),
    "RST_STREAM on a closed stream": (OPEN + h2.rst_stream(1) * 2, FINE, 0),
    "GOAWAY of 4 bytes": (h2.frame(h2.GOAWAY, payload=b"1234"), GOAWAY, Code.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (h2.frame(h2.GOAWAY, 0, 1, bytes(8)), SILENT, 0),
    "GOAWAY that takes back": (h2.goaway(0) + h2.goaway(5), SILENT, 0),
    "DATA on stream 0": (h2.data(0, b"x"), GOAWAY, Code.PROTOCOL_ERROR),
    "DATA on an idle stream": (h2.data(5, b"x"), GOAWAY, Code.PROTOCOL_ERROR),
    "DATA with too much padding": (
        OPEN + h2.frame(h2.DATA, h2.PADDED, 1, b"\x05abc"),
        GOAWAY,
        Code.PROTOCOL_ERROR,
    ),
    "DATA that is all padding": (OPEN + h2.frame(h2.DATA, h2.PADDED, 1, b"\x03abc"), FINE, 0),
    "padded DATA without a length": (
        OPEN + h2.frame(h2.DATA, h2.PADDED, 1),
        GOAWAY,
        Code.PROTOCOL_ERROR,
    ),
    "DATA over the frame size": (OPEN + h2.data(1, b"x" * 16385), GOAWAY, Code.FRAME_SIZE_ERROR),
    "DATA on a half-closed stream": (WHOLE + h2.data(1, b"x"), GOAWAY, Code.STREAM_CLOSED),
    "DATA after a reset": (OPEN + h2.rst_stream(1) + h2.data(1, b"x"), FINE, 0),
    "HEADERS on stream 0": (h2.request(0), SILENT, 0),
    "HEADERS on an even stream": (h2.request(2), SILENT, 0),
    "HEADERS with too much padding": (
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.PADDED, 1, b"\x99" + h2.encode(REQUEST)),
        GOAWAY,
        Code.PROTOCOL_ERROR,
    ),
    "HEADERS with half a priority": (
        h2.frame(h2.HEADERS, h2.END_HEADERS | h2.PRIORITISED, 1, b"123"),
        GOAWAY,
        Code.FRAME_SIZE_ERROR,
    ),
    "HEADERS that depend on themselves": (
        h2.frame(h2.HEADERS, 0x25, 1, b"\0\0\0\1\0" + h2.encode(REQUEST)),
        SILENT,
        0,
    ),
    "HEADERS over the frame size": (
        h2.frame(h2.HEADERS, 4, 1, bytes(16385)),
        GOAWAY,
        Code.FRAME_SIZE_ERROR,
    ),
    "a broken block": (h2.headers(1, b"\x80"), GOAWAY, Code.COMPRESSION_ERROR),
    "a truncated block": (h2.headers(1, h2.encode(REQUEST)[:-1]), GOAWAY, Code.COMPRESSION_ERROR),
    "a lower stream": (h2.request(5) + h2.request(3), FINE, 0),
    "a stream again": (OPEN + h2.rst_stream(1) + h2.request(1), FINE, 0),
    "HEADERS on a half-closed stream": (WHOLE + h2.request(1), SILENT, 0),
    "trailers that do not end": (OPEN + h2.headers(1, [("a", "b")]), SILENT, 0),
    "62 kB of fields": (
        h2.headers(1, h2.encode([("a", "x" * 16000)]), end_headers=False)
        + h2.continuation(1, h2.encode([("a", "x" * 16000)]), end_headers=False) * 3
        + h2.continuation(1),
        RESET,
        Code.INTERNAL_ERROR,
    ),
    "CONTINUATION alone": (h2.continuation(1), GOAWAY, Code.PROTOCOL_ERROR),
    "CONTINUATION after the end": (WHOLE + h2.continuation(1), GOAWAY, Code.PROTOCOL_ERROR),
    "PING within a block": (
        h2.headers(1, REQUEST, end_headers=False) + h2.ping(),
        GOAWAY,
        Code.PROTOCOL_ERROR,
    ),
    "unknown frame within a block": (
        h2.headers(1, REQUEST, end_headers=False) + h2.frame(0x16),
        GOAWAY,
        Code.PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        h2.headers(1, REQUEST, end_headers=False) + h2.continuation(3),
        GOAWAY,
        Code.PROTOCOL_ERROR,
    ),
    "PRIORITY of 4 bytes": (h2.frame(h2.PRIORITY, 0, 1, b"1234"), GOAWAY, Code.FRAME_SIZE_ERROR),
    "PRIORITY on stream 0": (h2.priority(0, 1), FINE, 0),
    "PRIORITY on itself": (h2.priority(1, 1), FINE, 0),
    "PUSH_PROMISE": (h2.frame(h2.PUSH_PROMISE, 4, 1, b"\0\0\0\2"), SILENT, 0),
    "METADATA": (h2.frame(0x4D, 4, 1, b"x"), FINE, 0),
    "unknown frame over the frame size": (
        h2.frame(0x16, 0, 0, bytes(16385)),
        GOAWAY,
        Code.FRAME_SIZE_ERROR,
    ),
    "too much body": (
        h2.request(1, fields=[("content-length", "2")], end=False) + h2.data(1, b"abc"),
        RESET,
        Code.PROTOCOL_ERROR,
    ),
    "too little body": (
        h2.request(1, fields=[("content-length", "2")], end=False) + h2.data(1, b"a", end=True),
        RESET,
        Code.PROTOCOL_ERROR,
    ),
    "no body at all": (h2.request(1, fields=[("content-length", "2")]), SILENT, 0),
    "too little body before trailers": (
        h2.request(1, fields=[("content-length", "2")], end=False) + h2.headers(1, [("a", "b")], end=True),
        SILENT,
        0,
    ),
    "reserved bits": (h2.frame(h2.WINDOW_UPDATE, 0, 1 << 31, struct.pack(">L", 1 << 31 | 5)), FINE, 0),
}
