"""Reads the header of the PROXY protocol, versions 1 and 2, out of the first bytes of a connection.

Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt; where it leaves room, as Envoy reads it.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Final

from msgspec import Struct

from proxy.base.address import Address
from proxy.base.errors import ProtocolError

V1_SIGNATURE: Final = b"PROXY "
V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

_LONGEST_V1: Final = 108
_LONGEST_READ: Final = 232  # before a version is known
_V2_HEADER: Final = 16
_LOCAL, _PROXY = 0, 1
_STREAM, _DATAGRAM = 1, 2
#: Address family to (family, bytes of both addresses and ports).
_FAMILIES: Final = {
    1: (socket.AF_INET, struct.Struct(">4s4sHH")),
    2: (socket.AF_INET6, struct.Struct(">16s16sHH")),
}
_SPACES: Final = b" \t\n\v\f\r"


class MalformedHeaderError(ProtocolError):
    """The bytes are no PROXY header. `version` is the one that they claim to be, 0 if neither."""

    def __init__(self, version: int) -> None:
        super().__init__(f"malformed PROXY header (version {version})")
        self.version = version


class ProxyHeader(Struct, frozen=True):
    """A whole header of `size` bytes.

    `remote` and `local` are None where the sender speaks for itself (LOCAL, UNKNOWN). `tlvs` are in order.
    """

    version: int
    size: int
    remote: Address | None = None
    local: Address | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()


def read_proxy_header(data: bytes) -> ProxyHeader | int:
    """The header at the start of `data`, or how many bytes are needed at least; raises `MalformedHeaderError`."""
    if len(data) >= _V2_HEADER:
        if data.startswith(V2_SIGNATURE):
            return _read_v2(data)
        if not data.startswith(V1_SIGNATURE):
            raise MalformedHeaderError(0)
    end = data.find(b"\r\n", 0, _LONGEST_READ)
    if end > _LONGEST_V1 - 2:
        raise MalformedHeaderError(1)
    if end > 0:
        return _read_v1(data[:end], end + 2)
    if len(data) > _LONGEST_V1:
        raise MalformedHeaderError(0)
    return len(data) + 1


def version_of(data: bytes) -> int:
    """Which version's signature `data` has; 0 if neither or if it is too short to tell."""
    if len(data) >= _V2_HEADER:
        if data.startswith(V2_SIGNATURE):
            return 2
        if not data.startswith(V1_SIGNATURE):
            return 0
    return 1 if data.find(b"\r\n", 0, _LONGEST_V1) > 0 else 0


def _read_v1(line: bytes, size: int) -> ProxyHeader:
    words = line.rstrip(_SPACES).split(b" ")
    if len(words) < 2 or words[0] != b"PROXY":
        raise MalformedHeaderError(1)
    if words[1] == b"UNKNOWN":
        return ProxyHeader(1, size)
    families = {b"TCP4": socket.AF_INET, b"TCP6": socket.AF_INET6}
    if len(words) != 6 or words[1] not in families:
        raise MalformedHeaderError(1)
    family = families[words[1]]
    remote = _address(family, words[2], words[4])
    local = _address(family, words[3], words[5])
    return ProxyHeader(1, size, remote, local)


def _address(family: socket.AddressFamily, host: bytes, port: bytes) -> Address:
    # Like the C functions behind Envoy: text ends at a NUL, an interface follows a "%", a number may have a sign.
    text, _, _interface = host.split(b"\0")[0].decode("latin-1").partition("%")
    digits = port.strip(_SPACES).removeprefix(b"+")
    try:
        packed = socket.inet_pton(family, text)
        if _interface and family != socket.AF_INET6:
            raise MalformedHeaderError(1)
        digits = digits.lstrip(b"0") or digits[-1:]
        number = int(digits) if digits.isdigit() and len(digits) < 6 else 65536
    except (OSError, ValueError) as error:
        raise MalformedHeaderError(1) from error
    if number > 65535:
        raise MalformedHeaderError(1)
    return _unicast(family, packed, number, 1)


def _unicast(family: socket.AddressFamily, packed: bytes, port: int, version: int) -> Address:
    ip = ipaddress.ip_address(packed)
    if ip.is_multicast or ip.is_unspecified or packed == b"\xff\xff\xff\xff":
        raise MalformedHeaderError(version)
    return Address(socket.inet_ntop(family, packed), port)


def _read_v2(data: bytes) -> ProxyHeader | int:
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    size = _V2_HEADER + (data[14] << 8 | data[15])
    if version != 2:
        raise MalformedHeaderError(2)
    if command == _LOCAL:
        return ProxyHeader(2, size) if len(data) >= size else size
    if family not in _FAMILIES:
        raise MalformedHeaderError(2)
    kind, layout = _FAMILIES[family]
    at = _V2_HEADER + layout.size
    if size < at:
        raise MalformedHeaderError(2)
    if len(data) < at:
        return at
    if command != _PROXY or transport not in {_STREAM, _DATAGRAM}:
        raise MalformedHeaderError(2)
    if len(data) < size:
        return size
    tlvs = _read_tlvs(data, at, size)
    source, destination, source_port, destination_port = layout.unpack_from(data, _V2_HEADER)
    remote = _unicast(kind, source, source_port, 2)
    return ProxyHeader(2, size, remote, _unicast(kind, destination, destination_port, 2), tlvs)


def _read_tlvs(data: bytes, at: int, end: int) -> tuple[tuple[int, bytes], ...]:
    found: list[tuple[int, bytes]] = []
    while at < end:
        if at + 3 > end:
            raise MalformedHeaderError(2)
        start = at + 3
        kind, at = data[at], start + (data[at + 1] << 8 | data[at + 2])
        if at > end:
            raise MalformedHeaderError(2)
        found.append((kind, data[start:at]))
    return tuple(found)
