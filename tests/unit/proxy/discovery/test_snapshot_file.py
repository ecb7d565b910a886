from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from msgspec.structs import replace

from proxy.discovery.snapshot_file import Identity, Section, SnapshotError, decode, encode, read_key
from tests.unit.proxy.discovery.tables import cluster, endpoints
from xds_client.api import Resource
from xds_client.resource_types import ResourceType

ME = Identity("node-1", "edge")
KEY = Fernet(Fernet.generate_key())


def resource(message: object, kind: ResourceType, name: str, version: str = "1") -> Resource:
    body = message.SerializeToString()  # type: ignore[attr-defined]
    return Resource(name, version, body, kind.type_url)


CLUSTERS = Section(
    ResourceType.CLUSTER,
    b"\x1a\x00",
    "*",
    "7",
    1000.0,
    (
        resource(cluster("a"), ResourceType.CLUSTER, "a"),
        resource(cluster("b"), ResourceType.CLUSTER, "b", "2"),
    ),
)
ENDPOINTS = Section(
    ResourceType.ENDPOINT,
    b"\x1a\x00",
    "",
    "8",
    900.0,
    (resource(endpoints("a", 80), ResourceType.ENDPOINT, "a"),),
)
SECRETS = Section(
    ResourceType.SECRET,
    b"\x1a\x00",
    "",
    "9",
    1000.0,
    (resource(secret_pb2.Secret(name="s"), ResourceType.SECRET, "s"),),
)


def test_what_is_written_is_read() -> None:
    content = encode([CLUSTERS, ENDPOINTS], ME, 1000.0, None)
    assert decode(content, ME, 0.0, None) == [CLUSTERS, ENDPOINTS]


def test_an_empty_list_is_one_too() -> None:
    empty = replace(CLUSTERS, resources=())
    assert decode(encode([empty], ME, 1000.0, None), ME, 0.0, None) == [empty]


def test_aliases_and_metadata_are_kept() -> None:
    one = replace(CLUSTERS.resources[0], aliases=("x",), metadata=b"\n\x05\n\x01k\x12\x00")
    section = replace(CLUSTERS, resources=(one,))
    assert decode(encode([section], ME, 1.0, None), ME, 0.0, None) == [section]


def test_secrets_are_left_out_without_a_key_and_unreadable_with_one() -> None:
    assert decode(encode([CLUSTERS, SECRETS], ME, 1.0, None), ME, 0.0, KEY) == [CLUSTERS]
    content = encode([CLUSTERS, SECRETS], ME, 1.0, KEY)
    assert SECRETS.resources[0].body not in content
    assert decode(content, ME, 0.0, KEY) == [CLUSTERS, SECRETS]
    assert decode(content, ME, 0.0, None) == [CLUSTERS]
    with pytest.raises(SnapshotError, match="encrypted with another key"):
        decode(content, ME, 0.0, Fernet(Fernet.generate_key()))


def test_a_list_of_which_a_part_is_secret_comes_back_whole() -> None:
    hidden = cluster("tls")
    tls = hidden.transport_socket
    tls.name = "tls"
    tls.typed_config.type_url = (
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    )
    # common_tls_context.tls_certificates.private_key.inline_string
    tls.typed_config.value = b"\x0a\x0a\x12\x08\x12\x06\x1a\x04KEYS"
    section = replace(
        CLUSTERS, resources=(*CLUSTERS.resources, resource(hidden, ResourceType.CLUSTER, "tls"))
    )
    content = encode([section], ME, 1.0, KEY)
    assert b"KEYS" not in content
    assert decode(content, ME, 0.0, KEY) == [section]
    assert decode(content, ME, 0.0, None) == [CLUSTERS]


@pytest.mark.parametrize("where", [0, 20, 90, 200, -1])
def test_a_changed_byte_anywhere_is_noticed(where: int) -> None:
    content = bytearray(encode([CLUSTERS], ME, 1.0, None))
    content[where] ^= 1
    with pytest.raises(SnapshotError):
        decode(bytes(content), ME, 0.0, None)


@pytest.mark.parametrize("size", [0, 10, 100, 300])
def test_half_a_file_is_noticed(size: int) -> None:
    with pytest.raises(SnapshotError, match="it is damaged"):
        decode(encode([CLUSTERS], ME, 1.0, None)[:size], ME, 0.0, None)


def test_another_node_and_another_format_are_refused() -> None:
    content = encode([CLUSTERS], ME, 1.0, None)
    with pytest.raises(SnapshotError, match="it is of another node, 'node-1' of cluster 'edge'"):
        decode(content, Identity("node-2", "edge"), 0.0, None)
    with pytest.raises(SnapshotError, match="its format is 2, and only 1 is known here"):
        decode(content.replace(b" 1 ", b" 2 ", 1), ME, 0.0, None)


def test_what_is_too_old_is_left_out_and_refused_if_everything_is() -> None:
    content = encode([CLUSTERS, ENDPOINTS], ME, 1000.0, None)
    assert decode(content, ME, 950.0, None) == [CLUSTERS]
    with pytest.raises(SnapshotError, match="it is too old, by 60 s"):
        decode(content, ME, 1060.0, None)


@pytest.mark.parametrize("form", [bytes, base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_is_read_raw_or_in_base64(tmp_path: Path, form: object) -> None:
    raw = bytes(range(224, 256))
    file = tmp_path / "key"
    file.write_bytes(form(raw) + (b"" if form is bytes else b"\n"))  # type: ignore[operator]
    token = Fernet(base64.urlsafe_b64encode(raw)).encrypt(b"x")
    assert read_key(str(file)).decrypt(token) == b"x"


def test_anything_else_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("secret")
    with pytest.raises(ValueError, match="a key is 32 bytes"):
        read_key(str(file))
