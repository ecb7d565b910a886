"""PROXY headers: cut at every byte, malformed in every part."""

from __future__ import annotations

import socket

import pytest

from proxy.filters.listener.proxy_header import (
    V2_SIGNATURE,
    MalformedHeaderError,
    ProxyHeader,
    read_proxy_header,
)


def v2(command: int = 0x21, family: int = 0x11, body: bytes | None = None, tail: bytes = b"") -> bytes:
    if body is None:
        body = socket.inet_aton("1.2.3.4") + socket.inet_aton("5.6.7.8") + b"\x10\x00\x00\x50"
    body += tail
    return V2_SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "::1")
V6 = v2(family=0x21, body=IPV6 + b"\x10\x00\x00\x50")


def addresses(data: bytes) -> tuple[str, str] | None:
    header = read_proxy_header(data)
    assert isinstance(header, ProxyHeader)
    assert header.size == len(data)
    return (str(header.remote), str(header.local)) if header.remote else None


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 4096 80\r\n", ("1.2.3.4:4096", "5.6.7.8:80")),
        (b"PROXY TCP6 2001:db8::1 ::1 4096 80\r\n", ("[2001:db8::1]:4096", "[::1]:80")),
        (b"PROXY TCP6 2001:0DB8::0:1 ::0001 0 65535\r\n", ("[2001:db8::1]:0", "[::1]:65535")),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 007 \t\r\n", ("1.2.3.4:1", "5.6.7.8:7")),
        (b"PROXY TCP4 1.2.3.4\0x 5.6.7.8 1 2\r\n", ("1.2.3.4:1", "5.6.7.8:2")),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 " + b"0" * 40 + b"9 0\r\n", ("1.2.3.4:9", "5.6.7.8:0")),
        (b"PROXY UNKNOWN" + b" " * 93 + b"\r\n", None),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 whatever\r\n", None),
        (v2(), ("1.2.3.4:4096", "5.6.7.8:80")),
        (v2(family=0x12), ("1.2.3.4:4096", "5.6.7.8:80")),
        (V6, ("[2001:db8::1]:4096", "[::1]:80")),
        (v2(tail=b"\x01\0\2h2"), ("1.2.3.4:4096", "5.6.7.8:80")),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x31, bytes(300)), None),
    ],
)
def test_headers_are_read_when_they_are_whole(data: bytes, wanted: tuple[str, str] | None) -> None:
    for end in range(1, len(data)):
        needed = read_proxy_header(data[:end])
        assert isinstance(needed, int), end
        assert end < needed <= len(data)
    assert addresses(data) == wanted


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"GET / HTTP\r\n", 1),
        (b"GET / HTTP/1.1\r\n", 0),
        (b"GET /index.html HTTP/1.1", 0),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", 1),
        (b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", 1),
        (b"PROXY\r\n", 1),
        (b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", 1),
        (b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", 1),
        (b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 0),
        (b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", 1),
        (b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", 1),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", 1),
        (b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1x 2\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 \xb2 2\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 " + b"9" * 30 + b" 2\r\n", 1),
        (b"PROXY TCP4 0.0.0.0 5.6.7.8 1 2\r\n", 1),
        (b"PROXY TCP4 224.0.0.1 5.6.7.8 1 2\r\n", 1),
        (b"PROXY TCP4 1.2.3.4 255.255.255.255 1 2\r\n", 1),
        (b"PROXY TCP6 :: ::1 1 2\r\n", 1),
        (b"PROXY TCP6 ff02::1 ::1 1 2\r\n", 1),
        (b"PROXY UNKNOWN" + b" " * 200, 0),
        (b"PROXY UNKNOWN" + b" " * 94 + b"\r\n", 1),
        (b"PROXY UNKNOWN" + b" " * 300 + b"\r\n", 0),
        (b"\r\n\r\n\0\r\nQUIT\nxxxx"[:11] + b"xxxxx", 0),
        (v2(0x11), 2),
        (v2(0x22), 2),
        (v2(family=0x10), 2),
        (v2(family=0x13), 2),
        (v2(family=0x01), 2),
        (v2(family=0x31, body=bytes(216)), 2),
        (v2(body=bytes(11)), 2),
        (v2(family=0x21), 2),
        (v2(body=bytes(12)), 2),
        (v2(tail=b"\x01"), 2),
        (v2(tail=b"\x01\0"), 2),
        (v2(tail=b"\x01\0\1"), 2),
        (v2(tail=b"\x01\0\0\x02\0\2x"), 2),
    ],
)
def test_malformed_headers(data: bytes, version: int) -> None:
    with pytest.raises(MalformedHeaderError) as caught:
        read_proxy_header(data)
    assert caught.value.version == version


def test_tlvs() -> None:
    header = read_proxy_header(v2(tail=b"\x01\0\2h2" + b"\x05\0\0" + b"\xe0\1\0" + bytes(256)) + b"rest")
    assert isinstance(header, ProxyHeader)
    assert header.tlvs == ((1, b"h2"), (5, b""), (0xE0, bytes(256)))
    assert header.size == 28 + 5 + 3 + 259


@pytest.mark.parametrize("data", [b"\r\n", b"\r\n\r\n\0\r\nQUIT", b"P", b"PROXY TCP4 1.2.3.4"])
def test_what_may_become_a_header_waits(data: bytes) -> None:
    assert read_proxy_header(data) == len(data) + 1
