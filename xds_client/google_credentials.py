"""`google_grpc` credentials: of the channel, and the tokens that go with a call.

A token is asked for when a stream is opened. Source: `core.v3.GrpcService.GoogleGrpc`; RFC 7523; the metadata
server of Compute Engine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from proxy.base.errors import ConfigError
from proxy.config.any_unpack import unpack_any
from xds_client.errors import ConnectError

METADATA_HOST: Final = "metadata.google.internal"
METADATA_VARIABLE: Final = "GCE_METADATA_HOST"
CREDENTIALS_VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - a path
#: The plugin that takes a secret from a file as metadata of each stream.
FILE_FACTORY: Final = "envoy.grpc_credentials.file_based_metadata"
_FACTORIES: Final = frozenset({"", "envoy.grpc_credentials.default", FILE_FACTORY})
_TOKEN_TIMEOUT: Final = 5.0
_MAX_LIFETIME: Final = 3600

Authorization = Callable[[str, str], Awaitable[tuple[str, str]]]
"""The `authorization` metadata for a target and a service path."""


def channel_credentials(google: Any, path: str) -> Any:
    """gRPC's channel credentials, None for plain text. Raises `ConfigError` naming what is refused."""
    if not google.HasField("channel_credentials"):
        return None
    message = google.channel_credentials
    match message.WhichOneof("credential_specifier"):
        case "ssl_credentials":
            ssl = message.ssl_credentials
            return grpc.ssl_channel_credentials(
                _data(ssl.root_certs, f"{path}.channel_credentials.ssl_credentials.root_certs"),
                _data(ssl.private_key, f"{path}.channel_credentials.ssl_credentials.private_key"),
                _data(ssl.cert_chain, f"{path}.channel_credentials.ssl_credentials.cert_chain"),
            )
        case "google_default":
            return grpc.ssl_channel_credentials()
        case "local_credentials":
            return grpc.local_channel_credentials()
        case _:
            raise ConfigError(f"{path}.channel_credentials: names no kind of credentials")


def call_metadata(google: Any, path: str) -> list[Authorization]:
    """What adds tokens to the metadata of a call. Raises `ConfigError` naming what is refused."""
    result: list[Authorization] = []
    factory = google.credentials_factory_name
    if factory not in _FACTORIES:
        raise ConfigError(
            f"{path}.credentials_factory_name: unknown Google gRPC credentials factory {factory!r}; "
            f"{FILE_FACTORY} is supported"
        )
    for index, message in enumerate(google.call_credentials):
        place = f"{path}.call_credentials[{index}]"
        match message.WhichOneof("credential_specifier"):
            case "access_token":
                result.append(_fixed(message.access_token))
            case "google_compute_engine":
                result.append(_compute_engine)
            case "service_account_jwt_access":
                account = message.service_account_jwt_access
                result.append(_signed(account.json_key, account.token_lifetime_seconds, place))
            case "from_plugin" if factory == FILE_FACTORY and message.from_plugin.name == factory:
                result.append(_from_file(message.from_plugin, f"{place}.from_plugin"))
            case "from_plugin":
                raise ConfigError(
                    f"{place}.from_plugin.name: only {FILE_FACTORY} is supported, and credentials_factory_name "
                    "must name it too"
                )
            case None:
                raise ConfigError(f"{place}: names no kind of credentials")
            case kind:
                raise ConfigError(f"{place}.{kind}: not supported")
    if result and not google.HasField("channel_credentials"):
        raise ConfigError(
            f"{path}.call_credentials: needs channel_credentials, a token is not sent in plain text"
        )
    if google.channel_credentials.HasField("google_default"):
        result.append(_application_default(f"{path}.channel_credentials.google_default"))
    return result


