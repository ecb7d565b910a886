from __future__ import annotations

import asyncio

from proxy.connection.replay import replay
from tests.support.memory_transport import MemoryTransport


class Streamed(asyncio.Protocol):
    data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


class Buffered(asyncio.BufferedProtocol):
    """Takes three bytes at a time; closes after `most`."""

    def __init__(self, transport: MemoryTransport, most: int = 100) -> None:
        self.buffer = bytearray(3)
        self.data = b""
        self.transport = transport
        self.most = most

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]
        if len(self.data) >= self.most:
            self.transport.close()


def test_a_protocol_gets_all_at_once() -> None:
    transport, protocol = MemoryTransport(), Streamed()
    transport.set_protocol(protocol)
    replay(transport, b"0123456")
    assert protocol.data == b"0123456"


def test_a_protocol_with_a_buffer_gets_what_fits() -> None:
    transport = MemoryTransport()
    protocol = Buffered(transport)
    transport.set_protocol(protocol)
    replay(transport, b"0123456")
    assert protocol.data == b"0123456"


def test_a_transport_that_was_closed_delivers_no_more() -> None:
    transport = MemoryTransport()
    protocol = Buffered(transport, most=3)
    transport.set_protocol(protocol)
    replay(transport, b"0123456")
    assert protocol.data == b"012"
