"""JSON as it comes: leniencies, errors, pieces, limits."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.transcoding.json_reader import JsonObject, JsonReader
from proxy.transcoding.plain_json import parse_plain
from proxy.transcoding.status import TranscodeError


def _plain(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return {name: _plain(one) for name, one in value.entries}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _read(*pieces: bytes, streaming: bool = False) -> list[Any]:
    found: list[Any] = []
    reader = JsonReader(found.append, streaming=streaming)
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return [_plain(one) for one in found]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=50)
@given(JSON, st.booleans(), st.lists(st.integers(0, 200), max_size=4))
def test_it_reads_what_json_writes_in_any_pieces(value: Any, ascii_only: bool, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert _read(*pieces) == [value]


@settings(max_examples=100)
@given(JSON, st.booleans())
def test_the_quick_way_reads_the_same(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    with contextlib.suppress(ValueError):
        assert [_plain(parse_plain(text))] == _read(text)


def test_the_quick_way_takes_surrogates_in_pairs_and_numbers_beyond_64_bits() -> None:
    text = b'["\\ud83d\\ude00", 18446744073709551615, 18446744073709551616, -9223372036854775809]'
    assert parse_plain(text) == _read(text)[0]
    assert isinstance(parse_plain(text)[2], float)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 101 + "]" * 101,
        "1e400",
        "NaN",
        '"\\ud800"',
        "{a: 1}",
        "[1,]",
        "[1",
        "\xff",
    ],
)
def test_the_quick_way_leaves_the_odd_to_the_other(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_plain(text.encode("latin-1"))


@settings(max_examples=50)
@given(st.binary(max_size=40))
def test_anything_else_is_an_error_and_nothing_worse(data: bytes) -> None:
    for pieces in ([data], [data[index : index + 1] for index in range(len(data))]):
        for streaming in (False, True):
            with contextlib.suppress(TranscodeError):
                _read(*pieces, streaming=streaming)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: 1, $b_: 'x\"', }", {"a": 1, "$b_": 'x"'}),
        ("[1,]", [1]),
        ('"\\q\\v\\/"', "q\v/"),
        ('"a\tb\nc"', "a\tb\nc"),
        ("18446744073709551616", 18446744073709551616.0),
        ("-1e2", -100.0),
        ("1" + "0" * 300, 1e300),
        ("", {}),
    ],
)
def test_leniencies(text: str, value: Any) -> None:
    assert _read(text.encode()) == [value]


def test_errors_show_where() -> None:
    with pytest.raises(TranscodeError) as caught:
        _read(b'{"a": 1, "bcdefghijklmnopqrstuvwxyz" 5, "more": "than that"}')
    assert caught.value.message == (
        'Expected : between key:value pair.\nijklmnopqrstuvwxyz" 5, "more": "than tha\n                    ^'
    )


def test_items_of_a_stream_come_one_by_one() -> None:
    found: list[Any] = []
    reader = JsonReader(found.append, streaming=True)
    reader.feed(b'[{"a": 1}, 2')
    assert [_plain(one) for one in found] == [{"a": 1}]
    reader.feed(b", [3]]")
    reader.finish()
    assert [_plain(one) for one in found] == [{"a": 1}, 2, [3]]
    for text in (b"{}", b"1"):
        with pytest.raises(TranscodeError, match="Expected an array"):
            _read(text, streaming=True)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_limited(opening: bytes) -> None:
    with pytest.raises(TranscodeError, match="too deep"):
        _read(opening * 100_000)


@pytest.mark.parametrize("text", [b'["a5,6,\\"7,", 1, "x"]', b'{"a": "b:1,c:2,", "d,e:3,": 4, f: 5}'])
def test_strings_that_look_like_more(text: bytes) -> None:
    whole = _read(text)
    for cut in range(1, len(text)):
        assert _read(text[:cut], text[cut:]) == whole


def test_a_long_string_in_many_pieces_is_read_once() -> None:
    pieces = [b'"', *[b"x" * 1000] * 2000, b'"']
    assert _read(*pieces) == ["x" * 2_000_000]
