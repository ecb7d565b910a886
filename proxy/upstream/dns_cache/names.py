"""How the name that a client asks for becomes the key of a cache."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Of a port.
_MOST: Final = 65535
_MOST_DIGITS: Final = 5


class HostName(NamedTuple):
    """A name with its port. `key` is what a cache knows it by: two ports are two hosts, as in Envoy."""

    key: str
    name: str
    port: int


def host_name(authority: str, default_port: int) -> HostName:
    """Split an authority (RFC 3986, section 3.2, without user information); brackets of IPv6 go."""
    host, colon, digits = authority.rpartition(":")
    if colon and "]" not in digits and digits.isascii() and digits.isdigit():
        significant = digits.lstrip("0") or "0"
        if len(significant) <= _MOST_DIGITS and int(significant) <= _MOST:
            return HostName(authority, _bare(host), int(significant))
    return HostName(f"{authority}:{default_port}", _bare(authority), default_port)


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
