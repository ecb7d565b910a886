"""Halves of TLS connections: what ends one, and who hears of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.connection.half_close import END
from proxy.connection.tls_half_close import HalfClose, HalfClosingSslObject
from tests.support.certs import Authority
from tests.support.tls_configs import certificate, downstream


class Turns:
    """Of a loop what is put off to the next turn."""

    def __init__(self) -> None:
        self._later: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._later.append(callback)

    def turn(self) -> None:
        while self._later:
            self._later.pop(0)()


class Line:
    """A server's end that closes half by half, and a client's of the standard library, shaken hands in memory."""

    def __init__(self, directory: Path, loop: Any) -> None:
        authority = Authority(directory)
        config, problems = downstream(
            {"common_tls_context": {"tls_certificates": [certificate(authority.issue("server.test"))]}}
        )
        assert not problems
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.loop = loop
        self.half_close = HalfClose(loop)
        self.server = self.half_close.wrap(config.context, up, down, server_side=True)
        self.client = authority.client_context().wrap_bio(down, up, server_hostname="server.test")
        for side in (self.client, self.server, self.client, self.server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


class FakeTransport:
    def __init__(self, keep: bool) -> None:
        self.ends = 0
        self.closed = False
        self._keep = keep

    def get_protocol(self) -> FakeTransport:
        return self

    def eof_received(self) -> bool:
        self.ends += 1
        return self._keep

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("keep", [True, False])
def test_the_protocol_hears_of_the_peer_s_end_once_and_decides(tmp_path: Path, keep: bool) -> None:
    line = Line(tmp_path, Turns())
    transport: Any = FakeTransport(keep)
    line.half_close.transport = transport
    line.client.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        line.client.unwrap()
    assert line.server.read(100) == b"last"
    for _ in range(2):
        with pytest.raises(ssl.SSLWantReadError):
            line.server.read(100)
    assert transport.ends == 0  # not before the bytes that were read
    line.loop.turn()
    assert (transport.ends, transport.closed) == (1, not keep)
    assert line.server.write(b"more") == 4
    assert line.client.read(100) == b"more"


def test_our_end_goes_the_way_of_the_bytes_before_it(tmp_path: Path) -> None:
    line = Line(tmp_path, Turns())
    line.server.write(b"last")
    assert line.server.write(END) == len(END)
    assert line.client.read(100) == b"last"
    assert line.client.read(100) == b""
    line.client.write(b"more")
    assert line.server.read(100) == b"more"
    with pytest.raises(ssl.SSLWantReadError):
        line.server.read(100)


def test_nobody_waits_for_the_answer_of_a_peer_whose_bytes_have_ended(tmp_path: Path) -> None:
    line = Line(tmp_path, Turns())
    assert not line.half_close.cut()  # not before anybody would hear of it
    transport: Any = FakeTransport(keep=True)
    line.half_close.transport = transport
    assert line.half_close.cut()
    line.server.unwrap()
    assert line.client.read(100) == b""


def test_other_objects_are_not_concerned(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("server.test")
    config, _ = downstream({"common_tls_context": {"tls_certificates": [certificate(issued)]}})
    plain = config.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert not isinstance(plain, HalfClosingSslObject)
