from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.demo.replica import ReplicaProtocol, greeting


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def transport() -> Transport:
    return Transport()


def feed(transport: Transport, data: bytes) -> bytes:
    protocol = ReplicaProtocol(b"hello\n")
    protocol.connection_made(transport)
    protocol.data_received(data)
    return transport.written


def test_requests_on_one_connection_are_each_answered(transport: Transport) -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    written = feed(transport, request + request)
    assert written.count(b"HTTP/1.1 200") == 2
    assert written.endswith(b"hello\n")
    assert not transport.closed


def test_head_gets_no_body(transport: Transport) -> None:
    written = feed(transport, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert written.endswith(b"\r\n\r\n")


def test_a_client_that_wants_to_close_is_let_go(transport: Transport) -> None:
    feed(transport, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert transport.closed


def test_garbage_closes_the_connection(transport: Transport) -> None:
    assert feed(transport, b"\0\0\r\n\r\n") == b""
    assert transport.closed


def test_the_greeting_names_service_and_replica() -> None:
    assert greeting(1, 2).startswith(b"Hello from behind Outrider (service 1)! hostname ")
    assert b"replica 2" in greeting(1, 2)
