"""Sockets that are bound to addresses of others."""

from __future__ import annotations

import socket
from typing import Any, cast

from proxy.connection.upstream_source import UpstreamSource


class _Socket:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def setsockopt(self, *arguments: int) -> None:
        self.calls.append(arguments)

    def bind(self, address: tuple[str, int]) -> None:
        self.calls.append(address)


def applied(source: UpstreamSource) -> list[tuple[Any, ...]]:
    sock = _Socket()
    source.apply(cast("socket.socket", sock))
    return sock.calls


def test_a_marked_socket_is_transparent_and_has_a_port_of_the_kernel_s_choice() -> None:
    assert applied(UpstreamSource("192.0.2.1", 9)) == [
        (socket.SOL_SOCKET, socket.SO_MARK, 9),
        (socket.IPPROTO_IP, 19, 1),
        (socket.IPPROTO_IP, 24, 1),
        ("192.0.2.1", 0),
    ]


def test_ipv6_without_a_mark() -> None:
    assert applied(UpstreamSource("2001:db8::1")) == [
        (socket.IPPROTO_IPV6, 75, 1),
        (socket.IPPROTO_IP, 24, 1),
        ("2001:db8::1", 0),
    ]
