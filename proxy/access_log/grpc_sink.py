"""Sends the entries of gRPC access loggers: one stream for each config, kind of entry and worker.

Entries gather until they fill the buffer or the flush interval is over, and leave as one message. The first message
of a stream names the log and the node. A stream that fails is opened again by the next flush; what had been sent on
it is not sent again, as in Envoy. While the service does not keep up, entries beyond the buffer are dropped and
counted.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from proxy.access_log.grpc_config import GrpcLogConfig
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import own_connection
from proxy.grpc_client.client import GrpcClient
from proxy.grpc_client.streaming import StreamingCall

_METHOD: Final = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
_KEY: Final = "grpc_access_log"
_MORE_BIT: Final = 0x80
#: Tags of `StreamAccessLogsMessage.http_logs` and `tcp_logs`, and of `log_entry` in both.
_HTTP_LOGS: Final = b"\x12"
_TCP_LOGS: Final = b"\x1a"
_LOG_ENTRY: Final = b"\x0a"


class GrpcLogStats(StatGroup):
    """`access_logs.grpc_access_log.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("grpc_entries_flushed", "logs_dropped", "logs_written")

    grpc_entries_flushed: int
    logs_dropped: int
    logs_written: int


def grpc_sink(config: GrpcLogConfig, services: WorkerServices) -> GrpcSink:
    """The worker's sink for `config`."""
    key = (_KEY, config.http, config.key)
    sink: GrpcSink | None = services.shared.get(key)
    if sink is None:
        sink = services.shared[key] = GrpcSink(config, services)
    return sink


class GrpcSink:
    """See module."""

    def __init__(self, config: GrpcLogConfig, services: WorkerServices) -> None:
        self._config = config
        self._timers = services.timers
        self._now = services.loop.time
        self._node = services.node
        self._client = GrpcClient(config.service, services)
        self._stats = services.stats.shared(GrpcLogStats, "access_logs.grpc_access_log.")
        self._connection = own_connection(services.local_address)
        self._call: StreamingCall | None = None
        self._entries: list[bytes] = []
        self._size = 0
        self._timer: Any = None

    def append(self, entry: bytes) -> None:
        """Take one serialised entry."""
        limit = self._config.buffer_bytes
        if limit and self._size >= limit:
            self._flush()
            if self._size >= limit:
                self._stats.logs_dropped += 1
                return
        self._stats.logs_written += 1
        self._entries.append(entry)
        self._size += len(entry)
        if self._size >= limit:
            self._flush()
        if self._entries and self._timer is None:
            self._timer = self._timers.wake(self._now() + self._config.flush_interval, self)

    def on_wake(self, now: float) -> None:
        """The flush interval is over; see `Timers`."""
        self._timer = None
        self._flush()
        if self._entries:
            self._timer = self._timers.wake(now + self._config.flush_interval, self)

    def on_grpc_closed(self, status: int, message: str) -> None:
        """See `StreamUser`: the next flush opens another stream."""
        del status, message
        self._call = None

    def _flush(self) -> None:
        if not self._entries:
            return
        call = self._call
        head = b""
        if call is None:
            call = self._call = self._client.stream(_METHOD, self._connection, self)
            head = self._identifier()
        if call is not None:
            if call.blocked:
                return
            call.send(head + self._logs())
            self._stats.grpc_entries_flushed += len(self._entries)
        # Without a stream they are lost: a service that is away must not fill the memory.
        self._entries.clear()
        self._size = 0

    def _identifier(self) -> bytes:
        message = StreamAccessLogsMessage()
        if self._node is not None:
            message.identifier.node.CopyFrom(self._node)
        message.identifier.log_name = self._config.log_name
        return bytes(message.SerializeToString())

    def _logs(self) -> bytes:
        """`http_logs` or `tcp_logs`: the entries are serialised already, so only lengths go between them."""
        parts: list[bytes] = []
        for entry in self._entries:
            parts += (_LOG_ENTRY, _varint(len(entry)), entry)
        logs = b"".join(parts)
        return (_HTTP_LOGS if self._config.http else _TCP_LOGS) + _varint(len(logs)) + logs


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _MORE_BIT:
        out.append(number & 0x7F | _MORE_BIT)
        number >>= 7
    out.append(number)
    return bytes(out)
