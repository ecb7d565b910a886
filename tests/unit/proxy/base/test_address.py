"""Addresses as Envoy prints them and as sockets want them."""

import socket

import pytest

from proxy.base.address import Address, from_socket_name


@pytest.mark.parametrize(
    ("address", "text", "family", "name"),
    [
        (Address("1.2.3.4", 80), "1.2.3.4:80", socket.AF_INET, ("1.2.3.4", 80)),
        (Address("::1", 0), "[::1]:0", socket.AF_INET6, ("::1", 0)),
        (Address(path="/tmp/s"), "/tmp/s", socket.AF_UNIX, "/tmp/s"),
        (Address(path="@s"), "@s", socket.AF_UNIX, "\0s"),
    ],
)
def test_an_address_prints_and_binds(address: Address, text: str, family: int, name: object) -> None:
    assert str(address) == text
    assert address.family == family
    assert address.sockaddr == name
    assert address == Address(address.ip, address.port, address.path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (("1.2.3.4", 80), "1.2.3.4:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/tmp/s", "/tmp/s"),
        ("\0s", "@s"),
        (b"\0s", "@s"),
        ("", "@"),
        (None, "@"),
    ],
)
def test_socket_names_of_every_kind_are_understood(name: object, text: str) -> None:
    assert from_socket_name(name).text == text
