from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from proxy.app.runtime_layers import Layer, compile_layers, merge, modified
from proxy.base.errors import UsageError
from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext


def compiled(*layers: dict[str, Any]) -> tuple[tuple[Layer, ...], list[str]]:
    context = CompileContext()
    message = json_format.ParseDict({"layered_runtime": {"layers": list(layers)}}, bootstrap_pb2.Bootstrap())
    return compile_layers(message, context), [str(problem) for problem in context.problems]


def test_nested_mappings_become_dotted_keys_and_values_texts() -> None:
    layers, problems = compiled(
        {
            "name": "static",
            "static_layer": {"a": {"b": 1, "c": True, "d": "x", "e": 1.5}, "x.y": 5, "big": 1234567890123},
        }
    )
    assert problems == []
    assert layers[0].values == {
        "a.b": "1",
        "a.c": "true",
        "a.d": "x",
        "a.e": "1.5",
        "x.y": "5",
        "big": "1234567890123",
    }


def test_a_fractional_percent_is_one_value_that_replaces_numerator_and_denominator() -> None:
    layers, _problems = compiled(
        {
            "name": "s",
            "static_layer": {"f": {"numerator": 5, "denominator": "TEN_THOUSAND"}, "g": {"numerator": 7}},
        }
    )
    runtime = Runtime(merge(layers, {}))
    assert runtime.feature_enabled("f", 100, 100, lambda: 4)
    assert not runtime.feature_enabled("f", 100, 100, lambda: 5)
    assert runtime.feature_enabled("g", 0, 1_000_000, lambda: 6)
    assert not runtime.feature_enabled("g", 0, 1_000_000, lambda: 7)


def test_later_layers_win_and_the_admin_layer_takes_its_place_among_them() -> None:
    layers, _problems = compiled(
        {"name": "low", "static_layer": {"a": 1, "b": 1}},
        {"name": "admin", "admin_layer": {}},
        {"name": "high", "static_layer": {"b": 3}},
    )
    assert merge(layers, {"a": "2", "b": "2", "c": "2"}) == {"a": "2", "b": "3", "c": "2"}


def test_an_empty_text_removes_an_override() -> None:
    layers, _problems = compiled({"name": "admin", "admin_layer": {}})
    overrides = modified({}, {"a": "1", "b": "2"}, layers)
    assert modified(overrides, {"a": "", "z": ""}, layers) == {"b": "2"}


def test_without_an_admin_layer_nothing_can_be_modified() -> None:
    layers, _problems = compiled({"name": "s", "static_layer": {"a": 1}})
    with pytest.raises(UsageError, match="No admin layer specified"):
        modified({}, {"a": "2"}, layers)


def test_without_layers_there_is_an_admin_layer() -> None:
    context = CompileContext()
    assert compile_layers(bootstrap_pb2.Bootstrap(), context) == (Layer("admin", {}, admin=True),)


@pytest.mark.parametrize("value", [[1, 2], None])
def test_lists_and_nulls_are_refused(value: Any) -> None:
    _layers, problems = compiled({"name": "s", "static_layer": {"a": {"f": value}}})
    assert problems == ["layered_runtime.layers[0].static_layer.a.f: Invalid runtime entry value for a.f"]


def test_layers_that_cannot_be_are_refused() -> None:
    _layers, problems = compiled(
        {"name": "a", "admin_layer": {}},
        {"name": "a", "admin_layer": {}},
        {"name": "d", "disk_layer": {"symlink_root": "/not/there/x"}},
    )
    assert "Duplicate layer name: a" in problems[0]
    assert "Too many admin layers" in problems[1]
    assert problems[2] == (
        "layered_runtime.layers[2].disk_layer.symlink_root: unable to add filesystem watch for file "
        "/not/there/x: there is no folder /not/there"
    )
