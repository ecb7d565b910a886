from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.ratelimit.actions import (
    RateLimit,
    Selection,
    compile_filter_rate_limits,
    compile_rate_limits,
)
from tests.support.streams import START, connection

KEY = {"key": "ns", "path": [{"key": "deep"}, {"key": "name"}]}


class Stream:
    """A request and what the actions may ask of its stream."""

    def __init__(self, path: str = "/", *fields: tuple[str, str]) -> None:
        self.head = RequestHead("GET", path, "host", HeaderMap(fields))
        self.info = StreamInfo(connection(), START)
        self.info.request = self.head
        self.route: Any = None

    def route_cluster_name(self) -> str:
        return "c"


def messages(*limits: dict[str, Any]) -> list[Any]:
    return [json_format.ParseDict(one, route_components_pb2.RateLimit()) for one in limits]


def entries(stream: Stream, *actions: dict[str, Any]) -> Any:
    """The entries of the descriptor, None if there is none."""
    node = base_pb2.Node(cluster="mine")
    compiled = compile_rate_limits(
        messages({"actions": list(actions)}), "", context := CompileContext(node=node)
    )
    assert not context.problems
    found = compiled[0].descriptor(stream.head, stream)
    return None if found is None else found.entries


def hits(stream: Stream, **addend: Any) -> int | None:
    limit = {"actions": [{"generic_key": {"descriptor_value": "g"}}], "hits_addend": addend}
    (compiled,) = compile_filter_rate_limits(messages(limit), "", context := CompileContext())
    assert not context.problems
    found = compiled.descriptor(stream.head, stream)
    return None if found is None else found.hits


def test_clusters() -> None:
    assert entries(Stream(), {"source_cluster": {}}) == (("source_cluster", "mine"),)
    stream = Stream()
    assert entries(stream, {"destination_cluster": {}}) is None
    stream.route = SimpleNamespace(forwards=True)
    assert entries(stream, {"destination_cluster": {}}) == (("destination_cluster", "c"),)


def test_a_missing_field_means_no_descriptor_unless_it_may_be_skipped() -> None:
    action = {"header_name": "X-A", "descriptor_key": "a"}
    skipped = {"request_headers": {**action, "skip_if_absent": True}}
    generic = {"generic_key": {"descriptor_value": "g"}}
    assert entries(Stream(), {"request_headers": action}, generic) is None
    assert entries(Stream(), skipped, generic) == (("generic_key", "g"),)
    given = Stream("/", ("x-a", "1"), ("x-a", "2"))
    assert entries(given, skipped, generic) == (("a", "1"), ("generic_key", "g"))


@pytest.mark.parametrize(
    ("path", "value"), [("/?q=1&q=2", "1"), ("/?%71=a%20b", "a b"), ("/?q", ""), ("/?r=1", None), ("/", None)]
)
def test_query_parameters_are_decoded(path: str, value: str | None) -> None:
    action = {"query_parameters": {"query_parameter_name": "q", "descriptor_key": "k"}}
    assert entries(Stream(path), action) == (None if value is None else (("k", value),))


@pytest.mark.parametrize(
    ("ip", "v4", "masked"),
    [
        ("10.1.2.3", 16, "10.1.0.0/16"),
        ("10.1.2.3", 0, "0.0.0.0/0"),
        ("2001:db8::1", 16, "2001:db8::1/128"),
        ("fe80::1%eth0", 16, "fe80::1/128"),
    ],
)
def test_addresses(ip: str, v4: int, masked: str) -> None:
    stream = Stream()
    stream.info.remote_address = Address(ip, 1)
    assert entries(stream, {"remote_address": {}}) == (("remote_address", ip),)
    action = {"masked_remote_address": {"v4_prefix_mask_len": v4}}
    assert entries(stream, action) == (("masked_remote_address", masked),)


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    stream = Stream()
    stream.info.remote_address = Address(path="@x")
    assert entries(stream, {"remote_address": {}}) is None
    assert entries(stream, {"masked_remote_address": {}}) is None


@pytest.mark.parametrize(
    ("value", "found"), [("v", (("m", "v"),)), ("", (("m", "d"),)), (7, (("m", "d"),)), (None, (("m", "d"),))]
)
def test_only_texts_of_metadata_count(value: Any, found: Any) -> None:
    stream = Stream()
    stream.info.dynamic_metadata = {"ns": {"deep": {"name": value}}}
    action = {"metadata": {"descriptor_key": "m", "metadata_key": KEY, "default_value": "d"}}
    assert entries(stream, action) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("2.9", 2),
        ("1e1", 10),
        ("-1", None),
        ("", None),
        ("x", None),
        ("1e300", None),
        ("9" * 500, None),
    ],
)
def test_hits_that_requests_tell(text: str, number: int | None) -> None:
    stream = Stream("/", ("x-hits", text))
    assert hits(stream, format="%REQ(x-hits)%") == number
    assert hits(stream, number="4") == 4


def test_stages_and_disabled_limits() -> None:
    limits = [
        {"actions": [{"generic_key": {"descriptor_value": name}}], **more}
        for name, more in (("a", {}), ("b", {"stage": 2}), ("c", {"disable_key": "k"}))
    ]
    of_route = compile_rate_limits(messages(*limits), "", CompileContext())
    assert chosen(of_route, (), stage=0) == ["a"]
    assert chosen(of_route, (), stage=2) == ["b"]


def named(*names: str) -> tuple[RateLimit, ...]:
    limits = ({"actions": [{"generic_key": {"descriptor_value": name}}]} for name in names)
    return compile_rate_limits(messages(*limits), "", CompileContext())


def chosen(
    of_route: Any, of_host: Any, *, stage: int = 0, option: int = 0, includes: bool = False
) -> list[str]:
    stream = Stream()
    host = SimpleNamespace(rate_limits=of_host)
    stream.route = SimpleNamespace(
        forwards=True, rate_limits=of_route, include_vh_rate_limits=includes, virtual_host=host
    )
    found = Selection((), stage, option).descriptors(stream.head, stream)
    return [descriptor.entries[0][1] for descriptor in found]


def test_when_those_of_the_virtual_host_count() -> None:
    route, host = named("r"), named("h")
    assert chosen(route, host) == ["r"]
    assert chosen((), host) == ["h"]
    assert chosen(route, host, option=1) == ["r", "h"]
    assert chosen((), host, option=2) == []
    assert chosen(route, host, option=2, includes=True) == ["r", "h"]


def test_those_of_the_filter_replace_the_others() -> None:
    stream = Stream()
    found = Selection(named("own"), 5, 0).descriptors(stream.head, stream)
    assert [one.entries for one in found] == [(("generic_key", "own"),)]
