from __future__ import annotations

from typing import Any

import pytest
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf import json_format

from proxy.base.value_matchers import ABSENT, compile_metadata_matcher, compile_value_matcher
from proxy.config.context import CompileContext

_VALUES: list[Any] = [None, True, False, 1, 2.5, "text", ["a", 1], {"k": "v"}]


@pytest.mark.parametrize(
    ("config", "passing"),
    [
        ({"nullMatch": {}}, [None]),
        ({"boolMatch": True}, [True]),
        ({"boolMatch": False}, [False]),
        ({"presentMatch": True}, _VALUES),
        ({"presentMatch": False}, []),
        ({"doubleMatch": {"exact": 2.5}}, [2.5]),
        ({"doubleMatch": {"range": {"start": 1, "end": 2.5}}}, [1]),
        ({"stringMatch": {"prefix": "te"}}, ["text"]),
        ({"listMatch": {"oneOf": {"stringMatch": {"exact": "a"}}}}, [["a", 1]]),
        ({"orMatch": {"valueMatchers": [{"nullMatch": {}}, {"boolMatch": True}]}}, [None, True]),
    ],
)
def test_value_matchers_look_at_kind_and_value(config: dict[str, Any], passing: list[Any]) -> None:
    context = CompileContext()
    matcher = compile_value_matcher(json_format.ParseDict(config, ValueMatcher()), "value", context)
    context.raise_if_problems()
    assert [value for value in _VALUES if matcher(value)] == passing
    assert not matcher(ABSENT)


def test_a_metadata_matcher_walks_its_path() -> None:
    message = json_format.ParseDict(
        {"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": {"stringMatch": {"exact": "v"}}},
        MetadataMatcher(),
    )
    matcher = compile_metadata_matcher(message, "dynamic_metadata[0]", CompileContext())
    assert matcher({"f": {"a": {"b": "v"}}})
    for metadata in (None, {}, {"f": {"a": "v"}}, {"f": {"a": {"b": "w"}}}, {"g": {"a": {"b": "v"}}}):
        assert not matcher(metadata)
    message.invert = True
    assert compile_metadata_matcher(message, "", CompileContext())(None)
