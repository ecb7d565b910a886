"""Operators on plain facts of the stream and of its downstream connection."""

from __future__ import annotations

import os
import socket
import string
import time
import uuid
from operator import attrgetter

from proxy.base import response_flags
from proxy.base.stream_info import OF_TRIES, StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.message_operators import request_getter
from proxy.formatter.parse import Command, FormatError
from proxy.formatter.spec import (
    Argument,
    Facts,
    Getter,
    Operator,
    OperatorSpec,
    constant,
    fact,
    operator,
)
from proxy.formatter.wire import to_wire

_SPACE_TO_UNDERSCORE = str.maketrans(" \t\n\v\f\r", "______")
_HOST_CHARACTERS = frozenset(string.ascii_letters + string.digits + ".-_")

#: Attributes of `StreamInfo` behind the time points of `COMMON_DURATION`.
TIME_POINTS = {
    "DS_RX_BEG": "start_time",
    "DS_RX_END": "last_byte_received",
    "US_CX_BEG": "upstream_connect_start",
    "US_CX_END": "upstream_connect_complete",
    "US_HS_END": "upstream_handshake_complete",
    "US_TX_BEG": "upstream_first_byte_sent",
    "US_TX_END": "upstream_last_byte_sent",
    "US_RX_BEG": "upstream_first_byte_received",
    "US_RX_BODY_BEG": "upstream_first_body_byte_received",
    "US_RX_END": "upstream_last_byte_received",
    "DS_TX_BEG": "response_first_byte_sent",
    "DS_TX_END": "response_complete",
}
#: The same for what is not HTTP: there the stream is the connection.
CONNECTION_TIME_POINTS = {"DS_CX_BEG": "start_time", "DS_CX_END": "response_complete"}
_OF_UPSTREAM_CONNECTION = frozenset({"US_CX_BEG", "US_CX_END", "US_HS_END"})
_PRECISIONS = {"ms": 1e3, "us": 1e6, "ns": 1e9}


def details_getter(*, keep_spaces: bool) -> Getter:
    """The response code details; spaces become underscores unless kept."""

    def details(info: StreamInfo) -> str | None:
        text = info.response_code_details
        return text if text is None or keep_spaces else text.translate(_SPACE_TO_UNDERSCORE)

    return details


def _details(command: Command, _context: CompileContext) -> Operator:
    return operator(details_getter(keep_spaces=command.argument == "ALLOW_WHITESPACES"), kept=True)


def _flags(info: StreamInfo) -> str:
    return response_flags.short_names(info.flags) if info.flags else "-"


def duration_ms(info: StreamInfo) -> int:
    """Milliseconds from the start to the end of the stream, or until now."""
    end = info.response_complete or time.monotonic()
    return int((end - info.start_time) * 1000)


def _since_start(attribute: str) -> OperatorSpec:
    def elapsed(info: StreamInfo) -> int | None:
        moment = getattr(info, attribute)
        return int((moment - info.start_time) * 1000) if moment else None

    return fact(elapsed)


def _response_tx_duration(info: StreamInfo) -> int | None:
    first, last = info.upstream_first_byte_received, info.response_complete
    return int((last - first) * 1000) if first and last and info.access_log_type not in OF_TRIES else None


def _pool_ready_duration(info: StreamInfo) -> int | None:
    begin, end = info.upstream_pool_requested, info.upstream_pool_ready
    if not end:
        return None
    # Who finds an idle connection does not wait.
    return int((end - begin) * 1000) if begin else 0


def _handshake_duration(info: StreamInfo) -> int | None:
    connection = info.connection
    if info.request is not None or not connection.handshake_complete:
        return None
    return int((connection.handshake_complete - connection.start_time) * 1000)


def _time_point(name: str) -> Getter | None:
    if name in TIME_POINTS:
        attribute = TIME_POINTS[name]
        return lambda info: getattr(info, attribute)
    if name in CONNECTION_TIME_POINTS:
        attribute = CONNECTION_TIME_POINTS[name]
        return lambda info: getattr(info, attribute) if info.request is None else 0.0
    return None


