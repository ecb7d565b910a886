"""CONNECT that ends here."""

import pytest
from envoy.config.core.v3 import proxy_protocol_pb2
from envoy.config.route.v3 import route_components_pb2

from proxy.base.address import Address
from proxy.router.connect_config import ConnectConfig, compile_connect_config

Message = route_components_pb2.RouteAction.UpgradeConfig.ConnectConfig
Proxy = proxy_protocol_pb2.ProxyProtocolConfig


@pytest.mark.parametrize(
    ("message", "config"),
    [
        (Message(), ConnectConfig()),
        (Message(allow_post=True), ConnectConfig(allow_post=True)),
        (Message(proxy_protocol_config=Proxy()), ConnectConfig(1)),
        (Message(proxy_protocol_config=Proxy(version="V2")), ConnectConfig(2)),
    ],
)
def test_compilation(message, config):
    assert compile_connect_config(message) == config


@pytest.mark.parametrize("allow_post", [False, True])
def test_which_requests_end_here(allow_post):
    config = ConnectConfig(allow_post=allow_post)
    assert config.ends("CONNECT")
    assert config.ends("POST") == allow_post
    assert not config.ends("GET")


@pytest.mark.parametrize(("version", "start"), [(0, b""), (1, b"PROXY TCP4 1.1.1.1 "), (2, b"\r\n\r\n\0")])
def test_what_goes_ahead(version, start):
    preamble = ConnectConfig(version).preamble(Address("1.1.1.1", 1), Address("2.2.2.2", 2))
    assert preamble.startswith(start)
    assert bool(preamble) == bool(version)
