"""How entries gather and leave. That a service gets what Envoy's gets is tested beside Envoy."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import TCPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from proxy.access_log.grpc_config import GrpcLogConfig
from proxy.access_log.grpc_sink import GrpcSink, grpc_sink
from proxy.grpc_client.config import GrpcServiceConfig
from tests.support.listeners import services

ENTRY = TCPAccessLogEntry(connection_properties={"sent_bytes": 7}).SerializeToString()


class Call:
    def __init__(self) -> None:
        self.blocked = False
        self.sent: list[StreamAccessLogsMessage] = []

    def send(self, message: bytes) -> None:
        self.sent.append(StreamAccessLogsMessage.FromString(message))


class Client:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.reachable = True

    def stream(self, path: str, connection: Any, user: Any) -> Call | None:
        del path, connection, user
        if not self.reachable:
            return None
        self.calls.append(Call())
        return self.calls[-1]


def made(buffer_bytes: int) -> tuple[GrpcSink, Client]:
    config = GrpcLogConfig("log", GrpcServiceConfig("c", "c", 0.0), False, 1.0, buffer_bytes, b"")
    of = services()
    of.node = Node(id="n")
    sink = grpc_sink(config, of)
    assert grpc_sink(config, of) is sink
    client = Client()
    sink._client = client  # type: ignore[assignment]
    return sink, client


def test_entries_gather_until_the_buffer_is_full_or_the_interval_is_over() -> None:
    sink, client = made(len(ENTRY) * 2)
    sink.append(ENTRY)
    assert not client.calls
    sink.append(ENTRY)
    sink.append(ENTRY)
    sink.on_wake(1.0)
    first, second = client.calls[0].sent
    assert (first.identifier.log_name, first.identifier.node.id) == ("log", "n")
    assert not second.HasField("identifier")
    assert [len(message.tcp_logs.log_entry) for message in (first, second)] == [2, 1]
    assert first.tcp_logs.log_entry[0].connection_properties.sent_bytes == 7


def test_a_service_that_does_not_read_costs_entries_and_no_memory() -> None:
    sink, client = made(len(ENTRY))
    sink.append(ENTRY)
    client.calls[0].blocked = True
    for _ in range(3):
        sink.append(ENTRY)
    assert (sink._stats.logs_written, sink._stats.logs_dropped) == (2, 2)
    client.calls[0].blocked = False
    sink.append(ENTRY)
    assert len(client.calls[0].sent) == 3


def test_the_next_flush_opens_a_stream_that_failed() -> None:
    sink, client = made(0)
    sink.append(ENTRY)
    sink.on_grpc_closed(14, "")
    client.reachable = False
    sink.append(ENTRY)
    client.reachable = True
    sink.append(ENTRY)
    assert [len(call.sent) for call in client.calls] == [1, 1]
    assert client.calls[1].sent[0].identifier.log_name == "log"
