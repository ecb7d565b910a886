"""`core.v3.Http2ProtocolOptions` → `Http2Options`, for connection managers and clusters alike."""

from __future__ import annotations

from typing import Any, Final

from proxy.codec.http2_frames import (
    DEFAULT_MAX_FRAME_SIZE,
    SETTINGS_ENABLE_CONNECT_PROTOCOL,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_FRAME_SIZE,
)
from proxy.codec.http2_options import Http2Options, KeepaliveOptions
from proxy.config.context import CompileContext
from proxy.config.durations import seconds

_WRAPPED: Final = (
    "hpack_table_size",
    "max_concurrent_streams",
    "initial_stream_window_size",
    "initial_connection_window_size",
    "max_outbound_frames",
    "max_outbound_control_frames",
    "max_consecutive_inbound_frames_with_empty_payload",
    "max_inbound_priority_frames_per_stream",
    "max_inbound_window_update_frames_per_data_frame_sent",
)
#: SETTINGS that have a field of their own.
_NAMED: Final = {
    SETTINGS_HEADER_TABLE_SIZE: "hpack_table_size",
    SETTINGS_MAX_CONCURRENT_STREAMS: "max_concurrent_streams",
    SETTINGS_INITIAL_WINDOW_SIZE: "initial_stream_window_size",
}


def compile_http2_options(message: Any, path: str, ctx: CompileContext) -> Http2Options:
    """Check the options and freeze them; limits on heads and buffers are for the caller to fill in."""
    values: dict[str, Any] = {
        name: getattr(message, name).value for name in _WRAPPED if message.HasField(name)
    }
    if message.allow_metadata:
        ctx.problem(f"{path}.allow_metadata", "METADATA frames are not supported")
    lenient = message.stream_error_on_invalid_http_messaging
    if message.HasField("override_stream_error_on_invalid_http_message"):
        lenient = message.override_stream_error_on_invalid_http_message.value
    custom = _custom_settings(message, values, f"{path}.custom_settings_parameters", ctx)
    return Http2Options(
        allow_connect=message.allow_connect,
        override_stream_error_on_invalid_http_message=lenient,
        connection_keepalive=_keepalive(message),
        custom_settings=custom,
        **values,
    )


def _keepalive(message: Any) -> KeepaliveOptions | None:
    if not message.HasField("connection_keepalive"):
        return None
    keepalive = message.connection_keepalive
    return KeepaliveOptions(
        interval=seconds(keepalive, "interval", 0.0),
        timeout=seconds(keepalive, "timeout", 0.0),
        interval_jitter=keepalive.interval_jitter.value if keepalive.HasField("interval_jitter") else 15.0,
        connection_idle_interval=seconds(keepalive, "connection_idle_interval", 0.0),
    )


def _custom_settings(
    message: Any, values: dict[str, Any], path: str, ctx: CompileContext
) -> tuple[tuple[int, int], ...]:
    """Those without a field of their own; the others go into `values`."""
    found: dict[int, int] = {}
    for index, parameter in enumerate(message.custom_settings_parameters):
        identifier, value = parameter.identifier.value, parameter.value.value
        at = f"{path}[{index}]"
        if found.setdefault(identifier, value) != value:
            ctx.problem(
                at,
                "inconsistent HTTP/2 custom SETTINGS parameter(s) detected; "
                f"identifiers = {{0x{identifier:02x}}}",
            )
        elif identifier == SETTINGS_ENABLE_PUSH and value == 1:
            ctx.problem(at, "server push is not supported and can not be enabled via a SETTINGS parameter")
        elif identifier == SETTINGS_ENABLE_CONNECT_PROTOCOL:
            ctx.problem(at, "allow_connect must only be configured through the named field")
        elif identifier == SETTINGS_MAX_FRAME_SIZE and value != DEFAULT_MAX_FRAME_SIZE:
            ctx.problem(at, f"frames of a size other than {DEFAULT_MAX_FRAME_SIZE} are not supported")
        elif identifier in _NAMED and message.HasField(_NAMED[identifier]):
            ctx.problem(
                at,
                f"the {{{_NAMED[identifier]}}} HTTP/2 SETTINGS parameter(s) can not be configured through both "
                "named and custom parameters",
            )
    for identifier, name in _NAMED.items():
        if identifier in found:
            values[name] = found.pop(identifier)
    return tuple(found.items())
