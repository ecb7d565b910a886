"""JSON over HTTP to gRPC and back: what reaches the gRPC server, what the client gets.

The gRPC server is a scripted HTTP/1 origin with trailers, which is all the same to the filter.
"""

from __future__ import annotations

import dataclasses
import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import pytest

from tests.support.bookstore import SERVICE, descriptor_set, frame, frames_of, message, text_of
from tests.support.compare import Difference, diff_lists, diff_replies
from tests.support.configs import ROUTER, Json, cluster, route, typed
from tests.support.differential import Outcome, Pair, same_verdict
from tests.support.http_text import Message
from tests.support.managers import get, managers, managers_fixture, post
from tests.support.origin import Answer, Script

_TYPE: Final = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
_SET: Final = b64encode(descriptor_set()).decode()
STREAMS: Final = ("BulkCreate", "Chat", "Stream")


def transcoder(**fields: Any) -> Json:
    return typed(_TYPE, **{"proto_descriptor_bin": _SET, "services": [SERVICE], **fields})


def chain(**fields: Any) -> Json:
    return {
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder(**fields)},
            {"name": "router", "typed_config": typed(ROUTER)},
        ],
        "http_protocol_options": {"enable_trailers": True},
    }


SETTINGS: Final[dict[str, Json]] = {
    "plain": {},
    "strict": {
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "auto_mapping": True,
        "case_insensitive_enum_parsing": True,
    },
    "lenient": {
        "ignore_unknown_query_parameters": True,
        "ignored_query_parameters": ["key", "theme"],
        "query_param_unescape_plus": True,
        "url_unescape_spec": "ALL_CHARACTERS",
        "match_unregistered_custom_verb": True,
        "match_incoming_request_route": True,
    },
    "printing": {
        "print_options": {
            "add_whitespace": True,
            "always_print_primitive_fields": True,
            "always_print_enums_as_ints": True,
            "preserve_proto_field_names": True,
        },
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
    },
    "newline": {"print_options": {"stream_newline_delimited": True}},
    "events": {"print_options": {"stream_sse_style_delimited": True, "stream_newline_delimited": True}},
    "status": {"convert_grpc_status": True},
    "capture": {"capture_unknown_query_parameters": True},
    "small": {"max_request_body_size": 30, "max_response_body_size": 30},
}
ROUTES: Final = [
    {
        **route(prefix="/off"),
        "typed_per_filter_config": {"transcoder": typed(_TYPE, proto_descriptor_bin="")},
    },
    {
        **route(prefix="/books"),
        "typed_per_filter_config": {"transcoder": transcoder(auto_mapping=True, convert_grpc_status=True)},
    },
    {"match": {"path": "/bookstore.Bookstore/DeleteShelf"}, "direct_response": {"status": 403}},
    route(prefix="/"),
]

pair = managers_fixture(
    {name: chain(**fields) for name, fields in SETTINGS.items()},
    routes=ROUTES,
    clusters=[cluster(http_protocol_options={"enable_trailers": True})],
)


def answer(
    *messages: Any, status: str = "0", fields: Sequence[str] = (), trailers: Sequence[str] = ()
) -> bytes:
    """A gRPC response as HTTP/1 with trailers."""
    head = ["HTTP/1.1 200 OK", "Content-Type: application/grpc", *fields, "Transfer-Encoding: chunked"]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in map(frame, messages) if one)
    ending = [*([f"grpc-status: {status}"] if status else []), *trailers]
    return (
        ("\r\n".join(head) + "\r\n\r\n").encode()
        + chunks
        + b"0\r\n"
        + "".join(f"{line}\r\n" for line in ending).encode()
        + b"\r\n"
    )


