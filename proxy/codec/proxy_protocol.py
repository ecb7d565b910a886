"""Headers of the PROXY protocol, versions 1 and 2: who a connection is really from and for.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from struct import pack
from typing import Final

from msgspec import Struct

from proxy.base.address import Address

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
#: Family in the upper half, stream transport in the lower.
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_UNSPECIFIED: Final = 0

#: Type and value of one extension of version 2.
Tlv = tuple[int, bytes]

#: Where the filter state of a connection keeps its `ProxyData`.
FILTER_STATE: Final = "envoy.network.proxy_protocol_options"


class ProxyData(Struct, frozen=True):
    """What a header to an upstream says of a client. `tlvs` are those that may be passed on."""

    remote: Address
    local: Address
    tlvs: tuple[Tlv, ...] = ()


def encode_v1(source: Address, destination: Address) -> bytes:
    """The line of version 1; `UNKNOWN` unless both are IP addresses."""
    ends = _ip_addresses(source, destination)
    if ends is None:
        return b"PROXY UNKNOWN\r\n"
    first, second = ends
    line = f"PROXY TCP{first.version} {first} {second} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def encode_v2(source: Address, destination: Address, tlvs: Iterable[Tlv] = ()) -> bytes:
    """The header of version 2; that of a connection of our own (LOCAL) unless both are IP addresses.

    Raises `ValueError` if the TLVs do not fit (65,535 bytes with the addresses).
    """
    ends = _ip_addresses(source, destination)
    if ends is None:
        command, family, addresses = _LOCAL, _UNSPECIFIED, b""
    else:
        first, second = ends
        command, family = _PROXY, _TCP4 if first.version == 4 else _TCP6
        addresses = first.packed + second.packed + pack(">HH", source.port, destination.port)
    rest = addresses + b"".join(pack(">BH", kind, len(value)) + value for kind, value in tlvs)
    if len(rest) > 0xFFFF:
        raise ValueError("TLVs of more than 65,535 bytes")
    return _SIGNATURE + pack(">BBH", command, family, len(rest)) + rest


def _ip_addresses(source: Address, destination: Address) -> tuple[_Ip, _Ip] | None:
    """Both of one family: next to an IPv6 address, one of IPv4 is written in its mapped form."""
    if not source.ip or not destination.ip:
        return None
    first, second = (ipaddress.ip_address(end.ip.partition("%")[0]) for end in (source, destination))
    if first.version != second.version:
        first, second = _as_ipv6(first), _as_ipv6(second)
    return first, second


def _as_ipv6(ip: _Ip) -> ipaddress.IPv6Address:
    return ip if isinstance(ip, ipaddress.IPv6Address) else ipaddress.IPv6Address(f"::ffff:{ip}")
