"""The filters that translate and count gRPC, between HTTP/1 and HTTP/2 clients and hosts.

Over HTTP/1 trailers are switched on, both ways.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from proxy.codec.grpc import prefix
from tests.support import http2_frames as h2
from tests.support.compare import Difference, diff_lists
from tests.support.configs import HTTP_OPTIONS, ROUTER, Json, cluster, route, typed, virtual_host
from tests.support.differential import Pair, Side
from tests.support.http2_client import exchange
from tests.support.http2_origin import Http2Origin
from tests.support.http_text import parse_request
from tests.support.managers import Case, get, managers, post, same_everywhere
from tests.support.origin import HELLO, Answer, Origin

FILTERS = "envoy.extensions.filters.http."


def chain(name: str, type_name: str, **fields: Any) -> list[Json]:
    return [
        {"name": name, "typed_config": typed(f"{FILTERS}{name}.v3.{type_name}", **fields)},
        {"name": "router", "typed_config": typed(ROUTER)},
    ]


def stats(**fields: Any) -> list[Json]:
    return chain("grpc_stats", "FilterConfig", **fields)


def reverse(**fields: Any) -> list[Json]:
    return chain("grpc_http1_reverse_bridge", "FilterConfig", content_type="application/x-protobuf", **fields)


ALLOWED = {"services": [{"name": "a.B", "method_names": ["C", "D"]}]}
CHAINS: dict[str, list[Json]] = {
    "web": chain("grpc_web", "GrpcWeb"),
    "bridge": chain("grpc_http1_bridge", "Config"),
    "upgrade": chain(
        "grpc_http1_bridge", "Config", upgrade_protobuf_to_grpc=True, ignore_query_parameters=True
    ),
    "reverse": reverse(),
    "withhold": reverse(withhold_grpc_frames=True),
    "sized": reverse(withhold_grpc_frames=True, response_size_header="X-Size"),
    "stats": stats(),
    "all": stats(stats_for_all_methods=True, emit_filter_state=True, enable_upstream_stats=True),
    "dots": stats(stats_for_all_methods=True, replace_dots_in_grpc_service_name=True),
    "allowed": stats(individual_method_stats_allowlist=ALLOWED),
}
MANAGERS: dict[str, Json] = {
    name: {"http_filters": filters, "http_protocol_options": {"enable_trailers": True}}
    for name, filters in CHAINS.items()
}
SUPPRESSING = typed(ROUTER, suppress_grpc_request_failure_code_stats=True)
MANAGERS["suppressing"] = {"http_filters": [{"name": "router", "typed_config": SUPPRESSING}]}
OFF: Json = {
    "grpc_http1_reverse_bridge": typed(
        f"{FILTERS}grpc_http1_reverse_bridge.v3.FilterConfigPerRoute", disabled=True
    )
}
ROUTES = [
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 403, "body": {"inline_string": "no %"}}},
    {**route("origin", "/off"), "typed_per_filter_config": OFF},
    {"match": {"path": "/a.B/Missing"}, "route": {"cluster": "origin"}, "name": "named"},
    {"match": {"prefix": "/dead"}, "route": {"cluster": "dead"}},
    {**route("origin", "/counted"), "stat_prefix": "counted"},
    route("origin", "/a"),
]
# Envoy has two stats of one name where one filter takes it from its config and another from requests.
MANAGERS["allowed"]["route_config"] = {
    "name": "listed",
    "virtual_hosts": [
        virtual_host([{**one, "route": {"cluster": "listed"}} if "route" in one else one for one in ROUTES])
    ],
}
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% "
    "%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %GRPC_STATUS% %TRAILER(GRPC-STATUS)% "
    "%FILTER_STATE(envoy.filters.http.grpc_stats)% %FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)% "
    "%FILTER_STATE(envoy.filters.http.grpc_stats:FIELD:request_message_count)%"
)


@pytest.fixture(scope="module", params=["http1", "http2"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The parameter is what the hosts speak."""
    http2 = request.param == "http2"
    protocol: Json = (
        {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {"enable_trailers": True}}
    )
    options = {HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config=protocol)}
    ports = {"origin": "{{origin_port}}", "listed": "{{origin_port}}", "dead": 1}
    config = managers(
        MANAGERS,
        routes=ROUTES,
        clusters=[
            cluster(name, port, typed_extension_protocol_options=options) for name, port in ports.items()
        ],
        route_config={"validate_clusters": False},
        log=LOG,
    )
    origins = {"origin": Http2Origin if http2 else Origin}
    with Pair(config, listeners=list(MANAGERS), origins=origins) as started:
        yield started


