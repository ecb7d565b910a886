from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct

from proxy.formatter.json_value import json_text, plain_value, whole


def test_a_struct_becomes_plain_data() -> None:
    message = Struct()
    message.update({"n": 2.0, "f": 0.5, "t": "é", "l": [True, None], "o": {}})
    expected = {"n": 2, "f": 0.5, "t": "\xc3\xa9", "l": [True, None], "o": {}}
    assert plain_value(message) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(3.0, 3), (-0.5, -0.5), (2.0**53, 2**53), (2.0**60, 2.0**60)]
)
def test_whole_numbers_become_integers_while_exact(number: float, expected: float) -> None:
    assert whole(number) == expected
    assert type(whole(number)) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [None, True, 1.5]}, '{"a":[null,true,1.5],"b":1}'),
        (float("nan"), "null"),
        (float("inf"), "null"),
        ('q"\\', '"q\\"\\\\"'),
    ],
)
def test_json_is_compact_sorted_and_valid(value: object, expected: str) -> None:
    assert json_text(value) == expected


def test_what_has_no_json_form_is_shown_as_text() -> None:
    assert json_text(range(2)) == '"range(0, 2)"'
