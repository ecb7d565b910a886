"""HTTP/2 clients against many connection managers on both sides: how cases are written and compared."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.support import http2_frames as h2
from tests.support.compare import Difference, diff_lists
from tests.support.configs import ROUTER, Json, route, typed
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.managers import managers_fixture
from tests.support.origin import HELLO, Answer, Script

QUICK: Json = {"delayed_close_timeout": "0.1s"}
BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
COMMON = "common_http_protocol_options"
MANAGERS: dict[str, Json] = {
    "plain": QUICK,
    "lenient": {
        **QUICK,
        "http2_protocol_options": {
            "override_stream_error_on_invalid_http_message": True,
            "allow_connect": True,
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    },
    "lenient_manager": {**QUICK, "stream_error_on_invalid_http_message": True},
    "rejects": {**QUICK, COMMON: {"headers_with_underscores_action": "REJECT_REQUEST"}},
    "drops": {**QUICK, COMMON: {"headers_with_underscores_action": "DROP_HEADER"}},
    "trailers": {**QUICK, "http_protocol_options": {"enable_trailers": True}},
    "http1": {**QUICK, "codec_type": "HTTP1"},
    "http2": {**QUICK, "codec_type": "HTTP2"},
    "two_requests": {**QUICK, COMMON: {"max_requests_per_connection": 2}, "drain_timeout": "0.2s"},
    "idle": {**QUICK, COMMON: {"idle_timeout": "0.2s"}, "drain_timeout": "0.2s"},
    "old": {**QUICK, COMMON: {"max_connection_duration": "0.2s"}, "drain_timeout": "0.2s"},
    "hasty": {
        **QUICK,
        "request_timeout": "0.3s",
        "request_headers_timeout": "0.15s",
    },
    "idle_streams": {**QUICK, "stream_idle_timeout": "0.15s"},
    "short_streams": {**QUICK, COMMON: {"max_stream_duration": "0.15s"}},
    "pings": {
        **QUICK,
        "http2_protocol_options": {
            "connection_keepalive": {"interval": "0.1s", "timeout": "0.1s", "interval_jitter": {"value": 0}}
        },
    },
    "interim": {**QUICK, "proxy_100_continue": True},
    "ids": {**QUICK, "always_set_request_id_in_response": True, "via": "me", "use_remote_address": True},
    "buffer": {
        **QUICK,
        "http_filters": [
            {"name": "buffer", "typed_config": typed(BUFFER, max_request_bytes=10)},
            {"name": "router", "typed_config": typed(ROUTER)},
        ],
    },
    "small": {**QUICK, "max_request_headers_kb": 1, COMMON: {"max_headers_count": 8}},
    "tuned": {
        **QUICK,
        "http2_protocol_options": {
            "hpack_table_size": 1024,
            "max_concurrent_streams": 2,
            "initial_stream_window_size": 65535,
            "initial_connection_window_size": 100000,
        },
    },
}
ROUTES: list[Json] = [
    {
        "match": {"prefix": "/direct"},
        "direct_response": {"status": 200, "body": {"inline_string": "direct"}},
    },
    {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/elsewhere"}},
    route("nowhere", "/nowhere"),
    route("origin", "/timeout", timeout="0.1s"),
    route("origin", "/"),
]
#: What our stateless encoder sends is larger; everything else about bytes is the same.
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% "
    "%REQ(:SCHEME)% %REQ(X-REQUEST-ID)% "
    "%PROTOCOL% %BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_RECEIVED% "
    "%DOWNSTREAM_WIRE_BYTES_RECEIVED% %CONNECTION_TERMINATION_DETAILS%"
)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SLOW = Answer(delay=0.4)
BROKEN = Answer([b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", b"67890"], pause=0.4)
CUT = Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", end="close")

#: (name, listener, frames, streams to wait for (none: until the end), what the origin answers)
Case = tuple[str, str, bytes | Sequence[bytes], Sequence[int], Script]


def case(
    name: str, frames: bytes | Sequence[bytes], *ids: int, listener: str = "plain", script: Script = HELLO
) -> Case:
    return name, listener, frames, ids or (1,), script


def post(path: str = "/", *parts: bytes, fields: h2.FieldList = (), **options: Any) -> bytes:
    return h2.request(1, path, method="POST", fields=fields, end=False, **options) + b"".join(parts)


def one(*fields: tuple[str, str], without: Sequence[str] = (), **changes: str) -> bytes:
    """A request by its pseudo-fields."""
    pseudo = {"method": "GET", "scheme": "http", "path": "/", "authority": "ex.com", **changes}
    named = [(f":{name}", value) for name, value in pseudo.items() if name not in without]
    return h2.headers(1, [*named, *fields], end=True)


def play(case: Case, side: Side, **options: Any) -> tuple[Any, ...]:
    _, listener, frames, ids, script = case
    side.origin.script(script)
    client = Http2Client(side.proxy.ports[listener], timeout=2.0, **options)
    with client:
        # Until it has acknowledged our windows, a client has those of the RFC.
        client.settle()
        client.send(frames)
        client.until(lambda client: all(client.stream(number).done for number in ids))
        if not all(client.stream(number).done for number in ids):
            client.read_to_end(1.0)
        else:
            # Whether the connection goes on is part of the answer.
            client.settle(0.3)
    return told(client), sorted(side.origin.requests, key=lambda message: message.start)


def told(client: Http2Client) -> dict[str, object]:
    """The client's view. How the last packets meet decides whether a close looks like a reset."""
    return {**client.summary(), "open": client.end == "open", "end": None}