def _data(source: Any, path: str) -> bytes | None:
    """A `core.v3.DataSource`; None if unset."""
    match source.WhichOneof("specifier"):
        case "filename":
            try:
                with open(source.filename, "rb") as file:
                    return file.read()
            except OSError as error:
                raise ConfigError(f"{path}.filename: {error}") from error
        case "inline_bytes":
            inline: bytes = source.inline_bytes
            return inline
        case "inline_string":
            text: str = source.inline_string
            return text.encode()
        case "environment_variable":
            if (value := os.environ.get(source.environment_variable)) is None:
                raise ConfigError(f"{path}.environment_variable: {source.environment_variable} is not set")
            return value.encode()
        case _:
            return None


def _fixed(token: str) -> Authorization:
    async def give(_target: str, _service: str) -> tuple[str, str]:
        return ("authorization", f"Bearer {token}")

    return give


def _from_file(plugin: Any, path: str) -> Authorization:
    """Source: `config.grpc_credential.v3.FileBasedMetadataConfig`; what it names is read for each stream."""
    config, reason = unpack_any(plugin.typed_config)
    if config is None:
        raise ConfigError(f"{path}.typed_config: {reason or 'is required'}")
    source, at = config.secret_data, f"{path}.typed_config.secret_data"

    async def give(_target: str, _service: str) -> tuple[str, str]:
        try:
            secret = _data(source, at)
        except ConfigError as error:
            raise ConnectError(str(error)) from error
        if not secret:
            raise ConnectError(f"{at}: is empty")
        value = secret.decode("latin-1").rstrip("\r\n")
        if not value.isascii() or not value.isprintable():
            raise ConnectError(
                f"{at}: holds characters that a header field cannot, such as a line break within"
            )
        return (config.header_key.lower() or "authorization", f"{config.header_prefix}{value}")

    return give


def _application_default(path: str) -> Authorization:
    """Application Default Credentials: the key file that the environment names, else the metadata server."""
    file = os.environ.get(CREDENTIALS_VARIABLE)
    if not file:
        return _compute_engine
    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as error:
        raise ConfigError(f"{path}: {CREDENTIALS_VARIABLE}: {error}") from error
    return _signed(text, 0, f"{path}: {CREDENTIALS_VARIABLE}")


async def _compute_engine(_target: str, _service: str) -> tuple[str, str]:
    """A token of the instance's service account, from the metadata server."""
    place = os.environ.get(METADATA_VARIABLE) or METADATA_HOST
    host, _, port = place.partition(":")
    try:
        async with asyncio.timeout(_TOKEN_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, int(port or 80))
            try:
                writer.write(
                    f"GET {_TOKEN_PATH} HTTP/1.0\r\nHost: {place}\r\nMetadata-Flavor: Google\r\n\r\n".encode()
                )
                answer = await reader.read(-1)
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"200"]:
            raise ConnectError(f"the metadata server {place} gave no token: {head[:100].decode('latin-1')}")
        token = json.loads(body)
        return ("authorization", f"{token.get('token_type', 'Bearer')} {token['access_token']}")
    except (OSError, TimeoutError, ValueError, KeyError) as error:
        raise ConnectError(f"no token from the metadata server {place}: {error!r}") from error


def _signed(json_key: str, lifetime: int, path: str) -> Authorization:
    """Self-signed tokens of a service account: audience is the service at the target."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        key = json.loads(json_key)
        private = serialization.load_pem_private_key(key["private_key"].encode(), None)
        issuer, key_id = key["client_email"], key["private_key_id"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not the JSON key of a service account: {error!r}") from error
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ConfigError(f"{path}: the key of a service account is an RSA key")
    seconds = min(lifetime or _MAX_LIFETIME, _MAX_LIFETIME)

    async def give(target: str, service: str) -> tuple[str, str]:
        now = int(time.time())
        host = target.rpartition("/")[2].removesuffix(":443")
        head = {"alg": "RS256", "typ": "JWT", "kid": key_id}
        claims = {
            "iss": issuer,
            "sub": issuer,
            "aud": f"https://{host}{service}",
            "iat": now,
            "exp": now + seconds,
        }
        signing = b".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        signature = private.sign(signing, padding.PKCS1v15(), hashes.SHA256())
        return ("authorization", f"Bearer {(signing + b'.' + _encoded(signature)).decode()}")

    return give


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
