"""gRPC answers to JSON: messages, statuses, streams, bodies that stay as they are."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import pytest

from tests.support.bookstore import frame, message
from tests.support.differential import Pair
from tests.support.managers import get
from tests.support.origin import Answer, Script
from tests.support.transcoder import SHELF, answer, fixture, only_trailers, same

MANAGERS: Final = ("plain", "status", "printing", "newline", "events")
pair = fixture(*MANAGERS)


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


#: google.rpc.Status with code 5 and message "gone".
DETAILS: Final = b64encode(b"\x08\x05\x12\x04gone").decode().rstrip("=")


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
