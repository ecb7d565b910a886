"""How the name that a client asks for becomes the key of a cache."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.base.digits import whole_number

_MOST_PORT: Final = 65535


class HostName(NamedTuple):
    """A name with its port. `key` is what a cache knows it by: two ports are two hosts, as in Envoy."""

    key: str
    name: str
    port: int


def host_name(authority: str, default_port: int) -> HostName:
    """Split an authority (RFC 3986, section 3.2, without user information); brackets of IPv6 go."""
    host, colon, digits = authority.rpartition(":")
    port = whole_number(digits, _MOST_PORT) if colon else None
    if port is not None:
        return HostName(authority, _bare(host), port)
    return HostName(f"{authority}:{default_port}", _bare(authority), default_port)


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
