from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct

from proxy.base.stream_info import StreamInfo
from proxy.formatter.json_format import JsonFormat, compile_json_format
from tests.support.streams import context, stream


def compiled(tree: dict[str, Any], **options: Any) -> JsonFormat:
    message = Struct()
    message.update(tree)
    return compile_json_format(message, "p", context(), **options)


def render(tree: dict[str, Any], info: StreamInfo | None = None, **options: Any) -> str:
    return compiled(tree, **options).render(info or stream())


def test_keys_are_sorted_and_values_keep_their_type() -> None:
    tree = {
        "z": "%RESPONSE_CODE%",
        "b": "%REQ(x)%",
        "a": {"y": ["%RESPONSE_CODE%", "x%RESPONSE_CODE%", "a%%b", 3, True, None], "x": "%PROTOCOL%"},
        "flags": "%RESPONSE_FLAGS%",
        "empty": "",
        "two": "%PROTOCOL% %REQ(x)%",
    }
    assert render(tree) == (
        '{"a":{"x":"HTTP/1.1","y":[200,"x200","a%b",3,true,null]},"b":null,"empty":"","flags":"-",'
        '"two":"HTTP/1.1 -","z":200}\n'
    )


def test_omitting_drops_what_is_missing_and_objects_left_empty() -> None:
    tree = {
        "a": "%REQ(x)%",
        "c": {"z": "%RESPONSE_CODE%"},
        "e": "",
        "l": [None, "%REQ(x)%"],
        "n": None,
        "nest": {"a": "%REQ(x)%"},
        "s": {},
        "two": "%PROTOCOL% %REQ(x)%",
    }
    assert render(tree, omit_empty=True) == '{"c":{"z":200},"e":"","l":[],"two":"HTTP/1.1 "}\n'
    assert render({"a": "%REQ(x)%"}, omit_empty=True) == "{}\n"


def test_metadata_stays_nested_and_environment_dashes_stay_texts() -> None:
    info = stream(dynamic_metadata={"ns": {"o": {"k": [1, True]}, "t": "x"}})
    tree = {
        "m": "%DYNAMIC_METADATA(ns:o):2%",
        "t": "%DYNAMIC_METADATA(ns:t)%",
        "u": "%ENVIRONMENT(NO_SUCH_)%",
    }
    assert render(tree, info) == '{"m":{"k":[1,true]},"t":"x","u":"-"}\n'


def test_keys_and_constants_with_odd_characters() -> None:
    assert render({'k"%': 'é"%%'}) == '{"k\\"%":"\xc3\xa9\\"%"}\n'
    assert render({}) == "{}\n"


def test_values_of_the_wire_are_escaped() -> None:
    assert render({"a": "%REQ(x)%"}, stream([("x", 'a"\t\xe9')])) == '{"a":"a\\u0022\\u0009\\u00e9"}\n'


def test_problems_name_the_member() -> None:
    ctx = context()
    message = Struct()
    message.update({"a": ["%NOPE%"], "b": {"c": "%"}})
    compile_json_format(message, "log.json_format", ctx)
    assert [problem.path for problem in ctx.problems] == ["log.json_format.a[0]", "log.json_format.b.c"]


def test_static_needs_every_member_to_be() -> None:
    assert compiled({"a": "%REQ(x)%", "b": "c"}).static
    assert not compiled({"a": "%REQ(x)%", "b": ["%RESPONSE_CODE%"]}).static
