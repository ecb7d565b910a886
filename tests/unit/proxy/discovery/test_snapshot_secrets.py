from __future__ import annotations

from typing import Any

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format
from udpa.type.v1 import typed_struct_pb2

from proxy.discovery.snapshot_secrets import SecretMemo, is_secret
from tests.unit.proxy.discovery.tables import cluster, endpoints, listener
from xds_client.resource_types import ResourceType

CDS, LDS = ResourceType.CLUSTER, ResourceType.LISTENER


def with_certificate(certificate: dict[str, Any]) -> Any:
    message = listener("l", "r")
    context = {"common_tls_context": {"tls_certificates": [certificate]}}
    tls = json_format.ParseDict(context, tls_pb2.DownstreamTlsContext())
    message.filter_chains[0].transport_socket.typed_config.Pack(tls)
    return message


def test_secrets_are_secret_and_what_holds_none_is_not() -> None:
    assert is_secret(ResourceType.SECRET, b"")
    assert not is_secret(CDS, cluster("c").SerializeToString())
    assert not is_secret(ResourceType.ENDPOINT, endpoints("e", 80).SerializeToString())
    assert not is_secret(LDS, listener("l", "r").SerializeToString())


def test_a_key_written_into_a_listener_makes_it_secret_but_not_the_name_of_its_file() -> None:
    inline = with_certificate({"private_key": {"inline_string": "KEY"}})
    assert is_secret(LDS, inline.SerializeToString())
    file = with_certificate({"private_key": {"filename": "/key.pem"}})
    assert not is_secret(LDS, file.SerializeToString())


def test_answers_are_kept_from_one_round_to_the_next() -> None:
    memo = SecretMemo()
    body = with_certificate({"private_key": {"inline_string": "KEY"}}).SerializeToString()
    for _ in range(3):
        assert memo(LDS, body)
        assert not memo(LDS, b"")
        memo.next_round()


def test_a_key_spelled_out_in_a_typed_struct_is_found() -> None:
    packed = typed_struct_pb2.TypedStruct(
        type_url="type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    )
    key = {"common_tls_context": {"tls_certificates": [{"private_key": {"inline_string": "KEY"}}]}}
    json_format.ParseDict(key, packed.value)
    message = listener_pb2.Listener(name="l")
    message.filter_chains.add().transport_socket.typed_config.Pack(packed)
    assert is_secret(LDS, message.SerializeToString())


def test_what_mentions_a_type_with_secrets_and_cannot_be_read_counts_as_one() -> None:
    mention = b"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    assert is_secret(CDS, mention)
