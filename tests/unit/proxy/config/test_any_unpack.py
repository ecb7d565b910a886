from __future__ import annotations

from envoy.extensions.filters.network.direct_response.v3 import config_pb2
from google.protobuf import any_pb2, struct_pb2
from udpa.type.v1 import typed_struct_pb2

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext

NAME = "envoy.extensions.filters.network.direct_response.v3.Config"


def carried(type_url: str, value: bytes = b"") -> any_pb2.Any:
    return any_pb2.Any(type_url=type_url, value=value)


def typed_struct(**fields: object) -> any_pb2.Any:
    value = struct_pb2.Struct()
    value.update(fields)
    message = any_pb2.Any()
    message.Pack(typed_struct_pb2.TypedStruct(type_url=f"type.googleapis.com/{NAME}", value=value))
    return message


def test_a_registered_type_is_unpacked() -> None:
    ctx = CompileContext()
    config = config_pb2.Config()
    config.response.inline_string = "hi"
    assert unpack(carried(f"a/{NAME}", config.SerializeToString()), "p", ctx) == config
    assert ctx.problems == []


def test_a_typed_struct_from_a_control_plane_is_unwrapped() -> None:
    ctx = CompileContext()
    message = unpack(typed_struct(response={"inlineString": "hi"}), "p", ctx)
    assert message is not None
    assert message.response.inline_string == "hi"


def test_problems_go_to_the_context_with_the_path() -> None:
    ctx = CompileContext()
    assert unpack(carried("a/b.C"), "p", ctx) is None
    assert unpack(carried(f"a/{NAME}", b"\xff"), "q", ctx) is None
    assert unpack(typed_struct(respons=1), "r", ctx) is None
    assert [problem.path for problem in ctx.problems] == ["p", "q", "r"]
    assert "did you mean 'response'" in ctx.problems[2].reason


def test_an_empty_any_is_nothing() -> None:
    ctx = CompileContext()
    assert unpack(any_pb2.Any(), "p", ctx) is None
    assert ctx.problems == []
