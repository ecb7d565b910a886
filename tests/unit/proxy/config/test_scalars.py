from __future__ import annotations

import math
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from yaml.nodes import ScalarNode

from proxy.config import scalars
from proxy.config.yaml_source import compose

U32 = scalars.integer_converter(0, 2**32 - 1)
I64 = scalars.integer_converter(-(2**63), 2**63 - 1)
ENUM = scalars.enum_converter(cluster_pb2.Cluster.DESCRIPTOR.enum_types_by_name["LbPolicy"])


def node(text: str) -> Any:
    root = compose(f"a: {text}", "")
    assert root is not None
    return root.value[0][1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("abc", "abc"), ("'5'", "5"), ("5", 5), ("0x10", 16), ("010", 8), ("-3", -3), ("+3", 3), ("08", "08"),
        ("1.5", "1.5"), ("1e3", "1e3"), ("5000000000", "5000000000"), ("9" * 20, "9" * 20),
        ("yes", True), ("OFF", False), ("tRUE", "tRUE"), ("'yes'", "yes"), ("~", None), ("", None), ("null", None),
        ("'null'", "null"), ("1_000", "1_000"), ("nope", "nope"), ("-", "-"),
    ],
)  # fmt: skip
def test_yaml_becomes_the_json_that_envoy_makes_of_it(text: str, value: object) -> None:
    found = scalars.json_value(ScalarNode("", "-") if text == "-" else node(text))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "value"), [("abc", "abc"), ("1.5", "1.5"), ("5000000000", "5000000000")])
def test_text(text: str, value: str) -> None:
    assert scalars.text_value(node(text)) == value


@pytest.mark.parametrize("text", ["5", "yes", "0x10", "[a]", "{a: b}", "~"])
def test_a_number_or_a_bool_is_no_text(text: str) -> None:
    with pytest.raises(ValueError, match="expected text"):
        scalars.text_value(node(text))


@pytest.mark.parametrize("text", ["true", "yes", "'true'", "'1'", "'T'", "tRUE", "on", "y"])
def test_true(text: str) -> None:
    assert scalars.bool_value(node(text)) is True


@pytest.mark.parametrize("text", ["1", "0", "1.0", "''", "maybe", "{value: true}"])
def test_not_a_bool(text: str) -> None:
    with pytest.raises(ValueError, match="expected true or false"):
        scalars.bool_value(node(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("'5'", 5), ("0x10", 16), ("'0x10'", 16), ("1e3", 1000), ("10000.0", 10000), ("5.", 5)],
)
def test_whole_numbers(text: str, value: int) -> None:
    assert U32(node(text)) == value


@pytest.mark.parametrize("text", ["1.5", "' 5'", "''", "abc", "[5]", "NaN", "1e400", "true", "9" * 5000])
def test_not_a_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        U32(node(text))


@pytest.mark.parametrize("text", ["-1", "4294967296", "99999999999999999999"])
def test_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match="expected 0 to 4294967295"):
        U32(node(text))


def test_numbers_beyond_a_double_keep_their_digits() -> None:
    assert I64(node("9223372036854775807")) == 2**63 - 1


def test_floats() -> None:
    assert scalars.float_value(node("1.5")) == 1.5
    assert scalars.float_value(node("1e400")) == math.inf
    assert math.isnan(scalars.float_value(node("NaN")))
    with pytest.raises(ValueError, match="expected a number"):
        scalars.float_value(node(".inf"))


@pytest.mark.parametrize("text", ["RING_HASH", "ring_hash", "Ring_Hash", "2", "'2'"])
def test_enums_by_name_in_any_case_or_number(text: str) -> None:
    assert ENUM(node(text)) == 2


def test_an_unknown_enum_name_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="did you mean 'ROUND_ROBIN'"):
        ENUM(node("round-robin"))
    with pytest.raises(ValueError, match="expected one of ROUND_ROBIN, LEAST_REQUEST"):
        ENUM(node("zzz"))


@pytest.mark.parametrize(
    ("text", "value"), [("aGk=", b"hi"), ("aGk", b"hi"), ("a-_=", b"k\xef"), ("''", b"")]
)
def test_bytes_are_base64(text: str, value: bytes) -> None:
    assert scalars.bytes_value(node(text)) == value


def test_bytes_that_are_not_base64_name_inline_string() -> None:
    with pytest.raises(ValueError, match="inline_string"):
        scalars.bytes_value(node("'***'"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [("1s", (1, 0)), ("0.25s", (0, 250_000_000)), ("-1.5s", (-1, -500_000_000)), ("0001s", (1, 0))],
)
def test_durations(text: str, parts: tuple[int, int]) -> None:
    assert scalars.duration_parts(text) == parts


@pytest.mark.parametrize("text", ["500ms", "1", ".5s", "1.s", "1.0000000001s", " 1s", "1e3s", "9" * 30 + "s"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        scalars.duration_parts(text)


def test_times() -> None:
    assert scalars.timestamp_parts("1970-01-02T00:00:00.5Z") == (86400, 500_000_000)
    assert scalars.timestamp_parts("1970-01-01T01:00:00+01:00") == (0, 0)
    with pytest.raises(ValueError, match="not a time"):
        scalars.timestamp_parts("1970-13-01T00:00:00Z")