#: What does not depend on the protocol, and shows unfinished requests and pieces of answers.
ONLY_HTTP1 = pytest.mark.parametrize("pair", ["http1"], indirect=True)


def by_http2(sent: bytes) -> bytes:
    """A request in HTTP/1 as frames of stream 1."""
    message = parse_request(sent)
    assert message is not None
    method, path, _ = message.start.split(" ")
    fields = [(name.lower(), value) for name, value in message.fields]
    fields = [(name, value) for name, value in fields if name not in {"host", "transfer-encoding"}]
    trailers = [(name.lower(), value) for name, value in message.trailers]
    body = message.body
    frames = [h2.request(1, path, method=method, fields=fields, end=not body and not trailers)]
    if body:
        frames.append(h2.data(1, body, end=not trailers))
    if trailers:
        frames.append(h2.headers(1, trailers, end=True))
    return b"".join(frames)


def same(pair: Pair, cases: Sequence[Case]) -> None:
    """All cases, from a client of each kind."""
    same_everywhere(pair, cases)
    before = pair.lines_logged()
    differences: list[Difference] = []
    for listener, sent, script in cases:
        frames = by_http2(sent)

        def play(
            side: Side, listener: str = listener, frames: bytes = frames, script: Any = script
        ) -> tuple[Any, ...]:
            side.origin.script(script)
            client = exchange(side.proxy.ports[listener], frames, 1)
            *told, end = client.stream(1).summary()
            # Whether a reset NO_ERROR follows depends on how soon the request was whole.
            return [*told, str(end).partition(",")[0]], list(side.origin.requests)

        envoy, outrider = pair.both(play)
        name = f"{listener} {sent!r} {script!r}"
        if envoy[0] != outrider[0]:
            differences.append(Difference(name, envoy[0], outrider[0]))
        differences += diff_lists(f"{name}: upstream", envoy[1], outrider[1])
    theirs, ours = pair.logged_since(before, len(cases))
    if theirs != ours:
        pairs = [(a, b) for a, b in zip(theirs, ours, strict=False) if a != b]
        differences.append(Difference("access_log", [a for a, _ in pairs], [b for _, b in pairs]))
    pair.check(differences)


COUNTED = ("cluster.origin.grpc.", "cluster.origin.grpc-web.", "cluster.listed.grpc.")
GRPC = "Content-Type: application/grpc"
MESSAGE = prefix(3) + b"abc"


