"""What the access log tells of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.base.stream_info import StreamInfo

if TYPE_CHECKING:
    from proxy.tcp_proxy.session import TcpSession


def log_entry(session: TcpSession, now: float) -> StreamInfo:
    """The facts of `session` as they are at monotonic second `now`."""
    connection = session.connection
    info = StreamInfo(connection, connection.start_time)
    info.response_complete = now
    info.flags = session.flags | connection.response_flags
    info.response_code_details = connection.response_code_details
    info.attempt_count = session.attempts
    info.connection_termination_details = connection.termination_details
    info.bytes_received = info.downstream_wire_bytes_received = session.bytes_received
    info.bytes_sent = info.downstream_wire_bytes_sent = session.bytes_sent
    info.upstream_wire_bytes_sent = session.bytes_received
    info.upstream_wire_bytes_received = session.bytes_sent
    info.upstream_cluster = session.cluster
    info.upstream_transport_failure_reason = session.failure_reason or None
    info.upstream_host = session.host
    upstream = session.last_upstream
    if upstream is not None:
        upstream.describe(info)
    return info
