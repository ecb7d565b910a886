from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.request_id.uuid.v3 import uuid_pb2
from google.protobuf.json_format import ParseDict

from proxy.base.address import Address
from proxy.base.messages import RequestHead
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.config.context import CompileContext
from proxy.tcp_proxy.tunnel_config import compile_tunnel

UUID = {"@type": f"type.googleapis.com/{uuid_pb2.UuidRequestIdConfig.DESCRIPTOR.full_name}"}


def head(**fields: Any) -> RequestHead:
    context = CompileContext()
    message = ParseDict({"hostname": "a:1", **fields}, TcpProxy.TunnelingConfig())
    config = compile_tunnel(message, "tunnel", context)
    assert not context.problems
    client = ConnectionInfo(1, Address("10.1.2.3", 4000), Address("127.0.0.1", 80), 0.0, DrainState())
    return config.head(StreamInfo(client, 0.0), "http", "the-id")


def test_connect_names_the_host_and_no_path() -> None:
    made = head(hostname="%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:443")
    assert (made.method, made.path, made.authority) == ("CONNECT", "", "10.1.2.3:443")


@pytest.mark.parametrize(("fields", "path"), [({}, "/"), ({"post_path": "/x"}, "/x")])
def test_post_has_a_path(fields: Any, path: str) -> None:
    made = head(use_post=True, **fields)
    assert (made.method, made.path) == ("POST", path)


def test_headers_are_added() -> None:
    option = {"header": {"key": "X-Port", "value": "%DOWNSTREAM_LOCAL_PORT%"}}
    assert head(headers_to_add=[option]).headers["x-port"] == "80"


def test_the_request_id_has_a_header_of_its_own() -> None:
    extension = {"typed_config": UUID}
    assert head(request_id_extension=extension).headers["x-request-id"] == "the-id"
    assert head(request_id_extension=extension, request_id_header="X-Id").headers["x-id"] == "the-id"
    assert not head().headers


def test_a_post_path_needs_post() -> None:
    context = CompileContext()
    message = ParseDict({"hostname": "a:1", "post_path": "/x"}, TcpProxy.TunnelingConfig())
    compile_tunnel(message, "tunnel", context)
    assert "tunnel.post_path" in str(context.problems[0])