def chunked(path: str, *fields: str, chunks: Sequence[bytes] = (MESSAGE,), trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return (
        get(path, "Transfer-Encoding: chunked", *fields, method="POST") + body + b"0\r\n" + trailers + b"\r\n"
    )


def answer(
    *chunks: bytes,
    status: str = "200 OK",
    content_type: str = "application/grpc",
    fields: bytes = b"",
    trailers: bytes = b"grpc-status: 0\r\ngrpc-message: fine\r\n",
) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + fields + b"\r\n" + body + b"0\r\n" + trailers + b"\r\n"


def sized(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


TRAILERS_ONLY = sized(b"", GRPC, "grpc-status: 5", "grpc-message: gone")
FAILED = answer(MESSAGE, trailers=b"grpc-status: 7\r\ngrpc-message: not you\r\nx-t: 1\r\n")
PLAIN = [
    HELLO,
    sized(b"no", "content-type: text/plain", status="503 Unavailable"),
    sized(b"", "content-type: text/plain", status="404 Not Found"),
    answer(b"caf\xc3\xa9 ~", b"%", content_type="text/html", status="401 Unauthorized", trailers=b""),
    answer(b"no", content_type="text/html", status="500 No", trailers=b"x-t: 1\r\n"),
]
GRPC_ANSWERS = [
    answer(MESSAGE),
    answer(MESSAGE, MESSAGE[:4], MESSAGE[4:], prefix(0)),
    answer(),
    answer(MESSAGE, trailers=b""),
    FAILED,
    TRAILERS_ONLY,
    answer(MESSAGE, trailers=b"grpc-status: x\r\n"),
    answer(MESSAGE, trailers=b"grpc-status: 42\r\n"),
    answer(MESSAGE, content_type="application/grpc+proto"),
    answer(MESSAGE, status="503 Unavailable"),
]


def text(data: bytes) -> bytes:
    return base64.b64encode(data)


@pytest.mark.parametrize(
    ("content_type", "accept"),
    [
        ("application/grpc-web", None),
        ("application/grpc-web+proto", "application/grpc-web+proto"),
        ("application/grpc-web", "application/grpc-web-text"),
        ("application/grpc-web-text", None),
        ("application/grpc-web-text+proto", "application/grpc-web-text+proto"),
        ("application/grpc-web-text;x", None),
        ("application/grpc", None),
    ],
)
def test_grpc_web(pair: Pair, content_type: str, accept: str | None) -> None:
    fields = [f"Content-Type: {content_type}"] + ([f"Accept: {accept}"] if accept else [])
    is_text = content_type in {"application/grpc-web-text", "application/grpc-web-text+proto"}
    body = text(MESSAGE) if is_text else MESSAGE
    answers = [one for one in GRPC_ANSWERS if not (accept and "text" in accept and one == GRPC_ANSWERS[3])]
    cases: list[Case] = [
        *(("web", post("/a.B/C", body, *fields), one) for one in answers + PLAIN),
        ("web", chunked("/a.B/C", *fields, chunks=[body]), GRPC_ANSWERS[0]),
        ("web", post("/a/b/c", body, *fields), GRPC_ANSWERS[0]),
        ("web", post("/direct", body, *fields), GRPC_ANSWERS[0]),
        ("web", post("/missing", body, *fields), GRPC_ANSWERS[0]),
        ("web", post("/a.B/C", body, *fields, "grpc-accept-encoding: gzip"), GRPC_ANSWERS[0]),
        ("web", get("/a.B/C", *fields), TRAILERS_ONLY),
    ]
    with pair.same_stats(*COUNTED):
        same(pair, cases)


@ONLY_HTTP1
@pytest.mark.parametrize(
    "chunks",
    [
        [text(MESSAGE)[:1], text(MESSAGE)[1:]],
        [text(MESSAGE)[:6], text(MESSAGE)[6:]],
        [text(MESSAGE[:5]) + text(MESSAGE[5:])],
        [text(MESSAGE[:5]), text(MESSAGE[5:])],
        [b"AAAA!AAA"],
        [b"AAA"],
        [b"AAAAA"],
        [b"AB=="],
        [b"AA=="],
        [b"===="],
        [],
    ],
)
def test_base64_requests(pair: Pair, chunks: list[bytes]) -> None:
    sent = chunked("/a.B/C", "Content-Type: application/grpc-web-text", chunks=chunks)
    cut = [sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"]
    cut += [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks] + [b"0\r\n\r\n"]
    pair.same(sent, answer(), listener="web")
    pair.same(cut, answer(), listener="web", pause=0.05, ignore=["connection.end"])


@ONLY_HTTP1
@pytest.mark.parametrize("size", [100, 16384, 20000, 70000])
def test_long_responses_that_are_no_grpc(pair: Pair, size: int) -> None:
    answered = sized(b"x" * size, status="400 Bad")
    sent = post("/a.B/C", MESSAGE, "Content-Type: application/grpc-web")
    pair.same(sent, answered, listener="web")
    pair.same(sent, Answer([answered[:90], answered[90:]]), listener="web")


@pytest.mark.parametrize("manager", ["bridge", "upgrade"])
@pytest.mark.parametrize("content_type", ["application/grpc", "application/x-protobuf", "text/plain"])
def test_http1_bridge(pair: Pair, manager: str, content_type: str) -> None:
    fields = [f"Content-Type: {content_type}"]
    cases: list[Case] = [
        *((manager, post("/a.B/C?q=1", b"abc", *fields), one) for one in GRPC_ANSWERS + PLAIN),
        (manager, chunked("/a.B/C", *fields, chunks=[b"ab", b"cdef"]), GRPC_ANSWERS[0]),
        (manager, post("/direct", b"abc", *fields), GRPC_ANSWERS[0]),
        (manager, post("/missing", b"abc", *fields), GRPC_ANSWERS[0]),
        (manager, get("/a.B/C", *fields), TRAILERS_ONLY),
        (manager, get("/a.B/C", *fields), GRPC_ANSWERS[0]),
    ]
    with pair.same_stats(*COUNTED):
        same(pair, cases)


PROTOBUF = "content-type: application/x-protobuf"


@pytest.mark.parametrize("manager", ["reverse", "withhold", "sized"])
@pytest.mark.parametrize("path", ["/a.B/C", "/off"])
def test_http1_reverse_bridge(pair: Pair, manager: str, path: str) -> None:
    proto = "application/x-protobuf"
    answers = [
        sized(b"xyz", PROTOBUF),
        sized(b"xyz", PROTOBUF, "x-size: 3"),
        sized(b"xyz", PROTOBUF, "x-size: 4"),
        sized(b"xyz", PROTOBUF, "x-size: x"),
        sized(b"", PROTOBUF),
        sized(b"", PROTOBUF, "x-size: 0"),
        sized(b"xyz", PROTOBUF, status="404 Not Found"),
        sized(b"", PROTOBUF, status="503 No"),
        sized(b"xyz", "content-type: text/plain"),
        sized(b"xyz", status="502 Bad"),
        answer(b"xy", b"z", content_type=proto, trailers=b""),
        answer(b"xy", b"z", content_type=proto, fields=b"x-size: 3\r\n", trailers=b""),
        answer(b"xyz", content_type=proto, fields=b"x-size: 3\r\n", trailers=b"x-t: 1\r\n"),
        answer(b"xyz", content_type=proto, trailers=b"x-t: 1\r\n"),
        answer(content_type=proto, trailers=b""),
    ]
    if manager == "sized":
        # A client of HTTP/1 has all that content-length promises before the trailers come, and may be gone.
        answers = [one for one in answers if b"x-t" not in one or b"x-size" not in one]
    cases: list[Case] = [
        *((manager, post(path, MESSAGE, GRPC), one) for one in answers),
        (manager, chunked(path, GRPC), answers[1]),
        (manager, chunked(path, GRPC, trailers=b"x-q: 1\r\n"), answers[1]),
        (manager, post(path, MESSAGE, GRPC + "+proto"), answers[1]),
        (manager, post(path, b"xyz", "Content-Type: text/plain"), HELLO),
        (manager, get(path, GRPC), HELLO),
        (manager, post("/direct", MESSAGE, GRPC), HELLO),
        (manager, post("/missing", MESSAGE, GRPC), HELLO),
    ]
    same(pair, cases)


@ONLY_HTTP1
@pytest.mark.parametrize("manager", ["withhold"])
def test_a_message_that_is_none(pair: Pair, manager: str) -> None:
    pair.same(chunked("/a.B/C", GRPC, chunks=[b"abc"]), sized(b"xyz", PROTOBUF), listener=manager)


@pytest.mark.parametrize("manager", ["stats", "all", "dots", "allowed"])
def test_stats(pair: Pair, manager: str) -> None:
    cases: list[Case] = [
        *((manager, post("/a.B/C", MESSAGE, GRPC), one) for one in GRPC_ANSWERS + PLAIN),
        (manager, chunked("/a.B/D", GRPC, chunks=[MESSAGE * 2, MESSAGE[:1], MESSAGE[1:]]), GRPC_ANSWERS[1]),
        (manager, post("/a.B/E?x", MESSAGE, GRPC + "+proto"), GRPC_ANSWERS[0]),
        (manager, post("/a/b/c", MESSAGE, GRPC), GRPC_ANSWERS[0]),
        (manager, post("/missing/x", MESSAGE, GRPC), GRPC_ANSWERS[0]),
        (manager, post("/direct", MESSAGE, GRPC), GRPC_ANSWERS[0]),
        (manager, post("/a.B/C", MESSAGE, "Content-Type: application/grpc-web"), GRPC_ANSWERS[0]),
        (manager, get("/a.B/C", GRPC), TRAILERS_ONLY),
    ]
    with pair.same_stats(*COUNTED):
        same(pair, cases)


@pytest.mark.parametrize("manager", ["stats", "all", "allowed"])
def test_connect_stats(pair: Pair, manager: str) -> None:
    unary = ["Content-Type: application/proto", "Connect-Protocol-Version: 1"]
    stream = ["Content-Type: application/connect+proto"]

    def streamed(end: bytes, flags: int = 2) -> bytes:
        body = MESSAGE * 2 + prefix(len(end), flags) + end
        return answer(body[:7], body[7:], content_type="application/connect+proto", trailers=b"")

    cases: list[Case] = [
        (manager, post("/a.B/C", b"abc", *unary), HELLO),
        (manager, post("/a.B/C", b"abc", *unary), sized(b"no", status="404 Not Found")),
        (manager, post("/a.B/C", b"", *unary), HELLO),
        (manager, chunked("/a.B/C", *stream, chunks=[MESSAGE * 3]), streamed(b"{}")),
        (manager, chunked("/a.B/C", *stream), streamed(b'{"error": {"code": "not_found"}}')),
        (manager, chunked("/a.B/C", *stream), streamed(b'{"error": {}}')),
        (manager, chunked("/a.B/C", *stream), streamed(b"nonsense")),
        (manager, chunked("/a.B/C", *stream), streamed(b"{}", flags=0)),
        (manager, chunked("/a.B/C", *stream), sized(b"no", status="503 No")),
    ]
    with pair.same_stats(*COUNTED):
        same(pair, cases)


def test_upstream_times(pair: Pair) -> None:
    """Only that there is a histogram: its values are times."""
    sent = post("/a.B/Timed", MESSAGE, GRPC)
    pair.same(sent, GRPC_ANSWERS[0], listener="all")
    name = "cluster.origin.grpc.a.B.Timed.upstream_rq_time"
    pair.same_value(
        "histogram", lambda side: name in side.proxy.admin("/stats?format=prometheus") or name in _names(side)
    )


def _names(side: Any) -> str:
    found: str = side.proxy.admin("/stats?type=Histograms")
    return found


def test_router_that_hides_codes_of_grpc(pair: Pair) -> None:
    cases: list[Case] = [
        ("suppressing", post(path, b"", content_type, "x-envoy-upstream-alt-stat-name: alt"), script)
        for path in ("/a", "/counted", "/dead")
        for content_type in (GRPC, "Content-Type: text/plain")
        for script in (HELLO, sized(b"", status="503 No"))
    ]
    with pair.same_stats(
        *(
            f"cluster.{name}.{kind}upstream_rq_{code}"
            for name in ("origin", "dead")
            for kind in ("", "external.", "internal.", "alt.")
            for code in ("200", "2xx", "503", "5xx", "completed")
        ),
        "vhost.*.route.",
    ):
        same(pair, cases)


CUT = Answer(
    b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 8\r\n\r\n\0\0", end="close"
)


@ONLY_HTTP1
@pytest.mark.parametrize("content_type", [GRPC, "Content-Type: text/plain"])
def test_hosts_are_judged_by_the_status_of_grpc(pair: Pair, content_type: str) -> None:
    def outcomes(side: Side) -> dict[str, int]:
        text = side.proxy.admin("/clusters")[1]
        found = re.findall(r"^origin::127.0.0.1:\d+::(rq_error|rq_success)::(\d+)", text, re.MULTILINE)
        return {name: int(value) for name, value in found}

    def changes(side: Side) -> dict[str, int]:
        return {name: value - before[side is pair.envoy][name] for name, value in outcomes(side).items()}

    scripts = [*GRPC_ANSWERS, sized(b"", GRPC, "grpc-status: 14"), sized(b"", GRPC), *PLAIN, CUT]
    for script in scripts:
        envoy, outrider = pair.both(outcomes)
        before = {True: envoy, False: outrider}
        pair.same(post("/a", MESSAGE, content_type), script, listener="suppressing")
        pair.same_value(f"outcome of {script!r}", changes)
