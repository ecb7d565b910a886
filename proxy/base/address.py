"""Network addresses as Envoy prints them: `1.2.3.4:80`, `[::1]:80`, `/path/to.sock`, `@abstract`, `envoy://name/`."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final


class Address:
    """One end of a connection, or the place of a listener or endpoint; immutable.

    `ip` is a textual IPv4 or IPv6 address without brackets, or "" for a unix socket.
    `port` is 0 to 65535, 0 for a unix socket.
    `path` is the path of a unix socket; an abstract name starts with "@", as in Envoy's config.
    """

    #: See `InternalAddress`.
    listener_name: str = ""
    endpoint_id: str = ""

    __slots__ = ("_text", "family", "ip", "path", "port")

    def __init__(self, ip: str = "", port: int = 0, path: str = "") -> None:
        self.ip: Final = ip
        self.port: Final = port
        self.path: Final = path
        self._text = path
        if path:
            self.family = socket.AF_UNIX
        else:
            self.family = socket.AF_INET6 if ":" in ip else socket.AF_INET

    @property
    def text(self) -> str:
        """As Envoy prints it; made when first asked for, since most client addresses never are."""
        if not self._text:
            self._text = f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
        return self._text

    @property
    def sockaddr(self) -> tuple[str, int] | str:
        """What `socket.bind` and `connect` take."""
        if self.path:
            return "\0" + self.path[1:] if self.path.startswith("@") else self.path
        return (self.ip, self.port)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Address({self.text})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class InternalAddress(Address):
    """The place of an internal listener, or an endpoint there (`core.v3.EnvoyInternalAddress`).

    `path` is the whole text, `envoy://listener/endpoint`: whoever looks at no more takes it for a unix socket's.
    """

    __slots__ = ("endpoint_id", "listener_name")

    def __init__(self, listener_name: str, endpoint_id: str = "") -> None:
        super().__init__(path=f"envoy://{listener_name}/{endpoint_id}")
        self.listener_name = listener_name
        self.endpoint_id = endpoint_id


#: Who connects to an internal listener, in Envoy's words.
INTERNAL_CLIENT: Final = InternalAddress("internal_client_address")


def is_same_ip_or_loopback(remote: Address, local: Address) -> bool:
    """Envoy's SAME_IP_OR_LOOPBACK: loopback is 127.0.0.1 or ::1 only; a unix socket is always local."""
    if remote.path or remote.ip == local.ip:
        return True
    return remote.ip in {"127.0.0.1", "::1"}


def parse_ip_port(text: str) -> Address | None:
    """The address that `1.2.3.4:80` or `[::1]:80` names, None if the text is neither."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    if (ip.version == 6) != bracketed or not (port.isascii() and port.isdigit()) or len(port) > 5:
        return None
    return Address(str(ip), int(port)) if int(port) <= 65535 else None


def from_socket_name(name: object) -> Address:
    """The address behind `getsockname()`, `getpeername()` or a transport's extra info."""
    if isinstance(name, tuple):
        return Address(name[0], name[1])
    if isinstance(name, Address):
        return name
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    if isinstance(name, str) and name:
        return Address(path="@" + name[1:] if name.startswith("\0") else name)
    return Address(path="@")
