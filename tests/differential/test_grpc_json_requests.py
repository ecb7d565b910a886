"""JSON requests to gRPC: which method they reach, and with which message."""

from __future__ import annotations

from typing import Final

import pytest

from tests.support.bookstore import frame, message
from tests.support.differential import Pair
from tests.support.managers import get, logging_apart, post
from tests.support.transcoder import OK, SHELF, answer, decoded, fixture, json, same

pair = fixture("plain", "strict", "lenient", "printing", "capture")


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
    cuts = (1, 8, 21, 24, 29, 30, 40)
    with logging_apart(pair, len(cuts)):
        for cut in cuts:
            envoy, outrider = pair.run([whole[: start + cut], whole[start + cut :]], OK, listener="plain")
            requests = [decoded(outcome.request, "Shelf").body for outcome in (envoy, outrider)]
            assert requests[0] == requests[1]


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
