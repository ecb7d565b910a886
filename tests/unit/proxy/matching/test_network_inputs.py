"""What a connection offers to matchers before its filter chain is chosen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.matching.network_inputs import ACCEPTED_INPUTS
from proxy.matching.tree import UnavailableInputError

NETWORK = "envoy.extensions.matching.common_inputs.network.v3"


def read(name: str, info: ConnectionInfo) -> str | None:
    return ACCEPTED_INPUTS[name if "." in name else f"{NETWORK}.{name}"](SimpleNamespace(key="k"))(info)


def test_addresses_and_what_listener_filters_have_found() -> None:
    info = ConnectionInfo(1, Address("192.0.2.7", 40000), Address("2001:db8::1", 443), 0.0, DrainState())
    info.remote_address = Address("198.51.100.1", 4)
    assert read("SourceIPInput", info) == "198.51.100.1"
    assert read("SourcePortInput", info) == "4"
    assert read("DirectSourceIPInput", info) == "192.0.2.7"
    assert read("DestinationIPInput", info) == "2001:db8::1"
    assert read("DestinationPortInput", info) == "443"
    assert read("TransportProtocolInput", info) == "raw_buffer"
    for name in ("SourceTypeInput", "ServerNameInput", "ApplicationProtocolInput", "FilterStateInput"):
        assert read(name, info) is None
    info.requested_server_name = "a.com"
    info.requested_application_protocols = ("h2", "http/1.1")
    info.filter_state = {"k": "value"}
    assert read("ServerNameInput", info) == "a.com"
    assert read("ApplicationProtocolInput", info) == "'h2','http/1.1'"
    assert read("FilterStateInput", info) == "value"


def test_a_unix_socket_has_neither_address_nor_port_and_is_local() -> None:
    info = ConnectionInfo(1, Address(path="@"), Address(path="/run/a.sock"), 0.0, DrainState())
    for name in ("SourceIPInput", "SourcePortInput", "DestinationIPInput", "DestinationPortInput"):
        assert read(name, info) is None
    assert read("SourceTypeInput", info) == "local"


def test_a_certificate_is_not_known_yet() -> None:
    info = ConnectionInfo(1, Address("192.0.2.7", 1), Address("10.0.0.1", 443), 0.0, DrainState())
    with pytest.raises(UnavailableInputError):
        read("envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput", info)
