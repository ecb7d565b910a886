from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2
from google.protobuf import field_mask_pb2, json_format, struct_pb2, timestamp_pb2

from proxy.config.message_reader import reader_for
from proxy.config.yaml_source import compose

ROUND_ROBIN = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
LOG = "envoy.extensions.filters.network.direct_response.v3.Config"


def read(message: Any, text: str) -> list[str]:
    found = reader_for(message.DESCRIPTOR)(message, compose(text, ""), 0)
    return [fault.reason for fault in found or ()]


def cluster(text: str) -> Any:
    message = cluster_pb2.Cluster()
    assert read(message, text) == []
    return message


def test_a_wrapper_is_its_value_or_a_mapping() -> None:
    for text in ("5", "{value: 5}", "'5'", "5.0"):
        assert (
            cluster(f"per_connection_buffer_limit_bytes: {text}").per_connection_buffer_limit_bytes.value == 5
        )


def test_an_empty_wrapper_is_zero_and_set() -> None:
    assert cluster("per_connection_buffer_limit_bytes: {}").HasField("per_connection_buffer_limit_bytes")


def test_a_duration_is_a_text_or_a_mapping() -> None:
    for text in ("1.5s", "{seconds: 1, nanos: 500000000}"):
        timeout = cluster(f"connect_timeout: {text}").connect_timeout
        assert (timeout.seconds, timeout.nanos) == (1, 500_000_000)


def test_a_bare_number_is_no_duration() -> None:
    assert read(cluster_pb2.Cluster(), "connect_timeout: 5") == [
        "expected a duration such as '1.5s', found '5'"
    ]


def test_a_time() -> None:
    message = timestamp_pb2.Timestamp()
    assert read(message, "1970-01-01T00:00:10Z") == []
    assert message.seconds == 10


def test_a_field_mask() -> None:
    message = field_mask_pb2.FieldMask()
    assert read(message, "a.b,c") == []
    assert list(message.paths) == ["a.b", "c"]


def test_a_struct_keeps_what_envoy_keeps() -> None:
    message = struct_pb2.Struct()
    text = "{a: 1, b: 1.5, c: yes, d: null, e: [x, 5000000000], f: {g: 'h'}, <<: i}"
    assert read(message, text) == []
    assert json_format.MessageToDict(message) == {
        "a": 1, "b": "1.5", "c": True, "d": None, "e": ["x", "5000000000"], "f": {"g": "h"}, "<<": "i",
    }  # fmt: skip


def filter_of(typed_config: str) -> tuple[Any, list[str]]:
    message = listener_components_pb2.Filter()
    found = read(message, f"{{name: x, typed_config: {typed_config}}}")
    return message.typed_config, found


@pytest.mark.parametrize(
    "text",
    [
        f"{{'@type': type.googleapis.com/{LOG}, response: {{inline_string: hi}}}}",
        f"{{'@type': a/udpa.type.v1.TypedStruct, type_url: a/{LOG}, value: {{response: {{inlineString: hi}}}}}}",
        f"{{'@type': a/xds.type.v3.TypedStruct, typeUrl: {LOG}, value: {{response: {{inline_string: hi}}}}}}",
    ],
)
def test_an_any_holds_the_message_also_out_of_a_typed_struct(text: str) -> None:
    carried, found = filter_of(text)
    assert found == []
    assert carried.type_url == f"type.googleapis.com/{LOG}"
    assert b"hi" in carried.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a: b}", "'@type' that names the message is missing"),
        (f"{{'@type': {LOG}}}", "must look like type.googleapis.com/NAME"),
        ("x", "expected a mapping with an '@type'"),
        (f"{{'@type': a/{LOG}, respons: 1}}", "did you mean 'response'?"),
        ("{'@type': a/udpa.type.v1.TypedStruct, value: {}}", "needs a 'type_url'"),
        (f"{{'@type': a/udpa.type.v1.TypedStruct, type_url: a/{LOG}, valu: {{}}}}", "unknown field 'valu'"),
        ("{'@type': a/google.protobuf.Struct, a: 1}", "exactly the keys '@type' and 'value'"),
    ],
)
def test_an_any_that_is_wrong(text: str, words: str) -> None:
    assert words in filter_of(text)[1][0]


def test_an_unknown_type_is_kept_for_the_check_to_judge() -> None:
    carried, found = filter_of("{'@type': a/some.Type, field: 1}")
    assert found == []
    assert carried.type_url == "a/some.Type"
