"""What a URL asks for."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.base.errors import UsageError
from proxy.codec.grpc import service_and_method

#: Scheme to default port; 0 where one must be given.
_PORTS: Final = {
    "http": 80,
    "https": 443,
    "h2": 443,
    "h2c": 80,
    "grpc": 0,
    "grpcs": 0,
    "tcp": 0,
    "tls": 0,
}
_TLS: Final = ("https", "h2", "grpcs", "tls")
#: What is called where the URL names no method: every health service has it (grpc.health.v1).
_HEALTH: Final = "/grpc.health.v1.Health/Check"
#: Bytes that a request line cannot carry (RFC 9112 section 3.2).
_BARE: Final = re.compile(r"[\x00-\x20\x7f-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Target:
    """`path` has the query with it; `authority` is what a Host field says."""

    url: str
    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in _TLS

    @property
    def http(self) -> bool:
        """Whether requests are HTTP/1.1."""
        return self.scheme in {"http", "https"}

    @property
    def grpc(self) -> bool:
        """Whether requests are unary calls."""
        return self.scheme in {"grpc", "grpcs"}

    @property
    def http2(self) -> bool:
        """Whether requests are HTTP/2, gRPC included."""
        return self.scheme in {"h2", "h2c"} or self.grpc

    def resolve(self) -> tuple[Any, ...]:
        """The address to connect to, asked for once; `UsageError` if the name has none."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UsageError(f"outrider bench: {self.host}: no address for this name ({error})") from error
        return found[0][4]


def parse_target(url: str) -> Target:
    """Raises `UsageError` that names what is wrong with the URL."""
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator or not scheme:
        raise _wrong(url, "write the scheme too, such as http://127.0.0.1:8000/")
    if scheme not in _PORTS:
        raise _wrong(url, f"scheme {scheme!r} is not supported; use {', '.join(_PORTS)}")
    if _BARE.search(url):
        raise _wrong(url, "it has characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        raise _wrong(url, str(error)) from error
    if not host:
        raise _wrong(url, "it names no host")
    if parts.username is not None:
        raise _wrong(url, "put credentials into a header: -H 'authorization: ...'")
    if parts.fragment:
        raise _wrong(url, "a fragment (#...) is never sent")
    if port == 0 or (port is None and not _PORTS[scheme]):
        raise _wrong(url, f"{scheme}:// needs a port from 1 to 65535")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if scheme in {"tcp", "tls"}:
        if path not in {"", "/"}:
            raise _wrong(url, f"{scheme}:// has no path")
    elif scheme in {"grpc", "grpcs"}:
        path = path if path not in {"", "/"} else _HEALTH
        if service_and_method(path) is None:
            raise _wrong(url, "write the method as /package.Service/Method, or nothing for the health check")
    elif not path.startswith("/"):
        path = f"/{path}"
    return Target(url, scheme, host, port or _PORTS[scheme], parts.netloc, path)


def _wrong(url: str, reason: str) -> UsageError:
    return UsageError(f"outrider bench: URL {url!r}: {reason}")