def _common_duration(command: Command, _context: CompileContext) -> Operator:
    parts = command.argument.split(":")
    if not 2 <= len(parts) <= 3:
        raise FormatError(f"invalid common duration configuration: {command.argument}")
    precision = parts[2] if len(parts) == 3 else "ms"
    if precision not in _PRECISIONS:
        raise FormatError(f"invalid common duration precision: {precision}")
    scale = _PRECISIONS[precision]
    begin, end = _time_point(parts[0]), _time_point(parts[1])
    if begin is None or end is None:
        # Other names are time points that an extension may set; none of ours does.
        return constant(None)
    start_of, end_of = begin, end

    def elapsed(info: StreamInfo) -> int | None:
        first, last = start_of(info), end_of(info)
        return int((last - first) * scale) if first and last >= first else None

    facts = Facts.UPSTREAM if _OF_UPSTREAM_CONNECTION & set(parts[:2]) else Facts.NONE
    return operator(elapsed, facts=facts)


def sanitized_server_name(name: str) -> str:
    """An SNI as Envoy logs it: odd characters become `_` and the whole is marked `invalid:`."""
    if _HOST_CHARACTERS.issuperset(name):
        return name
    return "invalid:" + "".join(c if c in _HOST_CHARACTERS else "_" for c in name)


def _sni(info: StreamInfo) -> str | None:
    name = info.connection.requested_server_name
    return sanitized_server_name(name) if name else None


def _requested_server_name(command: Command, _context: CompileContext) -> Operator:
    mode, _, source = command.argument.partition(":")
    source = source.partition(":")[0]
    if mode not in {"", "SNI_ONLY", "SNI_FIRST", "HOST_FIRST"}:
        raise FormatError(
            f"invalid REQUESTED_SERVER_NAME option: {mode!r},"
            " only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed"
        )
    if source not in {"", "ORIG_OR_HOST", "HOST", "ORIG"}:
        raise FormatError(
            f"invalid REQUESTED_SERVER_NAME option: {source!r}, only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed"
        )
    if mode in {"", "SNI_ONLY"}:
        return operator(_sni)
    host = _host_getter(source)

    def sni_first(info: StreamInfo) -> str | None:
        return _sni(info) or host(info)

    def host_first(info: StreamInfo) -> str | None:
        return host(info) or _sni(info)

    return operator(sni_first if mode == "SNI_FIRST" else host_first)


def _host_getter(source: str) -> Getter:
    original, authority = request_getter("x-envoy-original-host"), request_getter(":authority")
    if source == "HOST":
        return authority
    if source == "ORIG":
        return original
    return lambda info: original(info) or authority(info)


def _environment(command: Command, _context: CompileContext) -> Operator:
    value = os.environ.get(command.argument)
    # Envoy puts the dash here itself, so that it also shows in JSON and with omit_empty_values.
    return constant("-" if value is None else to_wire(value)[: command.max_length])


def _hostname(_command: Command, _context: CompileContext) -> Operator:
    return constant(to_wire(socket.gethostname()) or None)


