from __future__ import annotations

import pytest
from envoy.config.core.v3 import address_pb2
from google.protobuf.json_format import MessageToDict

from proxy.base.address import Address, InternalAddress
from proxy.config.address_message import set_address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (Address("::1", 80), {"socketAddress": {"address": "::1", "portValue": 80}}),
        (Address(path="/run/x.sock"), {"pipe": {"path": "/run/x.sock"}}),
        (
            InternalAddress("inner", "e"),
            {"envoyInternalAddress": {"serverListenerName": "inner", "endpointId": "e"}},
        ),
    ],
)
def test_each_kind_of_address_has_its_form(address: Address, message: dict[str, object]) -> None:
    made = address_pb2.Address()
    set_address(made, address)
    assert MessageToDict(made) == message