def same(pair: Pair, cases: Sequence[Case], **options: Any) -> list[Any]:
    """All cases on both sides; compared are the client's view, the upstream's and the log."""
    before = max(pair.both(lambda side: len(side.proxy.access_log(0))))
    differences: list[Difference] = []
    results = []
    for one_case in cases:
        envoy, outrider = pair.both(functools.partial(play, one_case, **options))
        name = f"{one_case[0]} ({one_case[1]})"
        if envoy[0] != outrider[0]:
            differences.append(Difference(name, envoy[0], outrider[0]))
        differences += diff_lists(f"{name}: upstream", envoy[1], outrider[1])
        results.append(outrider[0])
    time.sleep(0.2)
    theirs, ours = pair.both(
        lambda side: [UUID.sub("<uuid>", line) for line in side.proxy.access_log(before + 1)[before:]]
    )
    if sorted(theirs) != sorted(ours):
        differences.append(
            Difference(
                "access_log",
                [line for line in theirs if line not in ours],
                [line for line in ours if line not in theirs],
            )
        )
    pair.check(differences)
    return results


def on(*listeners: str) -> Callable[[Sequence[Case]], list[Case]]:
    """Each case on each listener."""
    return lambda cases: [
        (name, listener, frames, ids, script)
        for name, _, frames, ids, script in cases
        for listener in listeners
    ]


both = on("plain", "lenient")


#: Sizes differ with the encoder; what is counted by the codec library that is ours alone.
IGNORED = (
    *(
        f"http.{name}.downstream_cx_{what}"
        for name in MANAGERS
        for what in (
            "tx_bytes_total",
            "rx_bytes_total",
            "length_ms",
            "rx_bytes_buffered",
            "tx_bytes_buffered",
        )
    ),
    "http2.nghttp2_downstream_connections",
    # Who of the two closes first, when both may.
    *(f"http.{name}.downstream_cx_destroy_{who}" for name in MANAGERS for who in ("local", "remote")),
    "http2.nghttp2_upstream_connections",
    "http2.oghttp2_downstream_connections",
)


def split(frame: bytes) -> bytes:
    """HEADERS with a block of any size, as HEADERS and CONTINUATION."""
    block = frame[9:]
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    frames = [h2.headers(1, pieces[0], end=True, end_headers=False)]
    frames += [h2.continuation(1, piece, end_headers=False) for piece in pieces[1:-1]]
    return b"".join([*frames, h2.continuation(1, pieces[-1])])


def fixture() -> Any:
    """The module-scoped `pair` with all `MANAGERS`."""
    return managers_fixture(MANAGERS, routes=ROUTES, log=LOG, route_config={"validate_clusters": False})
