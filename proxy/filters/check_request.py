"""What an authorization service is told of a connection or a request: an `envoy.service.auth.v3.CheckRequest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from envoy.service.auth.v3 import external_auth_pb2
from msgspec import Struct

from proxy.base.address import Address
from proxy.base.messages import RequestHead
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.config.address_message import set_address
from proxy.formatter.wire import encode_wire

#: Tells the service whether the body is all there; what a client writes there is not told.
_PARTIAL_BODY: Final = "x-envoy-auth-partial-body"


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
    _add_peers(attributes, connection, connection.remote_address, fields, node)
    attributes.destination.service = connection.requested_server_name
    attributes.metadata_context.SetInParent()
    _add_metadata(attributes.metadata_context, connection.dynamic_metadata, fields.namespaces)
    return bytes(request.SerializeToString())


class RequestFacts(Struct, frozen=True):
    """What else is told of a request: `id` is that of its stream, `time` in seconds since the epoch.

    `tells` chooses among the names of fields, pseudo-fields too; None for all. `extensions` are the route's.
    `route_namespaces` are those of the metadata of the route.
    """

    id: int
    time: float
    tells: Callable[[str], bool] | None
    extensions: Mapping[str, str]
    route_namespaces: tuple[str, ...]


def http_check_request(
    head: RequestHead, info: StreamInfo, fields: CheckFields, facts: RequestFacts, node: Any
) -> bytes:
    """The request about an HTTP request, serialised; for `node` see `check_request`."""
    request = external_auth_pb2.CheckRequest()
    attributes = request.attributes
    connection = info.connection
    _add_peers(attributes, connection, info.remote_address or connection.remote_address, fields, node)
    attributes.source.service = _text(head.headers.get("x-envoy-downstream-service-cluster", ""))
    attributes.request.time.FromNanoseconds(int(facts.time * 1_000_000) * 1000)
    _add_http(attributes.request.http, head, info, facts)
    attributes.context_extensions.update(facts.extensions)
    attributes.metadata_context.SetInParent()
    for metadata in (connection.dynamic_metadata, info.dynamic_metadata or {}):
        _add_metadata(attributes.metadata_context, metadata, fields.namespaces)
    told = attributes.route_metadata_context
    told.SetInParent()
    if info.route_metadata is not None:
        for namespace in facts.route_namespaces:
            if namespace in info.route_metadata.filter_metadata:
                told.filter_metadata[namespace].CopyFrom(info.route_metadata.filter_metadata[namespace])
    return bytes(request.SerializeToString())


def _add_http(http: Any, head: RequestHead, info: StreamInfo, facts: RequestFacts) -> None:
    http.id = str(facts.id)
    http.method = _text(head.method)
    http.path = _text(head.path)
    http.host = _text(head.authority)
    http.scheme = _text(head.scheme)
    http.size = info.bytes_received
    http.protocol = info.protocol or head.protocol
    pseudo = (
        (":authority", head.authority),
        (":path", head.path),
        (":method", head.method),
        (":scheme", head.scheme),
    )
    tells = facts.tells
    headers = http.headers
    for name, value in pseudo:
        if value and (tells is None or tells(name)):
            headers[name] = _text(value)
    for name in head.headers:
        if name != _PARTIAL_BODY and (tells is None or tells(name)):
            headers[_text(name)] = _text(",".join(head.headers.values_of(name)))


def _text(value: str) -> str:
    """Wire text as a text of protobuf: Envoy writes "!" for every byte that is not UTF-8."""
    if value.isascii():
        return value
    text = encode_wire(value).decode("utf-8", "surrogateescape")
    return "".join("!" if "\udc80" <= one <= "\udcff" else one for one in text)


def _add_peers(
    attributes: Any, connection: ConnectionInfo, remote: Address, fields: CheckFields, node: Any
) -> None:
    source, destination = attributes.source, attributes.destination
    set_address(source.address, remote)
    set_address(destination.address, connection.local_address)
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


def _add_metadata(told: Any, metadata: Mapping[str, Mapping[str, Any]], namespaces: tuple[str, ...]) -> None:
    for namespace in namespaces:
        values = metadata.get(namespace)
        if values is not None:
            told.filter_metadata[namespace].Clear()
            told.filter_metadata[namespace].update(values)


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
