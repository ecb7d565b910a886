"""The echo filter."""

from __future__ import annotations

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.filters.network.echo import EchoProtocol
from tests.support.memory_transport import MemoryTransport


def test_it_stops_reading_while_its_answers_are_not_taken() -> None:
    closed = []
    connection = ConnectionInfo(1, Address("1.2.3.4", 5), Address("1.2.3.4", 6), 0.0, DrainState())
    connection.on_close.append(lambda: closed.append(True))
    protocol, transport = EchoProtocol(connection), MemoryTransport()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.feed(b"hello")
    assert transport.written == b"hello"
    protocol.pause_writing()
    assert not transport.reading
    protocol.resume_writing()
    assert transport.reading
    transport.lose()
    assert closed == [True]
