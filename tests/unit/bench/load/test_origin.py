from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.load.client import request_bytes
from bench.load.origin import OriginProtocol, reply_of_size


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []

    def write(self, data: Any) -> None:
        self.written.append(data)


def answers(*pieces: bytes) -> int:
    transport = Transport()
    protocol = OriginProtocol(b"reply")
    protocol.connection_made(transport)
    for piece in pieces:
        protocol.data_received(piece)
    return len(transport.written)


@pytest.mark.parametrize("mode", ["keepalive", "post"])
def test_each_request_gets_one_reply_however_it_arrives(mode: str) -> None:
    request = request_bytes(mode, "a", 0)
    assert answers(request) == 1
    assert answers(request + request) == 2
    assert answers(*(bytes([byte]) for byte in request + request)) == 2


def test_the_reply_has_the_size_asked_for() -> None:
    assert len(reply_of_size(300)) == 300
    assert reply_of_size(300).startswith(b"HTTP/1.1 200 OK\r\n")
