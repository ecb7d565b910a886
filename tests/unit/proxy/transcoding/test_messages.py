"""JSON to messages and back: values, errors, well-known types, bindings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.descriptor_pool import DescriptorPool

from proxy.transcoding.json_printer import JsonPrinter, PrintOptions
from proxy.transcoding.message_writer import MessageWriter
from proxy.transcoding.methods import DescriptorError, Method, load_methods, load_pool, resolve
from proxy.transcoding.path_matcher import MatcherOptions
from proxy.transcoding.request import RequestTranslator, bound_message
from proxy.transcoding.response import ResponseTranslator
from proxy.transcoding.status import TranscodeError
from tests.support.bookstore import FILE, SERVICE, descriptor_set, frame, frames_of, message, text_of


@pytest.fixture(scope="module")
def pool() -> DescriptorPool:
    return load_pool(descriptor_set(), with_status=True)[0]


def _method(http_method: str, path: str) -> tuple[Method, str]:
    pool, files = load_pool(descriptor_set(), with_status=False)
    matcher = load_methods(pool, files, [SERVICE], MatcherOptions(), auto_mapping=False)
    match = matcher.match(http_method, path, "")
    assert match is not None
    return match.method, match.body


def _translate(
    pool: DescriptorPool,
    path: str,
    text: str,
    *bindings: tuple[str, str],
    any_case: bool = False,
    refuse: bool = False,
) -> list[bytes]:
    method, body = _method("POST", path)
    resolved = [(resolve(method.request.DESCRIPTOR, name.split(".")), value) for name, value in bindings]
    translator = RequestTranslator(
        method, MessageWriter(pool, any_case_enums=any_case), body, resolved, refuse_collisions=refuse
    )
    return frames_of(translator.feed(text.encode()) + translator.finish())


def test_a_message_is_written(pool: DescriptorPool) -> None:
    [made] = _translate(
        pool, "/echo", '{"int64Field": "5", "child": {"genre": "FICTION"}, "counts": {"a": 1}, "no": 1}'
    )
    assert json.loads(text_of("All", made)) == {
        "int64Field": "5",
        "child": {"genre": "FICTION"},
        "counts": {"a": 1},
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"int32Field": "x"}', 'int32_field: invalid value "x" for type TYPE_INT32'),
        ('{"int32Field": 1%s}' % ("0" * 5000), "Number exceeds the range of double."),
        ('{"int32Field": "1%s"}' % ("0" * 5000), "int32_field: invalid value"),
        ('{"child": {"numbers": [1, true]}}', "child.numbers[0]: invalid value true for type TYPE_INT32"),
        ('{"genre": "fiction"}', 'genre: invalid value "fiction" for type type.googleapis.com/bookstore.Genre'),
        ('{"time": "now"}', "time: invalid value Field 'time', Illegal timestamp format"),
        ('{"value": ' + "[" * 20 + "]" * 20 + "}", ""),
        ("[]", "Root element must be a message."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(pool: DescriptorPool, text: str, error: str) -> None:
    if not error:
        _translate(pool, "/echo", text)
        return
    with pytest.raises(TranscodeError) as caught:
        _translate(pool, "/echo", text)
    assert error in caught.value.message


def test_enums_in_any_case(pool: DescriptorPool) -> None:
    [made] = _translate(pool, "/echo", '{"genre": "history-of-art"}', any_case=True)
    assert json.loads(text_of("All", made)) == {"genre": "HISTORY_OF_ART"}


def test_bindings_go_into_the_first_message_of_a_stream(pool: DescriptorPool) -> None:
    made = _translate(pool, "/bulk/x", '[{"id": 1}, {"id": 2}]', ("theme", "t"), ("tags", "a"), ("tags", "b"))
    assert [json.loads(text_of("Shelf", one)) for one in made] == [
        {"id": "1", "theme": "t", "tags": ["a", "b"]},
        {"id": "2"},
    ]


def test_collisions(pool: DescriptorPool) -> None:
    [made] = _translate(pool, "/shelves", '{"theme": "body"}', ("theme", "query"))
    assert json.loads(text_of("Shelf", made)) == {"theme": "body"}
    with pytest.raises(TranscodeError, match="conflicting with the value"):
        _translate(pool, "/shelves", '{"theme": "body"}', ("theme", "query"), refuse=True)


def test_bindings_alone(pool: DescriptorPool) -> None:
    method, _ = _method("POST", "/upload/x")
    path = resolve(method.request.DESCRIPTOR, ["inner", "name"])
    made = bound_message(method, MessageWriter(pool, any_case_enums=False), [(path, "n")])
    assert json.loads(text_of("Upload", made)) == {"inner": {"name": "n"}}


def test_waiting_bytes_are_known(pool: DescriptorPool) -> None:
    method, body = _method("POST", "/bulk/x")
    translator = RequestTranslator(
        method, MessageWriter(pool, any_case_enums=False), body, [], refuse_collisions=False
    )
    assert translator.feed(b'[{"theme": "xxxx') == b""
    assert translator.waiting == 16
    assert translator.feed(b'"},') != b""
    assert translator.waiting == 0


def _print(pool: DescriptorPool, made: Any, **options: bool) -> str:
    return JsonPrinter(pool, PrintOptions(**options)).print(made)


def test_printing(pool: DescriptorPool) -> None:
    shelf = message("Shelf", id=5, displayName="<&>\u2028", genre="FICTION", tags=["a"])
    assert _print(pool, shelf) == (
        '{"id":"5","displayName":"\\u003c&\\u003e\\u2028","genre":"FICTION","tags":["a"]}'
    )
    assert _print(pool, shelf, whitespace=True, proto_names=True, enums_as_integers=True) == (
        '{\n "id": "5",\n "display_name": "\\u003c&\\u003e\\u2028",\n "genre": 1,\n "tags": [\n  "a"\n ]\n}\n'
    )
    assert _print(pool, message("Shelf"), always_print_primitives=True) == (
        '{"id":"0","theme":"","displayName":"","genre":"UNKNOWN_GENRE","tags":[]}'
    )


def test_an_any_of_an_unknown_type_cannot_be_printed(pool: DescriptorPool) -> None:
    made = message("All")
    made.any.type_url = "type.googleapis.com/no.Such"
    with pytest.raises(ValueError, match="no message"):
        _print(pool, made)


SHELF = '{"id":"1"}'


@pytest.mark.parametrize(
    ("path", "delimited", "text"),
    [
        ("/shelves/1", "", SHELF),
        ("/shelves/1", "sse", SHELF),
        ("/shelves", "", f"[{SHELF},{SHELF}]"),
        ("/shelves", "newline", f"{SHELF}\n{SHELF}\n"),
        ("/shelves", "sse", f"data: {SHELF}\n\ndata: {SHELF}\n\n"),
    ],
)
def test_streams_are_delimited(pool: DescriptorPool, path: str, delimited: str, text: str) -> None:
    method, _ = _method("GET", path)
    translator = ResponseTranslator(method, JsonPrinter(pool, PrintOptions()), delimited)
    data = frame(message("Shelf", id=1)) * 2
    made = b"".join(translator.feed(data[index : index + 1]) for index in range(len(data)))
    assert (made + translator.finish()).decode() == text


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x01\0\0\0\0", "Unsupported gRPC frame flag: 1"),
        (b"\0\0\0", "Incomplete gRPC frame header received"),
        (b"\0\0\0\0\x05abc", "Incomplete gRPC frame expected size: 5 actual size: 3"),
        (frame(b"\x12\x05ab"), "unexpected EOF"),
    ],
)
def test_broken_frames(pool: DescriptorPool, data: bytes, error: str) -> None:
    method, _ = _method("GET", "/shelves")
    translator = ResponseTranslator(method, JsonPrinter(pool, PrintOptions()), "")
    with pytest.raises(TranscodeError, match=error):
        translator.feed(data) + translator.finish()


@pytest.mark.parametrize(
    ("data", "services", "error"),
    [
        (b"\xff", [SERVICE], "Unable to parse proto descriptor"),
        (descriptor_set(), ["no.Such"], "Could not find 'no.Such' in the proto descriptor"),
        (
            descriptor_set({**FILE, "dependency": ["nothing.proto"]}),
            [SERVICE],
            "Unable to build proto descriptor pool",
        ),
    ],
)
def test_bad_descriptor_sets(data: bytes, services: list[str], error: str) -> None:
    with pytest.raises(DescriptorError, match=error):
        _load(data, services)


def _load(data: bytes, services: list[str]) -> None:
    pool, files = load_pool(data, with_status=False)
    load_methods(pool, files, services, MatcherOptions(), auto_mapping=False)


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"get": "no slash"}, "to path matcher"),
        ({"get": "/x", "body": "nothing"}, 'Could not find field "nothing"'),
        ({"get": "/x", "body": "theme.x"}, "that is not a message"),
        ({"get": "/x", "response_body": "theme"}, "is not supported yet for non-HttpBody fields"),
    ],
)
def test_bad_rules(rule: dict[str, str], error: str) -> None:
    method = {
        "name": "Bad",
        "inputType": ".bookstore.Shelf",
        "outputType": ".bookstore.Shelf",
        "options": {"[google.api.http]": rule},
    }
    data = descriptor_set({**FILE, "service": [{"name": "Bookstore", "method": [method]}]})
    with pytest.raises(DescriptorError, match=error):
        _load(data, [SERVICE])
