"""HTTP/2 clients: which requests are served, which are refused and how, and how connections end."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.compare import Difference, diff_lists
from tests.support.configs import ROUTER, Json, route, typed
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client, exchange
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

pair = managers_fixture(MANAGERS, routes=ROUTES, log=LOG, route_config={"validate_clusters": False})

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


def test_pseudo_fields(pair: Pair) -> None:
    values = {
        "method": ["", "get", "FOO", "G T", "HEAD", "TRACE", "QUERY", "OPTIONS"],
        "scheme": ["", "ht tp", "HTTP", "https", "ftp", "3p"],
        "path": [
            "",
            "*",
            "a",
            "http://a/b",
            "/a b",
            "/\x01",
            "/\x7f",
            '/"<>',
            "/\\",
            "/^`{|}",
            "/\xe9",
            "/a#b",
        ],
        "authority": ["", "a b", "u@a", "a/b", "a:foo", "a_b", "A.B", "a!$&'()*+,;=:[]%~-._", 'a"'],
        "status": ["200"],
        "other": ["x"],
        "protocol": ["websocket", "", " "],
    }
    cases = [
        case(f"{name} {value!r}", one(**{name: value}))
        for name, several in values.items()
        for value in several
    ]
    cases += [
        case(f"without {name}", one(without=[name])) for name in ("method", "scheme", "path", "authority")
    ]
    cases += [
        case(f"{name} twice", one((name, "/x"))) for name in (":method", ":scheme", ":path", ":authority")
    ]
    cases += [
        case(
            "pseudo-field behind", h2.headers(1, [(":method", "GET"), ("a", "b"), (":path", "/")], end=True)
        ),
        case("star of OPTIONS", one(path="*", method="OPTIONS")),
        case("path of another scheme", one(path="abc", scheme="ftp")),
        case("nothing", h2.headers(1, [], end=True)),
        case("host only", one(("host", "h.com"), without=["authority"])),
        case("host and authority", one(("host", "h.com"))),
        case("host first", h2.headers(1, [("host", "h.com"), (":method", "GET")], end=True)),
        case("host twice", one(("host", "a"), ("host", "a"))),
        case("empty host", one(("host", ""), without=["authority"])),
        case("bad host", one(("host", "a/b"))),
    ]
    with pair.same_stats("http2.", "http.plain.", "http.lenient.", ignore=IGNORED):
        same(pair, both(cases))


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
    "http2.outbound_frames_active",
)


def test_fields(pair: Pair) -> None:
    fields = [
        ("Foo", "x"), ("f oo", "x"), ("f:oo", "x"), ("", "x"), ("f\xe9", "x"), ("a_b", "x"),
        ("a", "\0"), ("a", "\r"), ("a", "\n"), ("a", "\t"), ("a", "\x01"), ("a", "\x7f"), ("a", "\xff"),
        ("a", " x "), ("a", ""), ("te", "trailers"), ("te", "TRAILERS"), ("te", "gzip"), ("te", "trailers, gzip"),
        ("connection", "close"), ("keep-alive", "1"), ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"), ("upgrade", "websocket"), ("http2-settings", "x"),
        ("content-length", "0"), ("content-length", "5"), ("expect", "100-continue"), ("cookie", ""),
    ]  # fmt: skip
    cases = [case(f"{name!r}: {value!r}", one((name, value))) for name, value in fields]
    cases += [
        case("crumbs", one(("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("cookie", "c"))),
        case("empty crumb", one(("cookie", ""), ("cookie", "b=2"))),
        case("forwarded", one(("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "2.2.3.4"))),
    ]
    with pair.same_stats("http2.", "http.plain.", "http.lenient.", ignore=IGNORED):
        same(pair, both(cases))


def test_content_length(pair: Pair) -> None:
    values = ["5", "+5", "-5", " 5", "5, 5", "005", "", "0x5", "3", "9", str(2**63), "9" * 30]
    cases = [
        case(
            f"length {value!r}", post("/", h2.data(1, b"abcde", end=True), fields=[("content-length", value)])
        )
        for value in values
    ]
    twice = [("content-length", "5"), ("content-length", "5")]
    cases += [
        case("length twice", post("/", h2.data(1, b"abcde", end=True), fields=twice)),
        case(
            "two lengths",
            post("/", h2.data(1, b"abcde", end=True), fields=[twice[0], ("content-length", "6")]),
        ),
        case(
            "too much in pieces",
            post("/", h2.data(1, b"abc"), h2.data(1, b"def"), h2.data(1, b"ghi"), fields=[twice[0]]),
        ),
        case(
            "too little before trailers",
            post("/", h2.data(1, b"abc"), h2.headers(1, [("t", "v")], end=True), fields=[twice[0]]),
        ),
    ]
    same(pair, both(cases))


def test_bodies(pair: Pair) -> None:
    same(
        pair,
        [
            case("POST without a body", one(method="POST")),
            case("POST, empty DATA", post("/", h2.data(1, end=True))),
            case("GET, empty DATA", h2.request(1, end=False) + h2.data(1, end=True)),
            case("body", post("/", h2.data(1, b"hello", end=True))),
            case("pieces", post("/", h2.data(1, b"a"), h2.data(1, b"b"), h2.data(1, b"c", end=True))),
            case(
                "large",
                post("/", *[h2.data(1, b"x" * 16384)] * 20, h2.data(1, b"y", end=True)),
            ),
            case("expect", post("/", h2.data(1, b"hi", end=True), fields=[("expect", "100-continue")])),
            case("several", [h2.request(number, f"/{number}") for number in (1, 3, 5, 7)], 1, 3, 5, 7),
        ],
    )


def test_padding(pair: Pair) -> None:
    body = h2.data(1, b"hello", padding=9), h2.data(1, b"there", padding=0, end=True)
    same(pair, [case("padded", post("/", *body))])


def test_request_ids(pair: Pair) -> None:
    cases = []
    for number in range(6):
        fields = [("a", "b"), ("x-request-id", f"id-{number}")]
        cases += [
            case(f"id {number}", h2.request(1, f"/{number % 2}", fields=fields)),
            case(f"reply {number}", h2.request(1, "/a#b", fields=fields)),
            case(f"two ids {number}", h2.request(1, "/", fields=[*fields, ("x-request-id", "x")])),
            case(f"POST {number}", post("/", h2.data(1, b"x", end=True), fields=fields)),
        ]
    same(pair, cases)


def test_request_trailers(pair: Pair) -> None:
    def sent(*fields: tuple[str, str], end: bool = True) -> bytes:
        return post("/", h2.data(1, b"abc"), h2.headers(1, fields, end=end))

    cases = [
        case("trailers", sent(("t", "v"), ("t", "w"), ("a_b", "c"))),
        case("no DATA", post("/", h2.headers(1, [("t", "v")], end=True))),
        case("no fields", sent()),
        case("pseudo-field", sent((":path", "/"))),
        case("upper case", sent(("T", "v"))),
        case("without an end", sent(("t", "v"), end=False)),
        case("connection", sent(("connection", "close"))),
        case("te", sent(("te", "gzip"))),
        case("length", sent(("content-length", "3"))),
        case("host", sent(("host", "x"))),
    ]
    same(pair, [*both(cases), *on("trailers", "rejects", "drops")(cases[:3])])


def test_underscores(pair: Pair) -> None:
    cases = [case("underscore", one(("a_b", "c"), ("d", "e"))), case("none", one(("d", "e")))]
    with pair.same_stats("http2.", ignore=IGNORED):
        same(pair, on("rejects", "drops")(cases))


def test_limits_on_heads(pair: Pair) -> None:
    def many(name: str, count: int) -> list[tuple[str, str]]:
        return [(name.format(number), "v") for number in range(count)]

    pseudo = sum(len(text) for text in (":methodGET", ":schemehttp", ":path/", ":authorityex.com"))
    cases = [
        case("100 fields", one(*many("h{}", 96))),
        case("101 fields", one(*many("h{}", 97))),
        case("100 with crumbs", one(*many("cookie", 96))),
        case("101 with crumbs", one(*many("cookie", 97))),
        case("just small enough", split(one(("a", "v" * (61440 - pseudo - 1))))),
        case("too large", split(one(("a", "v" * (61440 - pseudo))))),
        case("the largest string", split(one(("a", "v" * 65536)))),
        case("a larger string", split(one(("a", "v" * 65537)))),
        case("8 fields", one(*many("h{}", 4)), listener="small"),
        case("9 fields", one(*many("h{}", 5)), listener="small"),
        case("small", one(("a", "v" * (1024 - pseudo - 1))), listener="small"),
        case("too large for small", one(("a", "v" * (1024 - pseudo))), listener="small"),
    ]
    with pair.same_stats("http2.", ignore=IGNORED):
        same(pair, cases)


def split(frame: bytes) -> bytes:
    """HEADERS with a block of any size, as HEADERS and CONTINUATION."""
    block = frame[9:]
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    frames = [h2.headers(1, pieces[0], end=True, end_headers=False)]
    frames += [h2.continuation(1, piece, end_headers=False) for piece in pieces[1:-1]]
    return b"".join([*frames, h2.continuation(1, pieces[-1])])


def test_a_lenient_manager(pair: Pair) -> None:
    same(
        pair,
        on("lenient_manager")(
            [
                case("stream error", [one(("Upper", "x")), h2.request(3)], 1, 3),
                case("#", one(path="/a#b")),
                case("QUERY", one(method="QUERY")),
            ]
        ),
    )


def test_local_replies(pair: Pair) -> None:
    grpc = [("content-type", "application/grpc"), ("te", "trailers")]
    cases = []
    for path in ("/direct", "/redirect", "/nowhere", "/a#b"):
        cases += [
            case(f"{path}", one(path=path)),
            case(f"HEAD {path}", one(path=path, method="HEAD")),
            case(f"unfinished {path}", post(path)),
            case(f"unfinished with DATA {path}", post(path, h2.data(1, b"abc"))),
            case(f"gRPC {path}", post(path, h2.data(1, b"abc", end=True), fields=grpc)),
            case(f"unfinished gRPC {path}", post(path, fields=grpc)),
            case(f"then another {path}", [one(path=path), h2.request(3)], 1, 3),
        ]
    with pair.same_stats("http.plain.downstream_rq_", "http.plain.rq_", "http.plain.no_", "http2.tx_reset"):
        same(pair, cases)


def test_responses(pair: Pair) -> None:
    answers: dict[str, Script] = {
        "length": HELLO,
        "chunked": Answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "trailers": Answer(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nt: v\r\n\r\n"
        ),
        "until close": Answer(b"HTTP/1.1 200 OK\r\n\r\nhello", end="close"),
        "no body": Answer(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "empty": Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        "not modified": Answer(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
        "connection fields": Answer(
            b"HTTP/1.1 200 OK\r\nconnection: x, keep-alive\r\nx: y\r\nkeep-alive: 5\r\ncontent-length: 2\r\n\r\nok"
        ),
        "interim": Answer(
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        ),
        "odd status": Answer(b"HTTP/1.1 299 Odd\r\ncontent-length: 2\r\n\r\nok"),
        "cut": CUT,
        "garbage": Answer(b"nonsense\r\n\r\n", end="close"),
        "nothing": Answer(b"", end="close"),
        "large": Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000),
        "upper-case names": Answer(b"HTTP/1.1 200 OK\r\nFoo: Bar\r\ncontent-length: 2\r\n\r\nok"),
    }
    cases = [case(name, one(), script=answer) for name, answer in answers.items()]
    cases += [
        case(
            f"HEAD, {name}",
            one(method="HEAD"),
            script=Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        )
        for name in ("length",)
    ]
    with pair.same_stats("http.plain.downstream_rq_", "http.plain.rq_", "http2.tx_reset", "http2.rx_reset"):
        same(pair, cases)


def test_connect(pair: Pair) -> None:
    plain = h2.headers(1, [(":method", "CONNECT"), (":authority", "a:80")])
    pseudo = [(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
    websocket = h2.headers(1, [*pseudo, (":protocol", "websocket")])
    cases = [
        case("CONNECT", plain),
        case("CONNECT with a path", h2.headers(1, pseudo)),
        case("unknown protocol", h2.headers(1, [*pseudo, (":protocol", "other")])),
        case("WebSocket", websocket, script=Answer(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno")),
    ]
    same(pair, both(cases))


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: x\r\n\r\nhello"
)


def test_an_upgrade_carries_bytes_both_ways(pair: Pair) -> None:
    pseudo = [(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
    frames = h2.headers(1, [*pseudo, (":protocol", "websocket"), ("sec-websocket-key", "k")])

    def talk(side: Side) -> Any:
        side.origin.script(Answer(SWITCH, end="close"))
        with Http2Client(side.proxy.ports["lenient"], timeout=1.0) as client:
            client.send(frames)
            client.until(lambda client: bool(client.stream(1).body))
            client.send(h2.data(1, b"bytes"))
            client.read(1)
            client.settle()
            return told(client), [message.start for message in side.origin.requests]

    pair.same_value("upgrade", talk, settle=0)


@pytest.mark.parametrize("listener", ["plain", "http1", "http2"])
@pytest.mark.parametrize("size", [1, 10, 11, 12, 20, 24])
def test_the_version_is_told_from_the_first_read(pair: Pair, listener: str, size: int) -> None:
    whole = h2.PREFACE + h2.settings() + h2.request(1)

    def sent(side: Side) -> Any:
        side.origin.script(HELLO)
        client = Http2Client(side.proxy.ports[listener], start=False, timeout=1.0)
        with client:
            client.send(whole[:size])
            time.sleep(0.05)
            client.send(whole[size:])
            client.receive(time.monotonic() + 1.0)
            begin = bytes(client._reader.rest[:12])
            if not begin.startswith(b"HTTP/"):
                client.read(1)
            return begin, client.verdict()

    pair.same_value("version", sent, settle=0)


def test_a_connection_of_one_request_after_the_other(pair: Pair) -> None:
    frames = b"".join(h2.request(number) for number in (1, 3))
    same(
        pair,
        [
            case("limit of requests", [frames, h2.request(5)], 1, 3, 5, listener="two_requests"),
        ],
    )


@pytest.mark.parametrize("listener", ["two_requests", "idle", "old"])
def test_draining(pair: Pair, listener: str) -> None:
    frames = b"".join(h2.request(number) for number in (1, 3))

    def drained(side: Side) -> Any:
        side.origin.script(HELLO)
        client = exchange(side.proxy.ports[listener], frames, timeout=3.0)
        return told(client), [last for last, _, _ in client.goaways]

    names = [f"http.{listener}.downstream_cx_", "http2.goaway_sent"]
    with pair.same_stats(*names, ignore=IGNORED):
        pair.same_value("drain", drained, settle=0)


def test_a_stream_opened_while_draining_is_served(pair: Pair) -> None:
    def drained(side: Side) -> Any:
        side.origin.script(HELLO)
        with Http2Client(side.proxy.ports["old"], timeout=2.0) as client:
            client.request(1)
            client.until(lambda client: bool(client.goaways))
            client.request(3)
            client.until(lambda client: len(client.goaways) > 1)
            client.send(h2.request(5))
            client.read_to_end(1.0)
            return told(client)

    pair.same_value("drain", drained, settle=0)


def test_an_idle_connection_without_a_byte(pair: Pair) -> None:
    def silent(side: Side) -> Any:
        client = exchange(side.proxy.ports["idle"], b"", start=False, timeout=2.0)
        return client.end, client.frames

    # Here a connection counts for HTTP/1 before its first byte.
    with pair.same_stats("http.idle.", ignore=(*IGNORED, "http.idle.downstream_cx_http1_total")):
        pair.same_value("silence", silent, settle=0)


@pytest.mark.parametrize("answers", [True, False])
def test_keepalive(pair: Pair, answers: bool) -> None:
    def pinged(side: Side) -> Any:
        with Http2Client(side.proxy.ports["pings"], timeout=1.0, answer_pings=answers) as client:
            client.read_to_end(0.5)
            pings = [frame for frame in client.frames if frame.type == h2.PING]
            return client.end, len(pings) > 2

    with pair.same_stats("http2.keepalive_timeout", "http.pings.downstream_cx_destroy_", ignore=IGNORED):
        pair.same_value("pings", pinged, settle=0)


def test_timeouts(pair: Pair) -> None:
    head = h2.request(1, end=False)
    part = h2.headers(1, one()[9:], end=True, end_headers=False)
    cases = [
        case("route", one(path="/timeout"), script=SLOW),
        case("route, response begun", one(path="/timeout"), script=BROKEN),
        case("route, gRPC", one(("content-type", "application/grpc"), path="/timeout"), script=SLOW),
        case("request", head, listener="hasty"),
        case("head", part, listener="hasty"),
        case("idle, unfinished", head, listener="idle_streams"),
        case("idle", one(), listener="idle_streams", script=SLOW),
        case("idle, response begun", one(), listener="idle_streams", script=BROKEN),
        case("duration", one(), listener="short_streams", script=SLOW),
        case("duration, unfinished", head, listener="short_streams"),
        case("duration, response begun", one(), listener="short_streams", script=BROKEN),
    ]
    names = [f"http.{name}.downstream_rq_" for name in ("plain", "hasty", "idle_streams", "short_streams")]
    with pair.same_stats(*names, "http2.tx_reset", ignore=IGNORED):
        same(pair, cases)


def test_clients_that_give_up(pair: Pair) -> None:
    def given_up(*frames: bytes, script: Script = SLOW) -> None:
        def play_it(side: Side) -> Any:
            side.origin.script(script)
            with Http2Client(side.proxy.ports["plain"], timeout=1.0) as client:
                client.send(h2.request(1, "/given_up"))
                time.sleep(0.1)
                client.send(frames)
                client.settle(0.3)
                return told(client)

        pair.same_value("given up", play_it, settle=0)

    names = ("http.plain.downstream_rq_", "http.plain.downstream_cx_destroy", "http2.rx_reset")
    with pair.same_stats(*names, ignore=IGNORED):
        for code in (0, 2, 7, 8):
            given_up(h2.rst_stream(1, code))
        given_up(h2.rst_stream(1), script=BROKEN)
        given_up(h2.goaway())
        given_up()
    time.sleep(0.5)
    pair.same_log(7, lambda line: UUID.sub("<uuid>", line))


def test_settings(pair: Pair) -> None:
    def read(side: Side) -> Any:
        found = {}
        for name in ("plain", "tuned", "lenient"):
            with Http2Client(side.proxy.ports[name], timeout=1.0) as client:
                client.settle()
                updates = [frame.payload for frame in client.frames if frame.type == h2.WINDOW_UPDATE]
                found[name] = client.settings, updates
        return found

    pair.same_value("settings", read, settle=0)


def test_streams_over_the_limit(pair: Pair) -> None:
    frames = [h2.request(number) for number in (1, 3, 5)]

    def crowd(side: Side) -> Any:
        side.origin.script(SLOW)
        with Http2Client(side.proxy.ports["tuned"], timeout=2.0) as client:
            client.settle()
            client.send(frames)
            client.read_to_end(0.7)
            return client.verdict()

    pair.same_value("crowd", crowd, settle=0)


def test_interim_responses_that_are_passed_on(pair: Pair) -> None:
    final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    expecting = post("/", h2.data(1, b"hi", end=True), fields=[("expect", "100-continue")])
    cases = []
    for status in (100, 102, 103, 104, 199):
        answer = Answer(b"HTTP/1.1 %d Wait\r\nlink: x\r\n\r\n" % status + final)
        cases += [
            case(f"{status}", one(), script=answer),
            case(f"{status} for {status}", expecting, script=answer),
        ]
    with pair.same_stats("http.plain.downstream_rq_1xx", "http.interim.downstream_rq_1xx"):
        same(pair, on("plain", "interim")(cases))


def test_options_of_the_manager(pair: Pair) -> None:
    fields = [("via", "you"), ("x-forwarded-for", "1.2.3.4"), ("x-envoy-retry-on", "5xx")]
    cases = [
        case("defaults", one()),
        case("fields", one(*fields)),
        case("again", one(*fields)),
        case("id", one(("x-request-id", "x"))),
        case("error", one(path="/a#b")),
    ]
    same(pair, on("ids")(cases))


def test_a_filter_that_holds_the_body(pair: Pair) -> None:
    cases = [
        case("small", post("/", h2.data(1, b"12345"), h2.data(1, b"67890", end=True))),
        case("with trailers", post("/", h2.data(1, b"12345"), h2.headers(1, [("t", "v")], end=True))),
        case("large", post("/", h2.data(1, b"12345"), h2.data(1, b"678901", end=True))),
        case("large and unfinished", post("/", h2.data(1, b"12345678901"))),
        case("large in one", post("/", h2.data(1, b"12345678901", end=True))),
    ]
    with pair.same_stats("http.buffer.downstream_rq_", "http2.tx_reset"):
        same(pair, on("buffer")(cases))


def test_streams_that_fall_with_their_connection(pair: Pair) -> None:
    bad = {
        "malformed head": h2.request(5, fields=[("Upper", "x")]),
        "malformed frame": h2.frame(h2.PING, payload=b"short"),
        "wrong state": h2.rst_stream(9),
    }
    first = h2.request(1, "/1") + h2.request(3, "/3", method="POST", end=False)
    cases = [case(name, [first, frame], 1, 3, script=SLOW) for name, frame in bad.items()]
    names = ("http.plain.downstream_rq_rx_reset", "http.plain.downstream_cx_", "http2.rx_messaging_error")
    with pair.same_stats(*names, ignore=IGNORED):
        same(pair, cases)


def test_a_client_that_finishes_sending_has_left(pair: Pair) -> None:
    def half(side: Side) -> Any:
        side.origin.script(SLOW)
        with Http2Client(side.proxy.ports["plain"], timeout=1.0) as client:
            client.settle()
            client.send(h2.request(1))
            time.sleep(0.1)
            client.half_close()
            client.read_to_end(1.0)
            return client.summary()

    pair.same_value("half", half, settle=0)
