"""Streams as entries of `envoy.data.accesslog.v3`, serialised; every field that Envoy fills is filled alike."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    AccessLogType,
    HTTPAccessLogEntry,
    ResponseFlags,
    TCPAccessLogEntry,
    TLSProperties,
)
from google.protobuf.wrappers_pb2 import StringValue
from msgspec import Struct

from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import OF_TRIES, StreamInfo, TlsInfo, WallClock
from proxy.config.address_message import set_address
from proxy.formatter.custom_tags import CustomTag
from proxy.formatter.http_operators import OPERATORS as _HTTP_OPERATORS
from proxy.formatter.message_operators import current_request, request_getter
from proxy.formatter.parse import Command
from proxy.formatter.spec import Getter
from proxy.formatter.wire import encode_wire

if TYPE_CHECKING:
    from proxy.formatter.certificate_facts import CertificateFacts

_VERSIONS: Final = {
    "HTTP/1.0": HTTPAccessLogEntry.HTTP10,
    "HTTP/1.1": HTTPAccessLogEntry.HTTP11,
    "HTTP/2": HTTPAccessLogEntry.HTTP2,
}
_TLS_VERSIONS: Final = {
    "TLSv1": TLSProperties.TLSv1,
    "TLSv1.1": TLSProperties.TLSv1_1,
    "TLSv1.2": TLSProperties.TLSv1_2,
    "TLSv1.3": TLSProperties.TLSv1_3,
}
#: Names of the proto where they are not those of the flag.
_FLAG_FIELDS: Final = {
    ResponseFlag.FAILED_LOCAL_HEALTH_CHECK: "failed_local_healthcheck",
    ResponseFlag.DNS_RESOLUTION_FAILED: "dns_resolution_failure",
}
#: Flag → field, of the flags that are a field of their own.
_FLAGS: Final = tuple(
    (int(flag), field)
    for flag in ResponseFlag
    if (field := _FLAG_FIELDS.get(flag, (flag.name or "").lower())) in ResponseFlags.DESCRIPTOR.fields_by_name
)
#: Field of `AccessLogCommon` → moment of `StreamInfo`, told as time since the start.
_DURATIONS: Final = (
    ("time_to_last_rx_byte", "last_byte_received"),
    ("time_to_first_upstream_tx_byte", "upstream_first_byte_sent"),
    ("time_to_last_upstream_tx_byte", "upstream_last_byte_sent"),
    ("time_to_first_upstream_rx_byte", "upstream_first_byte_received"),
    ("time_to_last_upstream_rx_byte", "upstream_last_byte_received"),
    ("time_to_first_downstream_tx_byte", "response_first_byte_sent"),
    ("time_to_last_downstream_tx_byte", "response_complete"),
)
_INTERMEDIATE: Final = frozenset(
    {"TcpUpstreamConnected", "TcpPeriodic", "DownstreamStart", "DownstreamPeriodic"}
)
_REQUEST_FIELDS: Final = (
    ("scheme", request_getter(":scheme")),
    ("authority", request_getter(":authority")),
    ("path", request_getter(":path")),
    ("user_agent", request_getter("user-agent")),
    ("referer", request_getter("referer")),
    ("forwarded_for", request_getter("x-forwarded-for")),
    ("request_id", request_getter("x-request-id")),
    ("original_path", request_getter("x-envoy-original-path")),
)
_NOT_UTF8: Final = re.compile("[\ud800-\udfff]")
_NANOSECONDS: Final = 1_000_000_000


def _size_of(name: str) -> Getter:
    return _HTTP_OPERATORS[name].build(Command(name, "", None), None).value  # type: ignore[arg-type]


_request_headers_bytes: Final = _size_of("REQUEST_HEADERS_BYTES")
_response_headers_bytes: Final = _size_of("RESPONSE_HEADERS_BYTES")


class CommonFields(Struct, frozen=True):
    """What the config adds to the fields that every entry has."""

    state_keys: tuple[str, ...] = ()
    tags: tuple[CustomTag, ...] = ()


class LoggedHeaders(Struct, frozen=True):
    """Lower-case names of fields that are told besides the usual ones."""

    request: tuple[str, ...] = ()
    response: tuple[str, ...] = ()
    trailers: tuple[str, ...] = ()


def http_entry(
    fields: CommonFields, headers: LoggedHeaders, clock: WallClock
) -> Callable[[StreamInfo], bytes]:
    """Renders `HTTPAccessLogEntry`."""

    def render(info: StreamInfo) -> bytes:
        entry = HTTPAccessLogEntry()
        _fill_common(entry.common_properties, info, fields, clock)
        entry.protocol_version = _VERSIONS.get(info.protocol or "", HTTPAccessLogEntry.PROTOCOL_UNSPECIFIED)
        _fill_request(entry.request, info, headers.request)
        _fill_response(entry.response, info, headers)
        return bytes(entry.SerializeToString())

    return render


def tcp_entry(fields: CommonFields, clock: WallClock) -> Callable[[StreamInfo], bytes]:
    """Renders `TCPAccessLogEntry`."""

    def render(info: StreamInfo) -> bytes:
        entry = TCPAccessLogEntry()
        _fill_common(entry.common_properties, info, fields, clock)
        entry.connection_properties.received_bytes = info.bytes_received
        entry.connection_properties.sent_bytes = info.bytes_sent
        return bytes(entry.SerializeToString())

    return render


def _text(wire: str) -> str:
    """Wire text for a proto; bytes that are no UTF-8 become `!`, as in Envoy."""
    if wire.isascii():
        return wire
    return _NOT_UTF8.sub("!", encode_wire(wire).decode("utf-8", "surrogateescape"))


def _set_time(message: Any, seconds: float) -> None:
    whole, rest = divmod(round(seconds * _NANOSECONDS), _NANOSECONDS)
    message.seconds, message.nanos = whole, rest


def _fill_common(common: AccessLogCommon, info: StreamInfo, fields: CommonFields, clock: WallClock) -> None:
    connection = info.connection
    set_address(common.downstream_remote_address, info.downstream_address())
    set_address(common.downstream_direct_remote_address, connection.direct_remote_address)
    set_address(common.downstream_local_address, connection.local_address)
    _fill_tls(common, info)
    _set_time(common.start_time, clock.at(info.start_time))
    intermediate = info.access_log_type in _INTERMEDIATE
    if info.response_complete and not intermediate:
        common.duration.SetInParent()
        _set_time(common.duration, info.response_complete - info.start_time)
    if info.request is not None:
        for field, moment in _DURATIONS:
            when = getattr(info, moment)
            if when and not (moment == "response_complete" and info.access_log_type in OF_TRIES):
                getattr(common, field).SetInParent()
                _set_time(getattr(common, field), max(0.0, when - info.start_time))
    _fill_upstream(common, info)
    if info.route_name:
        common.route_name = info.route_name
    common.upstream_request_attempt_count = info.attempt_count
    details = info.connection_termination_details or connection.termination_details
    if details:
        common.connection_termination_details = _text(details)
    if connection.transport_failure_reason:
        common.downstream_transport_failure_reason = _text(connection.transport_failure_reason)
    _fill_flags(common, info.flags)
    for namespace, values in info.own_metadata.items():
        common.metadata.filter_metadata[namespace].update(values)
    for key in fields.state_keys:
        value = info.state_object(key)
        if isinstance(value, str):
            common.filter_state_objects[key].Pack(StringValue(value=_text(value)))
    for tag in fields.tags:
        told = tag.value(info)
        if told:
            common.custom_tags[tag.name] = _text(told)
    common.intermediate_log_entry = intermediate
    common.stream_id = _connection_uuid(info) if info.request is None else info.request_id or ""
    common.downstream_wire_bytes_sent = info.downstream_wire_bytes_sent
    common.downstream_wire_bytes_received = info.downstream_wire_bytes_received
    common.upstream_wire_bytes_sent = info.upstream_wire_bytes_sent
    common.upstream_wire_bytes_received = info.upstream_wire_bytes_received
    common.access_log_type = AccessLogType.Value(info.access_log_type)


def _connection_uuid(info: StreamInfo) -> str:
    """The same for all entries of one connection, and for no other."""
    connection = info.connection
    facts = f"{os.getpid()} {connection.id} {connection.start_time}".encode()
    return str(uuid.UUID(bytes=hashlib.blake2b(facts, digest_size=16).digest(), version=4))


def _fill_upstream(common: AccessLogCommon, info: StreamInfo) -> None:
    host = info.upstream_host
    if host is not None:
        set_address(common.upstream_remote_address, host.address)
        cluster = host.cluster or info.upstream_cluster
        if cluster is not None:
            common.upstream_cluster = cluster.name
    if info.upstream_local_address is not None:
        set_address(common.upstream_local_address, info.upstream_local_address)
    if info.upstream_transport_failure_reason:
        common.upstream_transport_failure_reason = _text(info.upstream_transport_failure_reason)


def _fill_flags(common: AccessLogCommon, flags: int) -> None:
    if not flags:
        return
    told = common.response_flags
    for flag, field in _FLAGS:
        if flags & flag:
            setattr(told, field, True)
    if flags & ResponseFlag.UNAUTHORIZED_EXTERNAL_SERVICE:
        told.unauthorized_details.reason = ResponseFlags.Unauthorized.EXTERNAL_SERVICE


def _fill_tls(common: AccessLogCommon, info: StreamInfo) -> None:
    connection = info.connection
    if connection.requested_server_name:
        common.tls_properties.tls_sni_hostname = _text(connection.requested_server_name)
    if connection.ja3_fingerprint:
        common.tls_properties.ja3_fingerprint = connection.ja3_fingerprint
    tls = connection.tls
    if tls is None:
        return
    told = common.tls_properties
    _fill_certificate(told.local_certificate_properties, tls.local_certificate_der)
    peer = told.peer_certificate_properties
    _fill_certificate(peer, tls.peer_certificate_der)
    if tls.peer_certificate_der:
        peer.issuer = _text(_facts_of(tls.peer_certificate_der).issuer)
    told.tls_session_id = tls.session_id
    told.tls_version = _TLS_VERSIONS.get(tls.version, TLSProperties.VERSION_UNSPECIFIED)
    told.tls_cipher_suite.value = _cipher_suite(tls)


def _fill_certificate(message: TLSProperties.CertificateProperties, der: bytes) -> None:
    message.SetInParent()
    if not der:
        return
    facts = _facts_of(der)
    for uri in facts.uri_sans.split(",") if facts.uri_sans else ():
        message.subject_alt_name.add().uri = _text(uri)
    message.subject = _text(facts.subject)


def _facts_of(der: bytes) -> CertificateFacts:
    # Imported late: it costs a worker 10 MB, and only TLS needs it.
    from proxy.formatter.certificate_facts import certificate_facts

    return certificate_facts(der)


def _cipher_suite(tls: TlsInfo) -> int:
    """IANA's number of the suite, 0xffff if it has none here, as in Envoy."""
    return _cipher_suites().get(tls.cipher, 0xFFFF)


