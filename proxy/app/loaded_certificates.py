"""Finds the certificates that listeners and clusters name, for `/certs`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from proxy.admin.state import LoadedCertificate

NO_SECRETS: Final[Mapping[str, bytes]] = MappingProxyType({})


def certificates_of_listener(
    listener: Any, secrets: Mapping[str, bytes] = NO_SECRETS
) -> Iterator[LoadedCertificate]:
    """Those of every filter chain of a `Listener`; `secrets` are those in use, by the key of their plan."""
    chains = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    for chain in chains:
        if chain.HasField("transport_socket"):
            yield from _of_socket(chain.transport_socket, tls_pb2.DownstreamTlsContext, secrets)


def certificates_of_cluster(
    cluster: Any, secrets: Mapping[str, bytes] = NO_SECRETS
) -> Iterator[LoadedCertificate]:
    """Those of a `Cluster`'s transport sockets."""
    if cluster.HasField("transport_socket"):
        yield from _of_socket(cluster.transport_socket, tls_pb2.UpstreamTlsContext, secrets)
    for match in cluster.transport_socket_matches:
        yield from _of_socket(match.transport_socket, tls_pb2.UpstreamTlsContext, secrets)


def _of_socket(
    transport_socket: Any, context_type: Any, secrets: Mapping[str, bytes]
) -> Iterator[LoadedCertificate]:
    config = transport_socket.typed_config
    if not config.Is(context_type.DESCRIPTOR):
        return
    context = context_type()
    config.Unpack(context)
    if secrets:
        # Imported late: configurations without SDS need none of it.
        from proxy.config.context import CompileContext
        from proxy.connection.tls import with_secrets
        from proxy.connection.tls_secrets import SecretStore

        context = with_secrets(context, CompileContext(secrets=SecretStore(secrets)))
    common = context.common_tls_context
    validation = common.validation_context
    if common.WhichOneof("validation_context_type") == "combined_validation_context":
        validation = common.combined_validation_context.default_validation_context
    ca, ca_path = _content(validation.trusted_ca)
    shown = [
        (*_content(one.certificate_chain), _content(one.ocsp_staple)[0]) for one in common.tls_certificates
    ]
    for chain, chain_path, staple in shown or [(b"", "", b"")]:
        if chain or ca:
            yield LoadedCertificate(chain, chain_path, ca, ca_path, staple)


def _content(source: Any) -> tuple[bytes, str]:
    """The bytes of a `core.v3.DataSource` and where they are from; empty if it cannot be read now."""
    match source.WhichOneof("specifier"):
        case "filename":
            try:
                with open(source.filename, "rb") as file:
                    return file.read(), source.filename
            except OSError:
                return b"", source.filename
        case "inline_bytes":
            return bytes(source.inline_bytes), "<inline>"
        case "inline_string":
            return source.inline_string.encode(), "<inline>"
        case "environment_variable":
            return os.environb.get(source.environment_variable.encode(), b""), "<inline>"
    return b"", ""
