from __future__ import annotations

import pytest

from proxy.formatter.wire import encode_wire, quote_json, to_wire


@pytest.mark.parametrize("text", ["abc", "é", "\U0001f600", ""])
def test_wire_text_encodes_to_the_same_bytes(text: str) -> None:
    assert encode_wire(to_wire(text)) == text.encode()


def test_bytes_of_the_environment_survive() -> None:
    assert encode_wire(to_wire("\udce9")) == b"\xe9"


def test_text_that_never_was_wire_text_goes_out_as_utf8() -> None:
    assert encode_wire("\u20ac") == b"\xe2\x82\xac"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", '"plain"'),
        ('a"b\\c\t\x01', '"a\\"b\\\\c\\t\\u0001"'),
        ("\xc3\xa9", '"\xc3\xa9"'),
        ('\xe9"', '"\\u00e9\\u0022"'),
        ("\u20ac", '"\xe2\x82\xac"'),
    ],
)
def test_json_strings_escape_what_envoy_escapes(text: str, expected: str) -> None:
    assert quote_json(text) == expected
