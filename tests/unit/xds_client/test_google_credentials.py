from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from envoy.config.core.v3 import grpc_service_pb2
from envoy.config.grpc_credential.v3.file_based_metadata_pb2 import FileBasedMetadataConfig
from google.protobuf import json_format

from proxy.base.errors import ConfigError
from xds_client.errors import ConnectError
from xds_client.google_credentials import call_metadata, channel_credentials


def google(**fields: Any) -> Any:
    message = {"target_uri": "x", "stat_prefix": "x", **fields}
    return json_format.ParseDict(message, grpc_service_pb2.GrpcService.GoogleGrpc())


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_service_account_signs_its_own_token() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"private_key": pem.decode(), "private_key_id": "k1", "client_email": "me@example.com"}
    message = google(
        channel_credentials={"local_credentials": {}},
        call_credentials=[
            {"service_account_jwt_access": {"json_key": json.dumps(account), "token_lifetime_seconds": 60}}
        ],
    )
    (give,) = call_metadata(message, "google_grpc")
    name, value = asyncio.run(give("dns:///td.example.com:443", "/some.Service"))
    assert (name, value[:7]) == ("authorization", "Bearer ")
    head, claims, signature = value[7:].split(".")
    key.public_key().verify(
        decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    said = json.loads(decoded(claims))
    assert (said["iss"], said["aud"]) == ("me@example.com", "https://td.example.com/some.Service")
    assert said["exp"] - said["iat"] == 60


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        ({"google_refresh_token": "x"}, "google_refresh_token: not supported"),
        ({"google_iam": {}}, "google_iam: not supported"),
        ({"sts_service": {}}, "sts_service: not supported"),
        ({"from_plugin": {"name": "x"}}, "from_plugin.name: only envoy.grpc_credentials.file_based_metadata"),
        ({"service_account_jwt_access": {"json_key": "{}"}}, "not the JSON key of a service account"),
        ({}, "names no kind"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(credentials: dict[str, Any], reason: str) -> None:
    message = google(channel_credentials={"local_credentials": {}}, call_credentials=[credentials])
    with pytest.raises(ConfigError, match=reason):
        call_metadata(message, "google_grpc")


def test_a_missing_file_is_named() -> None:
    message = google(channel_credentials={"ssl_credentials": {"root_certs": {"filename": "/nowhere/ca.pem"}}})
    with pytest.raises(ConfigError, match=r"root_certs\.filename: .*/nowhere/ca.pem"):
        channel_credentials(message, "google_grpc")


FILE_FACTORY = "envoy.grpc_credentials.file_based_metadata"


def from_file(**fields: Any) -> Any:
    made = google(channel_credentials={"local_credentials": {}}, credentials_factory_name=FILE_FACTORY)
    plugin = made.call_credentials.add().from_plugin
    plugin.name = FILE_FACTORY
    plugin.typed_config.Pack(FileBasedMetadataConfig(**fields))
    return made


def test_a_file_is_read_for_each_stream(tmp_path: Path) -> None:
    file = tmp_path / "token"
    message = from_file(secret_data={"filename": str(file)}, header_key="X-Token", header_prefix="Token ")
    (give,) = call_metadata(message, "google_grpc")
    file.write_text("first\n")
    assert asyncio.run(give("x", "/s")) == ("x-token", "Token first")
    file.write_text("second")
    assert asyncio.run(give("x", "/s")) == ("x-token", "Token second")
    (give,) = call_metadata(from_file(secret_data={"filename": str(file)}), "google_grpc")
    assert asyncio.run(give("x", "/s")) == ("authorization", "second")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"", "is empty"), (b"a\nb: c", "a header field cannot")]
)
def test_a_file_without_a_usable_secret_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    (give,) = call_metadata(from_file(secret_data={"filename": str(file)}), "google_grpc")
    with pytest.raises(ConnectError, match=f"secret_data.*{reason}"):
        asyncio.run(give("x", "/s"))


def test_an_unknown_credentials_factory_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown Google gRPC credentials factory 'x'"):
        call_metadata(google(credentials_factory_name="x"), "google_grpc")
