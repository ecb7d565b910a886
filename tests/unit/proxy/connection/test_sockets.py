"""Sockets are bound here, on the loopback and on the disk, but nothing is ever sent."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.base.address import Address
from proxy.base.errors import UsageError
from proxy.connection.sockets import (
    BOUND,
    LISTENING,
    ListenAddress,
    SocketOption,
    datagrams_dropped,
    local_address,
    open_sockets,
    remove_socket_file,
    start_listening,
    stop_listening,
)


class Opened:
    """Opens sockets and closes them after the test."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def __call__(self, where: ListenAddress, workers: int = 1) -> list[socket.socket]:
        made = open_sockets("web", where, workers)
        self.sockets += made
        return made


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    for one in made.sockets:
        one.close()


def test_a_socket_for_datagrams_is_bound_and_never_listens(opened: Opened) -> None:
    where = ListenAddress(Address("127.0.0.1", 0), udp=True)
    first, second = opened(where, workers=2)
    start_listening("dns", where, [first, second])
    assert first.type == second.type == socket.SOCK_DGRAM
    assert local_address(first) == local_address(second)
    assert first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    assert datagrams_dropped(first) == 0


def test_what_finds_no_room_in_a_socket_is_counted(opened: Opened) -> None:
    (one,) = opened(ListenAddress(Address("127.0.0.1", 0), udp=True))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(bytes(1000), one.getsockname())
    assert 0 < datagrams_dropped(one) < 100


def accepts(one: socket.socket) -> bool:
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def test_each_worker_gets_a_socket_on_the_same_port(opened: Opened) -> None:
    sockets = opened(ListenAddress(Address("127.0.0.1", 0)), 3)
    ports = {one.getsockname()[1] for one in sockets}
    assert len(ports) == 1
    assert ports != {0}
    assert len({os.fstat(one.fileno()).st_ino for one in sockets}) == 3
    assert all(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for one in sockets)
    assert str(local_address(sockets[0])) == f"127.0.0.1:{ports.pop()}"


def test_without_reuse_port_the_workers_share_one_socket(opened: Opened) -> None:
    sockets = opened(ListenAddress(Address("127.0.0.1", 0), reuse_port=False), 2)
    assert len({os.fstat(one.fileno()).st_ino for one in sockets}) == 1
    assert sockets[0].fileno() != sockets[1].fileno()


def test_nothing_is_accepted_before_listening_starts_and_after_it_stops(opened: Opened) -> None:
    where = ListenAddress(Address("127.0.0.1", 0))
    sockets = opened(where, 2)
    assert not any(accepts(one) for one in sockets)
    start_listening("web", where, sockets)
    assert all(accepts(one) for one in sockets)
    copy = sockets[0].dup()
    stop_listening(sockets)
    assert not accepts(copy)
    copy.close()


def test_options_are_set_in_their_state(opened: Opened) -> None:
    keepalive = SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    priority = SocketOption(socket.SOL_SOCKET, socket.SO_PRIORITY, 3, BOUND)
    mark = SocketOption(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1, LISTENING)
    where = ListenAddress(Address("127.0.0.1", 0), options=(keepalive, priority, mark))
    sockets = opened(where)
    assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
    assert sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 0
    start_listening("web", where, sockets)
    assert sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 1


@pytest.mark.parametrize(("compat", "only_six"), [(False, 1), (True, 0)])
def test_ipv6_takes_ipv4_only_if_asked_to(opened: Opened, compat: bool, only_six: int) -> None:
    sockets = opened(ListenAddress(Address("::", 0), ipv4_compat=compat))
    assert sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == only_six


def test_freebind_allows_a_foreign_address(opened: Opened) -> None:
    opened(ListenAddress(Address("192.0.2.1", 0), freebind=True))
    with pytest.raises(UsageError, match="no interface of this machine has that address"):
        opened(ListenAddress(Address("192.0.2.1", 0)))


def test_a_unix_socket_replaces_a_stale_one_and_gets_its_mode(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    where = ListenAddress(Address(path=str(path)), mode=0o640)
    opened(where)
    sockets = opened(where, 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sockets[1].getsockname() == str(path)
    remove_socket_file(where)
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(UsageError, match="Address already in use"):
        opened(ListenAddress(Address(path=str(path))))
    assert path.read_text() == "data"


def test_an_abstract_socket_has_no_file(opened: Opened) -> None:
    name = f"@outrider-test-{os.getpid()}"
    sockets = opened(ListenAddress(Address(path=name), mode=0o600))
    assert str(local_address(sockets[0])) == name


def test_a_port_in_use_is_explained(opened: Opened) -> None:
    taken = opened(ListenAddress(Address("127.0.0.1", 0), reuse_port=False))[0]
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(UsageError) as refused:
        opened(ListenAddress(Address("127.0.0.1", port)))
    assert str(refused.value) == (
        f"listener 'web': cannot bind 127.0.0.1:{port}: Address already in use (another process listens there: "
        "stop it or choose another port (`ss -lntp` names it))"
    )
