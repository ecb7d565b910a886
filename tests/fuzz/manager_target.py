"""A whole connection manager, from the bytes of a client to what goes upstream."""

from __future__ import annotations

from typing import Any

from tests.fuzz.target import target
from tests.support import http2_frames as h2
from tests.support.http2_manager import Http2Manager, response

_NO_QUESTIONS = {"http2_protocol_options": {"connection_keepalive": {"interval": "1s", "timeout": "1s"}}}
_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "strip_matching_host_port": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
        "http2_protocol_options": {"allow_connect": True},
        "http_protocol_options": {
            "accept_http_10": True,
            "enable_trailers": True,
            "allow_chunked_length": True,
        },
    },
    {
        "strip_any_host_port": True,
        "strip_trailing_host_dot": False,
        "xff_num_trusted_hops": 1,
        "stream_idle_timeout": "1s",
        "common_http_protocol_options": {
            "headers_with_underscores_action": "DROP_HEADER",
            "max_headers_count": 8,
        },
        "http2_protocol_options": {"override_stream_error_on_invalid_http_message": True},
    },
)
_MANAGERS: list[Http2Manager] = []


def _managers() -> list[Http2Manager]:
    """Made when they are first needed, and used for all inputs: what one leaves behind the next one meets."""
    if not _MANAGERS:
        for fields in _KINDS:
            made = Http2Manager(**fields)
            made.upstream.answer = response(200, ("a", "b"))
            _MANAGERS.append(made)
    return _MANAGERS


@target(
    b"\0GET /a?b HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"\1GET http://a.:80/%2f/../b HTTP/1.0\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: x\r\nX: y\r\n\r\n",
    b"\1GET /c HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
    b"\1CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nbytes",
    b"\2POST / HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n\r\n",
    b"\0"
    + h2.PREFACE
    + h2.settings()
    + h2.request(1)
    + h2.request(3, end=False)
    + h2.data(3, b"x", end=True),
    b"\2"
    + h2.PREFACE
    + h2.settings()
    + h2.request(1, fields=[("a_b", "c"), ("te", "trailers"), ("cookie", "d")]),
    b"\1" + h2.PREFACE + h2.settings() + h2.headers(1, [(":method", "CONNECT"), (":authority", "a:1")]),
)
def connection_manager(data: bytes) -> None:
    """No error leaves the connection, nothing is left of it when it has ended, each head upstream is one head."""
    if not data:
        return
    managers = _managers()
    of = managers[data[0] % len(managers)]
    client = of.connect(start=False)
    size = data[0] // len(managers) or len(data)
    for at in range(1, len(data), size):
        if client.transport.closed or client.transport.aborted:
            break
        client.transport.feed(data[at : at + size])
        of.settle()
    heads = [request.head for request in of.upstream.requests]
    of.upstream.requests.clear()
    client.transport.lose()
    of.settle()
    of.advance(10)
    stats = of.stats
    assert stats.downstream_rq_active == 0
    assert stats.downstream_cx_http2_active == 0
    for head in heads:
        one_head(bytes(head))


def one_head(head: bytes) -> None:
    """No byte in a field ends a line, and there is one way to read where the message ends."""
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")
    for line in lines:
        assert not set(line) & set(b"\r\n\0"), line
    assert len(lines[0].split(b" ")) == 3
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    assert names.count(b"host") <= 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