@lru_cache(maxsize=1)
def _cipher_suites() -> dict[str, int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}


def _fill_request(message: Any, info: StreamInfo, logged: Sequence[str]) -> None:
    for field, read in _REQUEST_FIELDS:
        value = read(info)
        if value:
            setattr(message, field, _text(value))
    message.request_headers_bytes = _request_headers_bytes(info)
    message.request_body_bytes = info.bytes_received
    message.upstream_header_bytes_sent = info.upstream_header_bytes_sent
    message.downstream_header_bytes_received = info.downstream_header_bytes_received
    head = current_request(info)
    if head is None:
        message.SetInParent()
        return
    if head.method in RequestMethod.keys():  # noqa: SIM118  (an enum's wrapper is no mapping)
        message.request_method = RequestMethod.Value(head.method)
    for name in logged:
        value = request_getter(name)(info) if name[:1] == ":" else head.headers.get(name)
        if value is not None:
            message.request_headers[name] = _text(value)


def _fill_response(message: Any, info: StreamInfo, logged: LoggedHeaders) -> None:
    message.SetInParent()
    if info.response_code:
        message.response_code.value = info.response_code
    if info.response_code_details:
        message.response_code_details = _text(info.response_code_details)
    message.response_headers_bytes = _response_headers_bytes(info)
    message.response_body_bytes = info.bytes_sent
    message.upstream_header_bytes_received = info.upstream_header_bytes_received
    message.downstream_header_bytes_sent = info.downstream_header_bytes_sent
    if info.response is not None:
        for name in logged.response:
            value = info.response.headers.get(name)
            if value is not None:
                message.response_headers[name] = _text(value)
    if info.response_trailers is not None:
        for name in logged.trailers:
            value = info.response_trailers.get(name)
            if value is not None:
                message.response_trailers[name] = _text(value)
