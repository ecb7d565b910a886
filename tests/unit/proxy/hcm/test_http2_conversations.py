"""Random conversations of a client, a connection manager and a host: nothing may be raised, nothing left over."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.upstream.pool.api import ResetReason
from tests.support import http2_frames as h2
from tests.support.http2_manager import Http2Manager

MANAGERS: tuple[dict[str, Any], ...] = (
    {},
    {
        "stream_idle_timeout": "2s",
        "request_timeout": "3s",
        "request_headers_timeout": "1s",
        "drain_timeout": "1s",
        "common_http_protocol_options": {
            "max_requests_per_connection": 5,
            "idle_timeout": "4s",
            "max_connection_duration": "9s",
        },
    },
    {
        "http2_protocol_options": {
            "override_stream_error_on_invalid_http_message": True,
            "allow_connect": True,
            "max_concurrent_streams": 3,
            "connection_keepalive": {"interval": "1s", "timeout": "1s"},
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    },
)
FIELDS = [
    ("content-length", "5"),
    ("x-request-id", "id"),
    ("cookie", "a"),
    ("te", "trailers"),
    ("expect", "100-continue"),
    ("content-type", "application/grpc"),
]
BAD = [("Upper", "x"), ("connection", "close"), ("a", "\0")]
CONNECT = [
    (":method", "CONNECT"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "a"),
    (":protocol", "websocket"),
]


class Conversation:
    """One connection, step by step; `draw` decides everything."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        limit = draw.choice([10, 1000, 1 << 20])
        self.of = Http2Manager(buffer_limit=limit, **draw.choice(MANAGERS))
        self.client = self.of.connect(start=draw.random() < 0.8)
        self.next_id = 1
        self.begun: set[int] = set()
        self.over: set[int] = set()

    def frame(self) -> bytes:
        draw = self.draw
        stream = draw.choice([0, 1, 3, 5, self.next_id, max(self.next_id - 2, 1)])
        kind = draw.randrange(9)
        if kind <= 2:
            self.next_id += 2
            if draw.random() < 0.1:
                return h2.headers(self.next_id - 2, CONNECT)
            fields = [field for field in FIELDS if draw.random() < 0.2]
            if draw.random() < 0.05:
                fields.append(draw.choice(BAD))
            path, method = draw.choice(["/", "/a", "/b#"]), draw.choice(["GET", "POST", "HEAD"])
            return h2.request(self.next_id - 2, path, method=method, fields=fields, end=draw.random() < 0.5)
        return [
            h2.data(stream, b"x" * draw.choice([0, 5, 5000]), end=draw.random() < 0.5),
            h2.rst_stream(stream, draw.randrange(12)),
            h2.window_update(stream, draw.choice([1, 1000, 0, 2**31 - 1])),
            h2.settings({h2.INITIAL_WINDOW_SIZE: draw.choice([0, 10, 65535, 2**31 - 1])}),
            h2.headers(stream, [("t", "v")], end=True),
            h2.frame(draw.randrange(12), draw.randrange(256), stream, draw.randbytes(draw.randrange(12))),
        ][kind - 3]

    def host(self) -> None:
        """Something happens on the side of the host, in an order that hosts keep to."""
        draw = self.draw
        waiting = [
            upstream
            for upstream in self.of.upstream.requests
            if not upstream.abandoned and id(upstream) not in self.over
        ]
        if not waiting:
            return
        upstream = draw.choice(waiting)
        request = upstream.request
        ends = draw.random() < 0.4
        if ends:
            self.over.add(id(upstream))
        if ends and draw.random() < 0.3:
            request.on_reset(ResetReason.CONNECTION_TERMINATION, "")
        elif id(upstream) not in self.begun:
            self.begun.add(id(upstream))
            upstream.respond(b"y" * draw.choice([0, 10, 3000]), end=ends, status=draw.choice([200, 204, 404]))
        elif ends and draw.random() < 0.5:
            request.on_response_trailers(HeaderMap([("t", "v")]))
        else:
            request.on_response_data(b"z" * draw.choice([1, 70000]), ends)
            if not ends:
                request.on_write_paused()
                request.on_write_resumed()

    def step(self) -> None:
        draw = self.draw
        kind = draw.randrange(16)
        if kind < 7:
            frame = self.frame()
            cut = draw.randrange(len(frame)) if draw.random() < 0.3 else 0
            self.client.send(frame[:cut])
            self.client.send(frame[cut:])
        elif kind < 12:
            self.host()
        elif kind == 12:
            self.of.advance(draw.choice([0.1, 1.1, 6]))
        elif kind == 13:
            self.client.connection.pause_writing()
        elif kind == 14:
            self.client.connection.resume_writing()
        else:
            self.client.info.drain.draining = draw.random() < 0.3
        self.of.settle()


@pytest.mark.parametrize("seed", range(100))
def test_conversations(seed: int) -> None:
    talk = Conversation(random.Random(seed))
    for _ in range(talk.draw.randrange(5, 60)):
        talk.step()
    talk.client.transport.lose()
    talk.of.advance(20)
    assert talk.of.stats.downstream_rq_active == 0
    assert talk.of.stats.downstream_cx_http2_active == 0
    assert talk.of.manager.http2_stats.streams_active == 0
    assert talk.of.manager.http2_stats.pending_send_bytes == 0