def only_trailers(status: str, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/grpc", f"grpc-status: {status}", *fields]
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode()


SHELF: Final = message(
    "Shelf", id=7, theme="Art", displayName='<ä> "b"', genre="HISTORY_OF_ART", tags=["x", "y"]
)
OK: Final = answer(SHELF)


def decoded(request: Message, kind: str) -> Message:
    """The request with its messages as text, so that the order of their fields does not matter."""
    if not request.body or "application/grpc" not in dict(request.fields).get("content-type", ""):
        return request
    texts = [text_of(kind, one) for one in frames_of(request.body)]
    return dataclasses.replace(request, body="\n".join(texts).encode())


def logged(pair: Pair, more: int = 0, before: int = 0) -> int:
    """How many lines the logs have, once they have `more` than `before`."""
    return max(len(lines) for lines in pair.both(lambda side: side.proxy.access_log(before + more)))


def same(
    pair: Pair, manager: str, cases: Sequence[tuple[bytes, Script]], kind: str = "Shelf", bodies: bool = True
) -> list[Outcome]:
    """All cases on both sides; with `bodies` the texts of replies count too."""
    differences: list[Difference] = []
    told = []
    outcomes = []
    before = logged(pair)
    for sent, script in cases:
        envoy, outrider = pair.run(sent, script, listener=manager)
        found = diff_replies(envoy.reply, outrider.reply)
        theirs, ours = (
            [decoded(request, kind) for request in side.all_requests] for side in (envoy, outrider)
        )
        found += diff_lists("upstream", theirs, ours)
        if not bodies:
            found = [
                one for one in found if one.where not in {"response.body", "response.field.content-length"}
            ]
        if found:
            told.append(f"\n  {sent[:120]!r}: {', '.join(one.where for one in found)}")
        differences += found
        outcomes.append(outrider)
    logs = pair.both(lambda side: side.proxy.access_log(before + len(cases))[before:])
    for number, (theirs, ours) in enumerate(zip(*logs, strict=True)):
        if theirs != ours:
            differences.append(Difference("access_log", theirs, ours))
            told.append(f"\n  {cases[number][0][:120]!r}: access log")
    pair.check(differences, context="".join(told))
    return outcomes


def json(path: str, text: str | bytes, *fields: str, method: str = "POST") -> bytes:
    body = text.encode() if isinstance(text, str) else text
    return post(path, body, "Content-Type: application/json", *fields, method=method)


PATHS: Final = (
    "/shelves/5",
    "/shelves/5/",
    "/shelves/5?theme=a%20b+c&tags=x&tags=y&displayName=n&display_name=m",
    "/shelves/x",
    "/shelves/5?genre=FICTION",
    "/shelves/5?genre=1",
    "/shelves/5?genre=fiction",
    "/shelves/5?genre=history-of-art",
    "/shelves/5?genre=9",
    "/shelves/5?unknown=1",
    "/shelves/5?id=6",
    "/shelves/5?key=1&theme=x",
    "/shelves/5?theme",
    "/shelves/5?=x&theme=&&",
    "/shelves/5?th%65me=x",
    "/shelves/5?theme.x=y",
    "/shelves/5:report",
    "/shelves/5:other",
    "/themes/a/b%2Fc%20d%3Ae/f",
    "/themes/",
    "/themes",
    "/themes/x%2fy",
    "/themes/%41%zz%4",
    "/books/shelves/1%2f2/books/3/tail",
    "/books/shelves/1/books/3",
    "/books?shelf.id=4&shelf.theme=x&pages=12&name=n",
    "/books?shelf=4",
    "/books?shelf.id.x=4",
    "/twice",
    "/nothing",
    "/off/shelves",
    "/bookstore.Bookstore/GetShelf",
    "/",
)


@pytest.mark.parametrize("manager", ["plain", "strict", "lenient", "printing", "capture"])
def test_paths_and_queries(pair: Pair, manager: str) -> None:
    books = [path for path in PATHS if path.startswith("/books?")]
    same(pair, manager, [(get(path), OK) for path in PATHS if path not in books])
    same(pair, manager, [(get(path), answer(message("Book", pages=3))) for path in books], "Book")


def test_methods_choose_the_rule(pair: Pair) -> None:
    for manager in ("plain", "strict", "lenient"):
        same(
            pair,
            manager,
            [
                (get("/shelves/5", method=method), OK)
                for method in ("GET", "DELETE", "PUT", "POST", "PATCH", "HEAD", "OPTIONS", "TRACE")
            ]
            + [(json("/bookstore.Bookstore/Unmapped", '{"id": 1}'), OK)]
            + [(post("/bookstore.Bookstore/GetShelf", frame(SHELF), "Content-Type: application/grpc"), OK)]
            + [(json("/shelves", '{"id": 1}', "Content-Type: application/grpc+proto"), OK)],
        )


BODIES: Final = (
    "{}",
    "",
    '{"id": 5, "theme": "x", "displayName": "y", "display_name": "z", "tags": ["a", "b"], "genre": "FICTION"}',
    '{"id": "5", "genre": 2, "unknown": {"a": [1, {}]}, "theme": null, "tags": []}',
    '{"id": 5.0}',
    '{"id": 5.5}',
    '{"id": true}',
    '{"id": "x"}',
    '{"id": " 5"}',
    '{"id": 99999999999999999999}',
    '{"id": {}}',
    '{"id": [1]}',
    '{"theme": 5}',
    '{"theme": true}',
    '{"theme": 1.5}',
    '{"tags": "single"}',
    '{"tags": ["a", 1, 2]}',
    '{"tags": [["a"], ["b"]]}',
    '{"genre": "none"}',
    '{"genre": "fiction"}',
    '{"genre": 99}',
    '{"genre": 1.5}',
    "{'id': 5, theme: 'x', }",
    '{"theme": "\\u00e4\\ud83d\\ude00\\n\\/\\q"}',
    '{"theme": "\\ud83d"}',
    '{"theme": "\\ud83dxxxxxxx"}',
    '{"theme": "\\udc00"}',
    '{"theme": "\\u12"}',
    '{"theme": "\\uzzzz"}',
    '{"theme": "open',
    '{"theme": "open\\',
    '{"theme"',
    '{"theme":',
    '{"theme": tru',
    '{"id": 5',
    '{"theme": truex}',
    '{"theme": nope}',
    '{"theme": +1}',
    '{"theme": 01}',
    '{"id": 0x1}',
    '{"id": -01}',
    '{"id": 1e400}',
    '{"id": 1e2}',
    '{"id": 1.2.3}',
    '{"id": -}',
    '{"id" 5}',
    '{"id": 5 "theme": 1}',
    '{"id": 5]',
    '{"id": 5}}',
    '{"id": 5} x',
    "{",
    "[]",
    "[{}]",
    "5",
    '"text"',
    "null",
    "true",
    "nope",
    "@",
    ",",
    "{,}",
    "{5: 1}",
    "{true: 1}",
    "{truest: 1, theme: 'x'}",
    " \n\t{}\r\n ",
    '{"id": 1, "id": 2}',
    "{" * 5,
    '{"a":' * 101 + "1" + "}" * 101,
    '{"a":' * 99 + "1" + "}" * 99,
)


@pytest.mark.parametrize("manager", ["plain", "strict"])
def test_bodies(pair: Pair, manager: str) -> None:
    same(pair, manager, [(json("/shelves", body), OK) for body in BODIES])
    same(
        pair,
        manager,
        [(json("/shelves", b'{"theme": "\xff"}'), OK), (json("/shelves", b'\xff{"theme": "a"}'), OK)],
    )


def test_bodies_in_pieces(pair: Pair) -> None:
    body = b'{"id": 12, "theme": "\\u00e4 \xc3\xa4", "tags": ["a", "b"]}'
    whole = json("/shelves", body)
    start = len(whole) - len(body)
    before = logged(pair)
    cuts = (1, 8, 21, 24, 29, 30, 40)
    for cut in cuts:
        envoy, outrider = pair.run([whole[: start + cut], whole[start + cut :]], OK, listener="plain")
        requests = [decoded(outcome.request, "Shelf").body for outcome in (envoy, outrider)]
        assert requests[0] == requests[1]
    logged(pair, len(cuts), before)


COLLISIONS: Final = (
    ("/shelves/5", '{"id": 5, "theme": "x"}'),
    ("/shelves/5", '{"id": 6, "theme": "x"}'),
    ("/shelves/5", '{"id": "5"}'),
    ("/shelves/5", '{"id": null}'),
    ("/shelves/5", '{"id": 5.0}'),
    ("/shelves/5", '{"id": true}'),
    ("/shelves/x", '{"id": 5}'),
    ("/shelves/5?tags=q&tags=r", '{"tags": ["a"]}'),
    ("/shelves/5?tags=q&tags=r", '{"tags": "a"}'),
    ("/shelves/5?theme=t", '{"theme": "x"}'),
    ("/shelves/5?theme=t", '{"theme": "t"}'),
    ("/shelves/5?display_name=t", '{"displayName": "x"}'),
    ("/shelves/5?displayName=t", '{"display_name": "x"}'),
)


@pytest.mark.parametrize("manager", ["plain", "strict"])
def test_bindings_meet_bodies(pair: Pair, manager: str) -> None:
    same(pair, manager, [(json(path, body, method="PUT"), OK) for path, body in COLLISIONS])


@pytest.mark.parametrize("manager", ["plain", "strict"])
def test_the_body_may_be_one_field(pair: Pair, manager: str) -> None:
    cases = [
        (json("/shelves/5/books/b%20k", body), OK)
        for body in ('{"theme": "x"}', '{"id": 6}', '{"id": 5}', "[]", "5", "", "null", "{")
    ]
    cases += [(json("/names", body), OK) for body in ('"name"', "5", "{}", "null", "", '["a"]')]
    cases += [(json("/lists", body), OK) for body in ('[{"id": 1}, {"id": 2}]', '{"id": 1}', "[]", "[1]", "")]
    cases += [
        (json("/books/x?shelf.id=5&shelves.id=1", body, method="PATCH"), OK)
        for body in ('{"shelf": {"theme": "x"}}', '{"shelf": {"id": 7}}', '{"shelves": [{"id": 3}]}', "{}")
    ]
    same(pair, manager, [(sent, answer(message("Empty"))) for sent, _ in cases], "Book")


SCALARS: Final = {
    "int32Field": ["2147483647", "-2147483648", "2147483648", '"12"', '"+12"', '"1_2"', "1.0", '"1.0"', "1e3"],
    "uint64Field": ["18446744073709551615", "-1", '"18446744073709551615"', "1e19", "18446744073709551616"],
    "sint64_field": ["-9223372036854775808", "9223372036854775808", '"-5"'],
    "fixed32Field": ["4294967295", "4294967296", "-0"],
    "boolField": ["true", '"true"', '"t"', '"YES"', "1", '"0"', '"x"', "null"],
    "bytesField": ['"aGVsbG8="', '"aGVsbG8"', '"-_-_"', '"+/+/"', '"a"', '"%"', "5", '""', '"aGVs bG8"'],
    "doubleField": ["1.5", '"1.5"', '"NaN"', '"-Infinity"', '"nan"', "5", '"x"', '"1e400"', "1e308", '" 1"', '""'],
    "floatField": ["1.5", "1e39", '"1e39"', '"Infinity"', "3.4028235e38", "0.1"],
    "stringField": ['"x"', "5", '""', "{}"],
    "numbers": ["[1, 2]", '["1", 2.0]', "[1, \"x\", 3]", "[null, 1]", "5", "[{}]", "{}"],
    "counts": ['{"a": 1, "b": "2"}', '{"a": "x"}', '{"a": 1, "a": 2}', "[]", "5", '{"a": null}'],
    "shelvesById": ['{"1": {"id": 1}}', '{"x": {}}', '{"1": 5}'],
    "textChoice": ['"x"', 'null', '"x", "numberChoice": 1', '"x", "textChoice": "y"', 'null, "numberChoice": 1'],
    "maybe": ["0", "null", '1, "maybe": 2'],
    "child": ['{"child": {"int32Field": 1}}', '{"int32Field": "x"}', '{"child": {"int32Field": "x"}}', "5", "[]"],
    "time": ['"2026-01-02T03:04:05Z"', '"2026-01-02T03:04:05.123456789+01:00"', '"x"', "5", "null", "{}"],
    "duration": ['"1.5s"', '"-1s"', '"1"', "5"],
    "mask": ['"a,bC"', '""', "5"],
    "struct": ['{"a": [1, null, {"b": "c"}], "d": true}', "5", "[]", "{}"],
    "value": ["null", "5", '"x"', "[1, {}]", '{"a": 1}'],
    "list": ["[1, [2]]", "{}", "[]"],
    "boolValue": ["true", '"x"', "null"],
    "intValue": ['"5"', "5", '"x"', "{}"],
    "stringValue": ['"x"', "5"],
    "doubleValue": ["1.5", '"NaN"'],
    "any": [
        '{"@type": "type.googleapis.com/bookstore.Shelf", "id": 5}',
        '{"@type": "type.googleapis.com/nothing.Here"}',
        "5",
        "{}",
    ],
    "times": ['["2026-01-02T03:04:05Z"]', '["x"]'],
    "genre": ['"FICTION"', '"1"', '"7"', "true", "7", "null"],
}  # fmt: skip


@pytest.mark.parametrize("name", SCALARS)
def test_values(pair: Pair, name: str) -> None:
    cases = [(json("/echo", f'{{"{name}": {value}}}'), answer(message("All"))) for value in SCALARS[name]]
    same(pair, "plain", cases, "All", bodies=False)


PRINTED: Final = (
    {},
    {"int32Field": -1, "int64Field": "5", "uint32Field": 1, "uint64Field": "9", "boolField": True},
    {"stringField": "a<b>&'\"\\/\b\f\n\r\t\x01\x7f\x80\u00ad\u2028\ufeff ä😀", "bytesField": "+/+/aA=="},
    {"doubleField": 1.0, "floatField": 0.1},
    {"doubleField": 0.1, "floatField": 1e20},
    {"doubleField": 1e21, "floatField": 16777216},
    {"doubleField": 1 / 3, "floatField": 1.17549435e-38},
    {"doubleField": 1e-7, "floatField": 3.4028234e38},
    {"doubleField": 123456789012345680.0, "floatField": 123456.789},
    {"doubleField": "NaN", "floatField": "-Infinity"},
    {"doubleField": -0.0, "floatField": 5e-324},
    {"genre": "FICTION", "numbers": [1, 2], "counts": {"a": 1}, "shelvesById": {"5": {"id": 1}}},
    {"genre": 9, "textChoice": "", "maybe": 0, "child": {"child": {}, "int32Field": 3}},
    {"time": "2026-01-02T03:04:05.120Z", "duration": "1.500s", "mask": "a,bC.d", "times": ["1970-01-01T00:00:00Z"]},
    {"struct": {"a": [1, None, {"b": "<c>"}, True, {}, []]}} ,
    {"value": None, "list": [1.5, "x", [], 1e30]},
    {"boolValue": False, "intValue": "0", "stringValue": "", "doubleValue": 2.5},
    {"any": {"@type": "type.googleapis.com/bookstore.Shelf", "id": "5", "displayName": "x"}},
    {"any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}},
)  # fmt: skip


@pytest.mark.parametrize("manager", ["plain", "printing"])
@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_answers_as_json(pair: Pair, manager: str, number: int) -> None:
    same(pair, manager, [(get("/echo"), answer(message("All", **PRINTED[number])))], "All")


MANAGERS: Final = ("plain", "status", "printing", "newline", "events")
DETAILS: Final = (
    b64encode(
        message("google.rpc.Status", code=5, message="gone").SerializeToString()
        if False
        else b"\x08\x05\x12\x04gone"
    )
    .decode()
    .rstrip("=")
)


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("path", ["/shelves/5", "/shelves"])
def test_statuses(pair: Pair, manager: str, path: str) -> None:
    scripts: list[bytes] = []
    for status in ("0", "1", "5", "13", "16", "17", "99", "x", "-1", ""):
        scripts += [answer(status=status), answer(SHELF, status=status)]
        if status:
            scripts += [only_trailers(status), only_trailers(status, "grpc-message: a%20b%3C%C3%A4")]
    scripts += [
        answer(status="5", trailers=["grpc-message: not%20there", "x-other: 1"]),
        answer(status="5", trailers=[f"grpc-status-details-bin: {DETAILS}"]),
        answer(status="5", trailers=["grpc-status-details-bin: !!!", "grpc-message: m"]),
        only_trailers("5", f"grpc-status-details-bin: {DETAILS}", "grpc-message: m", "Trailer: x"),
        answer(SHELF, fields=["Trailer: grpc-status", "x-head: 1", "grpc-accept-encoding: identity"]),
    ]
    if path == "/shelves":
        # Envoy sends the empty list of a stream behind a content-length of 0.
        scripts = [script for script in scripts if b"Content-Length: 0" not in script]
    same(pair, manager, [(get(path), script) for script in scripts])


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("path", ["/shelves/5", "/shelves"])
def test_odd_answers(pair: Pair, manager: str, path: str) -> None:
    framed = frame(SHELF)

    def raw(data: bytes, kind: str = "application/grpc", start: str = "200 OK") -> bytes:
        head = f"HTTP/1.1 {start}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return head + chunk + b"0\r\ngrpc-status: 0\r\n\r\n"

    scripts: list[Script] = [
        answer(SHELF, SHELF),
        answer(SHELF, SHELF, SHELF),
        raw(b"\x01" + framed[1:]),
        raw(b"\x07" + framed[1:]),
        raw(frame(b"")),
        raw(b""),
        raw(framed, "application/grpc+proto"),
        raw(framed, "application/grpc-web"),
        raw(b'{"a": 1}', "application/json"),
        raw(framed, start="500 Internal Server Error"),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        Answer(b"", end="close"),
    ]
    if path != "/shelves":
        # Envoy crashes where the trailers of a stream cut off a message.
        scripts += [raw(framed[:3]), raw(framed[:-1]), raw(framed + b"x")]
    same(pair, manager, [(get(path), script) for script in scripts])


def test_messages_that_cannot_be_read(pair: Pair) -> None:
    same(pair, "plain", [(get("/shelves/5"), answer(b"\x12\x05ab"))], bodies=False)


def test_a_slow_stream_leaves_as_it_comes(pair: Pair) -> None:
    whole = answer(SHELF, SHELF)
    for manager in ("plain", "newline", "events"):
        half = len(whole) // 2
        same(pair, manager, [(get("/shelves"), Answer([whole[:half], whole[half:]], pause=0.1))])


def test_streams_of_requests(pair: Pair) -> None:
    bodies = (
        '[{"id": 1}, {"id": 2, "tags": ["a"]}]',
        "[]",
        "[{}]",
        "",
        "{}",
        "5",
        '[{"id": 1}, {"id": "x"}]',
        "[{}, 5]",
        "[[]]",
        '[{"id": 1}',
        '[{"id": 1}] x',
        '[{"id": 1},]',
    )
    for path in ("/bulk/t%20x", "/chat"):
        same(pair, "plain", [(json(path, body), OK) for body in bodies])


PAGE: Final = {"contentType": "text/html", "data": b64encode(b"<p>page</p>").decode()}


def test_http_bodies_come_out_as_they_are(pair: Pair) -> None:
    body = message("google.api.HttpBody", **PAGE)
    other = message("google.api.HttpBody", contentType="image/png", data=PAGE["data"])
    bare = message("google.api.HttpBody", data=PAGE["data"])
    within = message("Upload", name="n", inner={"content": PAGE})
    cases: list[tuple[bytes, Script]] = []
    for manager_path in ("/page/1", "/pages/1"):
        cases += [
            (get(manager_path), script)
            for script in (
                answer(body),
                answer(body, other),
                answer(bare),
                answer(b""),
                answer(),
                answer(status="5"),
                answer(body, status="5"),
                only_trailers("5"),
            )
        ]
    cases += [(get("/page-of/1"), answer(within)), (get("/page-of/1"), answer(message("Upload", name="n")))]
    same(pair, "plain", cases)
    same(pair, "status", cases)


@pytest.mark.parametrize("manager", ["plain", "capture"])
def test_http_bodies_go_in_as_they_are(pair: Pair, manager: str) -> None:
    raw = "Content-Type: image/png"
    same(
        pair,
        manager,
        [
            (post("/raw", b"bytes", raw), OK),
            (post("/raw?extensions=1&data=x&content_type=y", b"bytes", raw), OK),
            (post("/raw?other=1&other=2", b"bytes", raw), OK),
            (post("/raw", b""), OK),
            (get("/raw", method="POST"), OK),
        ],
        "google.api.HttpBody",
    )
    same(
        pair,
        manager,
        [
            (post(path, b"bytes", raw), OK)
            for path in (
                "/upload/a%20b",
                "/upload/x?size=5&inner.content.data=z&inner.name=q",
                "/upload/x?size=y",
                "/upload/x?nothing=1",
                "/stream/x",
                "/stream/x?size=4",
            )
        ]
        + [(post("/stream/x", b""), OK)],
        "Upload",
    )


def test_limits(pair: Pair) -> None:
    same(
        pair,
        "small",
        [
            (json("/shelves", '{"theme": "' + "x" * 10 + '"}'), answer(message("Shelf", id=1))),
            (json("/shelves", '{"theme": "' + "x" * 30 + '"}'), answer(message("Shelf", id=1))),
            (post("/raw", b"x" * 40), answer(message("Shelf", id=1))),
            (get("/shelves/1"), answer(message("Shelf", theme="x" * 40))),
            (get("/shelves"), answer(message("Shelf", theme="x" * 40))),
        ],
        bodies=False,
    )


def test_nothing_stays_in_the_gauges(pair: Pair) -> None:
    cut = json("/shelves", '{"id": 5, "theme": "x"}')[:-4]
    same(pair, "plain", [(json("/shelves", '{"id": 5}'), OK), (get("/shelves"), OK)])
    before = logged(pair)
    pair.run(cut, OK, listener="plain", half_close=True)
    logged(pair, 1, before)
    names = [f"http.plain.transcoder_{side}_buffer_bytes" for side in ("request", "response")]
    assert set(names) <= set(pair.envoy.proxy.stats())
    deadline = time.monotonic() + 5
    while any(pair.outrider.proxy.stats()[name] for name in names):
        assert time.monotonic() < deadline, "bytes are still counted"
        time.sleep(0.05)


def verdict(config: Json) -> Json:
    manager = {
        "http_filters": [
            {"name": "filter", "typed_config": config},
            {"name": "router", "typed_config": typed(ROUTER)},
        ]
    }
    return managers({"plain": manager})


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"services": []}, True),
        ({"services": ["no.Such"]}, False),
        ({"proto_descriptor_bin": "/w=="}, False),
        ({"proto_descriptor_bin": ""}, False),
        ({"proto_descriptor_bin": None, "proto_descriptor": "/does/not/exist"}, False),
    ],
)
def test_verdicts(fields: Json, accepted: bool) -> None:
    config = {name: value for name, value in transcoder(**fields).items() if value is not None}
    assert same_verdict(verdict(config))[0] is accepted


@pytest.mark.parametrize("manager", ["plain", "lenient"])
def test_the_route_is_that_of_the_call_unless_told_otherwise(pair: Pair, manager: str) -> None:
    same(pair, manager, [(get("/shelves/5", method="DELETE"), answer(message("Empty")))])
