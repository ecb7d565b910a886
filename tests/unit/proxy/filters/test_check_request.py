from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.json_format import MessageToDict, ParseDict

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState, TlsInfo
from proxy.filters.check_request import CheckFields, check_request


def told(connection: ConnectionInfo, fields: CheckFields | None = None, node: Any = None) -> dict[str, Any]:
    request = external_auth_pb2.CheckRequest.FromString(
        check_request(connection, fields or CheckFields(), node)
    )
    attributes: dict[str, Any] = MessageToDict(request)["attributes"]
    return attributes


def connection(**facts: Any) -> ConnectionInfo:
    made = ConnectionInfo(1, Address("::1", 2), Address(path="/run/x.sock"), 0.0, DrainState())
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def test_addresses_and_the_server_name_are_told() -> None:
    attributes = told(connection(requested_server_name="a.b"))
    assert attributes["source"] == {"address": {"socketAddress": {"address": "::1", "portValue": 2}}}
    assert attributes["destination"] == {"address": {"pipe": {"path": "/run/x.sock"}}, "service": "a.b"}
    assert attributes["metadataContext"] == {}
    assert "tlsSession" not in attributes


def test_metadata_is_told_by_namespace() -> None:
    fields = CheckFields(namespaces=("a", "absent"))
    attributes = told(connection(dynamic_metadata={"a": {"k": [1, "x"]}, "b": {"k": 2}}), fields)
    assert attributes["metadataContext"] == {"filterMetadata": {"a": {"k": [1.0, "x"]}}}


def test_labels_come_from_the_node() -> None:
    node = base_pb2.Node(metadata=ParseDict({"labels": {"a": "b"}, "n": 1}, base_pb2.Node().metadata))
    fields = CheckFields(labels_key="labels")
    assert told(connection(), fields, node)["destination"]["labels"] == {"a": "b"}
    assert "labels" not in told(connection(), CheckFields(labels_key="other"), node)["destination"]
    assert "labels" not in told(connection(), fields, SimpleNamespace(metadata=base_pb2.Node().metadata))


def test_tls_without_a_certificate_has_no_principal() -> None:
    tls = TlsInfo()
    tls.sni = "a.b"
    attributes = told(connection(tls=tls), CheckFields(True, True))
    assert "principal" not in attributes["source"]
    assert attributes["tlsSession"] == {"sni": "a.b"}
