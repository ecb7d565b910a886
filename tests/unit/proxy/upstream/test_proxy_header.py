from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2, proxy_protocol_pb2
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from google.protobuf.json_format import ParseDict

from proxy.base.address import Address
from proxy.codec.proxy_protocol import ProxyData, encode_v1, encode_v2
from proxy.config.context import CompileContext
from proxy.upstream.proxy_header import compile_proxy_header

OURS = Address("10.0.0.1", 1000), Address("10.0.0.2", 2000)
CLIENT = ProxyData(Address("1.2.3.4", 5), Address("6.7.8.9", 10), ((1, b"h2"), (2, b"a"), (2, b"b")))


def rendered(client: ProxyData | None = CLIENT, metadata: Any = None, **config: Any) -> bytes:
    context = CompileContext()
    message = ParseDict({"config": config}, ProxyProtocolUpstreamTransport())
    header = compile_proxy_header(message, "socket", context)
    assert not context.problems
    return header.render(client, *OURS, metadata)


def expected(*tlvs: tuple[int, bytes]) -> bytes:
    return encode_v2(CLIENT.remote, CLIENT.local, tlvs)


def test_version_1_tells_of_the_client_or_of_the_connection_itself() -> None:
    assert rendered() == encode_v1(CLIENT.remote, CLIENT.local)
    assert rendered(None) == encode_v1(*OURS)


def test_version_2_without_a_client_is_local() -> None:
    assert rendered(None, version="V2")[12:] == b"\x20\0\0\0"


@pytest.mark.parametrize(
    ("through", "tlvs"),
    [
        ({}, ()),
        ({"pass_through_tlvs": {"match_type": "INCLUDE_ALL"}}, CLIENT.tlvs),
        ({"pass_through_tlvs": {"match_type": "INCLUDE", "tlv_type": [1]}}, CLIENT.tlvs[:1]),
    ],
)
def test_what_of_the_client_s_tlvs_is_passed_on(through: Any, tlvs: Any) -> None:
    assert rendered(version="V2", **through) == expected(*tlvs)


def test_added_tlvs_come_first_and_take_the_place_of_the_client_s() -> None:
    got = rendered(
        version="V2",
        pass_through_tlvs={"match_type": "INCLUDE_ALL"},
        added_tlvs=[{"type": 2, "value": "b3Vycw=="}],
    )
    assert got == expected((2, b"ours"), (1, b"h2"))


def test_those_of_the_endpoint_take_the_place_of_the_config_s() -> None:
    own = proxy_protocol_pb2.PerHostConfig()
    own.added_tlvs.add(type=2, value=b"host")
    metadata = base_pb2.Metadata()
    metadata.typed_filter_metadata["envoy.transport_sockets.proxy_protocol"].Pack(own)
    got = rendered(metadata=metadata, version="V2", added_tlvs=[{"type": 2, "value": "b3Vycw=="}])
    assert got == expected((2, b"host"))


def test_too_many_tlvs_leave_no_header() -> None:
    huge = ProxyData(CLIENT.remote, CLIENT.local, ((1, b"x" * 65_535),))
    assert rendered(huge, version="V2", pass_through_tlvs={}) == b""


def test_formats_are_refused_by_name() -> None:
    context = CompileContext()
    entry = {"type": 1, "format_string": {"text_format_source": {"inline_string": "x"}}}
    message = ParseDict({"config": {"added_tlvs": [entry]}}, ProxyProtocolUpstreamTransport())
    compile_proxy_header(message, "socket", context)
    assert "socket.config.added_tlvs[0].format_string" in str(context.problems[0])
