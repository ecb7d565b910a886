"""HTTP/2 clients: which requests are served, which are refused and how, and what is answered."""

from __future__ import annotations

from typing import Any

from tests.support import http2_frames as h2
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.http2_downstream import (
    CUT,
    IGNORED,
    both,
    case,
    fixture,
    on,
    one,
    post,
    same,
    split,
    told,
)
from tests.support.origin import HELLO, Answer, Script

pair = fixture()


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
