"""Where a listener listens."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.connection.sockets import LISTENING, SocketOption
from tests.support.listeners import address, compile_checked, compiled, listener


def test_every_option_reaches_the_socket() -> None:
    where = compiled(
        listener(
            freebind=True,
            transparent=True,
            tcp_backlog_size=7,
            tcp_fast_open_queue_length=9,
            enable_reuse_port=False,
            socket_options=[
                {"level": 1, "name": 2, "int_value": 3, "state": "STATE_LISTENING", "description": "d"},
                {"level": 4, "name": 5, "buf_value": "eA==", "type": {"datagram": {}}},
            ],
        )
    ).addresses[0]
    assert (where.freebind, where.transparent, where.reuse_port) == (True, True, False)
    assert (where.backlog, where.fast_open_queue) == (7, 9)
    assert where.options == (SocketOption(1, 2, 3, LISTENING, "d"),)


def test_an_additional_address_may_have_options_of_its_own() -> None:
    own = {"level": 9, "name": 9, "int_value": 9}
    first, second, third = compiled(
        listener(
            socket_options=[{"level": 1, "name": 1, "buf_value": "eA=="}],
            additional_addresses=[
                {"address": address("10.0.0.2")},
                {"address": address("::", 81), "socket_options": {"socket_options": [own]}},
            ],
        )
    ).addresses
    assert [str(one.address) for one in (first, second, third)] == [
        "10.0.0.1:8000",
        "10.0.0.2:8000",
        "[::]:81",
    ]
    assert first.options == second.options == (SocketOption(1, 1, b"x"),)
    assert third.options == (SocketOption(9, 9, 9),)


def test_a_listener_for_datagrams_takes_the_options_that_are_for_them() -> None:
    options = [
        {"level": 1, "name": 1, "int_value": 1},
        {"level": 2, "name": 2, "int_value": 2, "type": {"datagram": {}}},
        {"level": 3, "name": 3, "int_value": 3, "type": {"stream": {}}},
    ]
    datagrams = {"name": "udp", "address": address(protocol="UDP"), "socket_options": options}
    (where,) = compiled(datagrams).addresses
    assert where.udp
    assert where.options == (SocketOption(1, 1, 1), SocketOption(2, 2, 2))


def test_all_addresses_of_a_listener_are_for_the_same_kind_of_socket() -> None:
    mixed = {
        "name": "udp",
        "address": address(protocol="UDP"),
        "additional_addresses": [{"address": address(port=8001)}],
    }
    (problem,) = compile_checked(mixed)[1]
    assert problem.startswith("listener.additional_addresses[0].address: has different socket type")


def test_a_unix_socket_has_a_mode() -> None:
    where = compiled(listener(address={"pipe": {"path": "/run/a.sock", "mode": 0o600}})).addresses[0]
    assert (where.address.path, where.mode) == ("/run/a.sock", 0o600)


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        (address(resolver_name="x"), "socket_address.resolver_name: custom resolvers are not supported"),
        (address(port=70000), "socket_address.port_value: value must be less than or equal to 65535"),
        (address("localhost"), "socket_address.address: malformed IP address: localhost"),
        (
            {"socket_address": {"address": "1.2.3.4", "named_port": "http"}},
            "socket_address.named_port: named ports are not supported: use port_value",
        ),
        (
            address("10.0.0.1", ipv4_compat=True),
            (
                "socket_address.ipv4_compat: only IPv6 address '::' or a valid IPv4-mapped IPv6 address can set "
                "ipv4_compat: 10.0.0.1:8000"
            ),
        ),
        ({"pipe": {"path": "/" + "x" * 107}}, "pipe.path: longer than the system's 107 bytes"),
        (
            {"envoy_internal_address": {"server_listener_name": "x"}},
            "envoy_internal_address: use internal_listener field instead of address for internal listeners",
        ),
    ],
)
def test_an_address_that_cannot_be_is_refused(where: dict[str, Any], problem: str) -> None:
    _, problems = compile_checked(listener(address=where))
    assert problems == [f"listener.address.{problem}"]
