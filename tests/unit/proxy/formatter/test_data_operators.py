from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import Metadata
from google.protobuf import json_format

from proxy.formatter.compile import compile_format
from tests.support.streams import cluster, connection, context, host, stream

DATA = {
    "s": 'str"q\n',
    "i": 3,
    "b": True,
    "n": None,
    "f": 1.5,
    "o": {"k": "v", "a": [1, "x"]},
    "l": [1, None],
}
MESSAGE = json_format.ParseDict({"filter_metadata": {"ns": DATA}}, Metadata())


def render(text: str, **facts: object) -> str:
    return compile_format(text, "p", context()).render(stream(**facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("ns:s", 'str"q\n'),
        ("ns:i", "3"),
        ("ns:b", "true"),
        ("ns:n", "-"),
        ("ns:f", "1.5"),
        ("ns:o", '{"a":[1,"x"],"k":"v"}'),
        ("ns:o:k", "v"),
        ("ns:s:k", "-"),
        ("ns:l", "[1,null]"),
        ("ns:nope", "-"),
        ("nope", "-"),
        ("ns", '{"b":true,"f":1.5,"i":3,"l":[1,null],"n":null,"o":{"a":[1,"x"],"k":"v"},"s":"str\\"q\\n"}'),
    ],
)
def test_metadata_of_messages_and_of_filters_reads_the_same(path: str, expected: str) -> None:
    assert render(f"%METADATA(ROUTE:{path})%", route_metadata=MESSAGE) == expected
    assert render(f"%DYNAMIC_METADATA({path})%", dynamic_metadata={"ns": DATA}) == expected


def test_each_kind_of_metadata_has_its_source() -> None:
    facts = {
        "upstream_cluster": cluster("c", metadata=MESSAGE),
        "upstream_host": host("10.0.0.1", 80, metadata=MESSAGE),
        "virtual_host_metadata": MESSAGE,
        "connection": connection(listener_metadata=MESSAGE, filter_chain_metadata=MESSAGE),
    }
    kinds = ["CLUSTER", "UPSTREAM_HOST", "VIRTUAL_HOST", "LISTENER", "LISTENER_FILTER_CHAIN"]
    for kind in kinds:
        assert render(f"%METADATA({kind}:ns:i)%", **facts) == "3"
        assert render(f"%METADATA({kind}:ns:i)%") == "-"
    assert render("%CLUSTER_METADATA(ns:i)% %UPSTREAM_METADATA(ns:i)%", **facts) == "3 3"


def test_metadata_is_cut_to_length() -> None:
    text = "%METADATA(ROUTE:ns:s):2% %METADATA(ROUTE:ns:o):2%"
    assert render(text, route_metadata=MESSAGE) == 'st {"'


def test_metadata_of_a_connection_are_not_those_of_its_requests() -> None:
    held = connection(dynamic_metadata={"a": {"b": "c"}})
    assert render("%DYNAMIC_METADATA(a:b)%", connection=held) == "-"
    assert render("%DYNAMIC_METADATA(a:b)%", connection=held, request=None) == "c"


def test_objects_of_a_connection_are_those_of_its_requests() -> None:
    held = connection(filter_state={"a": "c", "b": "d"})
    assert (
        render("%FILTER_STATE(a:PLAIN)% %FILTER_STATE(b:PLAIN)%", connection=held, filter_state={"b": "e"})
        == "c e"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%FILTER_STATE(s)%", '"text"'),
        ("%FILTER_STATE(s:PLAIN)%", "text"),
        ("%FILTER_STATE(s:PLAIN):2%", "te"),
        ("%FILTER_STATE(o)%", '{"k":"v"}'),
        ("%FILTER_STATE(o:FIELD:k)%", "v"),
        ("%FILTER_STATE(o:FIELD:z)%", "-"),
        ("%FILTER_STATE(none)%", "-"),
        ("%UPSTREAM_FILTER_STATE(s)%", "-"),
    ],
)
def test_filter_state(text: str, expected: str) -> None:
    assert render(text, filter_state={"s": "text", "o": {"k": "v"}}) == expected


@pytest.mark.parametrize(
    ("operators", "expected"),
    [
        ('"REQUESTED_SERVER_NAME",{"command":"REQ","param":":authority"}', "ex.com"),
        ('"CUSTOM_FLAGS","DURATION"', "3"),
        ('"RESPONSE_FLAGS","DURATION"', "-"),
        ('{"command":"REQ","param":"x-none"}', "-"),
        ('{"command":"REQ","param":":path","max_length":2}', "/a"),
    ],
)
def test_coalesce_takes_the_first_value(operators: str, expected: str) -> None:
    assert render(f'%COALESCE({{"operators":[{operators}]}})%', path="/abc") == expected


def test_coalesce_is_cut_to_length() -> None:
    assert render('%COALESCE({"operators":[{"command":"REQ","param":":path"}]}):2%', path="/abc") == "/a"
