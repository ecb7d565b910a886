"""Headers of the PROXY protocol, as its document spells them."""

import pytest

from proxy.base.address import Address
from proxy.codec.proxy_protocol import encode_v1, encode_v2

CLIENT = Address("192.168.0.1", 56324)
PROXY = Address("10.0.0.9", 443)
CLIENT6 = Address("2001:db8::1", 1)
PROXY6 = Address("::1", 65535)
UNIX = Address(path="/run/x.sock")
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        (CLIENT, PROXY, b"PROXY TCP4 192.168.0.1 10.0.0.9 56324 443\r\n"),
        (CLIENT6, PROXY6, b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"),
        (Address("fe80::1%eth0", 2), PROXY6, b"PROXY TCP6 fe80::1 ::1 2 65535\r\n"),
        (UNIX, PROXY, b"PROXY UNKNOWN\r\n"),
        (CLIENT, UNIX, b"PROXY UNKNOWN\r\n"),
    ],
)
def test_version_1(source, destination, line):
    assert encode_v1(source, destination) == line


def test_addresses_of_two_families_are_written_in_the_wider_one():
    # Versions of Python differ in how they write the mapped address.
    assert encode_v1(CLIENT, PROXY6).startswith(b"PROXY TCP6 ::ffff:")
    mapped = encode_v2(PROXY6, CLIENT)[32:48]
    assert mapped == bytes(10) + b"\xff\xff" + bytes([192, 168, 0, 1])


def test_version_2():
    header = encode_v2(CLIENT, PROXY)
    assert header == SIGNATURE + bytes.fromhex("21 11 000c c0a80001 0a000009 dc04 01bb")
    header = encode_v2(CLIENT6, PROXY6)
    addresses = "20010db8000000000000000000000001 00000000000000000000000000000001"
    assert header == SIGNATURE + bytes.fromhex(f"21 21 0024 {addresses} 0001 ffff")


def test_version_2_without_addresses_is_local():
    assert encode_v2(UNIX, PROXY) == SIGNATURE + bytes.fromhex("20 00 0000")


def test_version_2_with_extensions():
    header = encode_v2(CLIENT, PROXY, [(0x02, b"example.com"), (0xE0, b"")])
    assert header[14:16] == (12 + 3 + 11 + 3).to_bytes(2, "big")
    assert header.endswith(b"\x02\x00\x0bexample.com\xe0\x00\x00")


def test_extensions_have_a_limit():
    with pytest.raises(ValueError, match="65,535"):
        encode_v2(CLIENT, PROXY, [(1, bytes(65535))])