OPERATORS: dict[str, OperatorSpec] = {
    "BYTES_RECEIVED": fact(attrgetter("bytes_received"), kept=True),
    "BYTES_SENT": fact(attrgetter("bytes_sent"), kept=True),
    # Only QUIC counts these.
    "BYTES_RETRANSMITTED": fact(lambda _info: 0),
    "PACKETS_RETRANSMITTED": fact(lambda _info: 0),
    "ROUNDTRIP_DURATION": fact(lambda _info: None),
    "PROTOCOL": fact(attrgetter("protocol"), static=True),
    "RESPONSE_CODE": fact(attrgetter("response_code"), kept=True),
    "RESPONSE_CODE_DETAILS": OperatorSpec(_details, Argument.OPTIONAL),
    "CONNECTION_TERMINATION_DETAILS": fact(
        lambda info: info.connection_termination_details or info.connection.termination_details
    ),
    "RESPONSE_FLAGS": fact(_flags, kept=True),
    "RESPONSE_FLAGS_LONG": fact(lambda info: response_flags.long_names(info.flags), kept=True),
    "DURATION": fact(duration_ms),
    "REQUEST_DURATION": _since_start("last_byte_received"),
    "REQUEST_TX_DURATION": _since_start("upstream_last_byte_sent"),
    "RESPONSE_DURATION": _since_start("upstream_first_byte_received"),
    "RESPONSE_TX_DURATION": fact(_response_tx_duration),
    "COMMON_DURATION": OperatorSpec(_common_duration, Argument.REQUIRED),
    "DOWNSTREAM_HANDSHAKE_DURATION": fact(_handshake_duration),
    "UPSTREAM_CONNECTION_POOL_READY_DURATION": fact(_pool_ready_duration),
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": fact(
        lambda info: info.downstream_wire_bytes_received, facts=Facts.BYTES
    ),
    "DOWNSTREAM_WIRE_BYTES_SENT": fact(lambda info: info.downstream_wire_bytes_sent, facts=Facts.BYTES),
    "DOWNSTREAM_HEADER_BYTES_RECEIVED": fact(
        lambda info: info.downstream_header_bytes_received, facts=Facts.BYTES
    ),
    "DOWNSTREAM_HEADER_BYTES_SENT": fact(lambda info: info.downstream_header_bytes_sent, facts=Facts.BYTES),
    "UPSTREAM_WIRE_BYTES_RECEIVED": fact(lambda info: info.upstream_wire_bytes_received, facts=Facts.BYTES),
    "UPSTREAM_WIRE_BYTES_SENT": fact(lambda info: info.upstream_wire_bytes_sent, facts=Facts.BYTES),
    "UPSTREAM_HEADER_BYTES_RECEIVED": fact(
        lambda info: info.upstream_header_bytes_received, facts=Facts.BYTES
    ),
    "UPSTREAM_HEADER_BYTES_SENT": fact(lambda info: info.upstream_header_bytes_sent, facts=Facts.BYTES),
    "REQUESTED_SERVER_NAME": OperatorSpec(_requested_server_name, Argument.OPTIONAL),
    "TLS_JA3_FINGERPRINT": fact(lambda info: info.connection.ja3_fingerprint or None),
    "TLS_JA4_FINGERPRINT": fact(lambda info: info.connection.ja4_fingerprint or None),
    "ROUTE_NAME": fact(lambda info: info.route_name or None, kept=True, facts=Facts.REQUEST),
    "VIRTUAL_CLUSTER_NAME": fact(lambda info: info.virtual_cluster_name, kept=True),
    "CONNECTION_ID": fact(lambda info: info.connection.id),
    "STREAM_ID": fact(lambda info: info.request_id),
    "TRACE_ID": fact(lambda info: info.trace_id),
    "SPAN_ID": fact(lambda info: info.span_id),
    "UNIQUE_ID": fact(lambda _info: str(uuid.uuid4())),
    "CUSTOM_FLAGS": fact(lambda info: info.custom_flags),
    "LOCAL_REPLY_BODY": fact(lambda info: info.local_reply_body),
    "ACCESS_LOG_TYPE": fact(lambda info: info.access_log_type),
    "FILTER_CHAIN_NAME": fact(lambda info: info.connection.filter_chain_name or None),
    "LISTENER_NAME": fact(lambda info: info.connection.listener_name or None),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": fact(
        lambda info: (info.connection.transport_failure_reason or "").replace(" ", "_") or None
    ),
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": fact(lambda info: info.connection.close_type),
    "DOWNSTREAM_LOCAL_CLOSE_REASON": fact(lambda info: info.connection.local_close_reason),
    "ENVIRONMENT": OperatorSpec(_environment, Argument.REQUIRED, length=True),
    "HOSTNAME": OperatorSpec(_hostname),
}
for _name in ("DOWNSTREAM", "UPSTREAM"):
    for _way in ("SENT", "RECEIVED"):
        # The same number for HTTP/1, where heads are not compressed.
        OPERATORS[f"{_name}_DECOMPRESSED_HEADER_BYTES_{_way}"] = OPERATORS[f"{_name}_HEADER_BYTES_{_way}"]
