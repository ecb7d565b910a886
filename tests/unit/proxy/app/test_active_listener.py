from __future__ import annotations

import socket

import pytest

from proxy.app.active_listener import ActiveListener
from proxy.app.config_loading import ListenerPlan
from proxy.base.address import Address
from proxy.base.errors import UsageError
from proxy.connection.sockets import ListenAddress


def plan(*addresses: Address) -> ListenerPlan:
    return ListenerPlan("a", b"", tuple(ListenAddress(one) for one in addresses), False)


def test_each_worker_gets_a_socket_of_its_own_per_address() -> None:
    listener = ActiveListener(plan(Address("127.0.0.1", 0), Address("127.0.0.1", 0)), workers=3)
    try:
        first, second = listener.addresses()
        assert first.port != second.port
        sockets = listener.of_worker(2)
        assert [sock.getsockname()[1] for sock in sockets] == [first.port, second.port]
        assert len({sock.fileno() for index in range(3) for sock in listener.of_worker(index)}) == 6
    finally:
        listener.close()


def test_a_listener_without_a_port_shows_its_configured_address() -> None:
    listener = ActiveListener(
        ListenerPlan("a", b"", (ListenAddress(Address("192.0.2.1", 80)),), False, bound=False), workers=2
    )
    listener.listen()
    assert listener.of_worker(1) == []
    assert listener.addresses() == [Address("192.0.2.1", 80)]
    listener.close()


def test_datagrams_are_refused_by_closing_and_the_address_is_still_known() -> None:
    where = ListenAddress(Address("127.0.0.1", 0), udp=True)
    listener = ActiveListener(ListenerPlan("a", b"", (where,), False), workers=2)
    listener.listen()
    (address,) = listener.addresses()
    listener.refuse()
    assert listener.addresses() == [address]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(address.sockaddr)
        client.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)


def test_after_refuse_nobody_can_connect() -> None:
    listener = ActiveListener(plan(Address("127.0.0.1", 0)), workers=2)
    try:
        listener.listen()
        where = listener.addresses()[0]
        socket.create_connection(where.sockaddr, timeout=5).close()  # type: ignore[arg-type]
        listener.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where.sockaddr, timeout=5)  # type: ignore[arg-type]
    finally:
        listener.close()


def test_sockets_bound_before_a_failure_are_given_back() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="Address already in use"):
            ActiveListener(plan(Address("127.0.0.1", 0), Address(*taken.getsockname())), workers=1)


def test_sockets_of_a_process_with_more_workers_are_all_accepted_on() -> None:
    made = ActiveListener(plan(Address("127.0.0.1", 0)), 5)
    listener = ActiveListener(plan(Address("127.0.0.1", 0)), 2, opener=lambda *_: made.sockets[0])
    own = [listener.of_worker(index) for index in range(2)]
    further = [listener.further_of_worker(index) for index in range(2)]
    assert [len(one) for one in own] == [1, 1]
    assert [[number for number, _socket in one] for one in further] == [[0, 0], [0]]
    every = {sock.fileno() for one in own for sock in one} | {s.fileno() for one in further for _, s in one}
    assert len(every) == 5
    listener.close()


def test_what_another_process_accepts_on_is_closed_but_not_shut() -> None:
    listener = ActiveListener(plan(Address("127.0.0.1", 0)), workers=1)
    listener.listen()
    with listener.of_worker(0)[0].dup() as theirs:
        listener.shared = frozenset({0})
        listener.refuse()
        listener.close()
        socket.create_connection(theirs.getsockname(), timeout=5).close()
        theirs.accept()[0].close()
