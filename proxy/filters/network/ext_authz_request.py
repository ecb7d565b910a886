"""What an authorization service is told of a connection: an `envoy.service.auth.v3.CheckRequest`."""

from __future__ import annotations

from typing import Any

from envoy.service.auth.v3 import external_auth_pb2
from msgspec import Struct

from proxy.base.stream_info import ConnectionInfo
from proxy.config.address_message import set_address
from proxy.formatter.wire import encode_wire


class CheckFields(Struct, frozen=True):
    """Which optional facts are told.

    `labels_key` names the labels of the destination in the metadata of the node, "" for none; `namespaces` are
    those of dynamic metadata.
    """

    include_peer_certificate: bool = False
    include_tls_session: bool = False
    labels_key: str = ""
    namespaces: tuple[str, ...] = ()


def check_request(connection: ConnectionInfo, fields: CheckFields, node: Any) -> bytes:
    """The request about a TCP connection, serialised; `node` is the `core.v3.Node` of the bootstrap or None."""
    request = external_auth_pb2.CheckRequest()
    attributes = request.attributes
    source, destination = attributes.source, attributes.destination
    set_address(source.address, connection.remote_address)
    set_address(destination.address, connection.local_address)
    destination.service = connection.requested_server_name
    tls = connection.tls
    if tls is not None:
        source.principal = _principal(tls.peer_certificate_der)
        destination.principal = _principal(tls.local_certificate_der)
        if fields.include_peer_certificate and tls.peer_certificate_der:
            from proxy.formatter.certificate_facts import certificate_facts

            source.certificate = certificate_facts(tls.peer_certificate_der).url_encoded_pem
        if fields.include_tls_session:
            attributes.tls_session.sni = tls.sni
    _add_labels(destination.labels, fields.labels_key, node)
    attributes.metadata_context.SetInParent()
    for namespace in fields.namespaces:
        values = connection.dynamic_metadata.get(namespace)
        if values is not None:
            attributes.metadata_context.filter_metadata[namespace].update(values)
    return bytes(request.SerializeToString())


def _principal(der: bytes) -> str:
    """The first URI of a certificate, else its first DNS name, else its subject."""
    if not der:
        return ""
    # Imported late: it costs a worker 10 MB, and only TLS needs it.
    from proxy.formatter.certificate_facts import certificate_facts

    facts = certificate_facts(der)
    names = facts.uri_sans or facts.dns_sans
    return encode_wire(names.partition(",")[0] if names else facts.subject).decode("utf-8", "replace")


def _add_labels(labels: Any, key: str, node: Any) -> None:
    if node is None or not key or key not in node.metadata.fields:
        return
    for name, value in node.metadata.fields[key].struct_value.fields.items():
        labels[name] = value.string_value
