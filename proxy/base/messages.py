"""The heads of HTTP messages, common to all HTTP versions.

Pseudo-fields (`:method`, `:path`, `:authority`, `:scheme`, `:status`) are attributes, not map entries; for
config that names them like any header, `head.field(":path")` reads both kinds.
"""

from __future__ import annotations

from proxy.base.headers import HeaderMap


class RequestHead:
    """Method, target and fields of a request.

    `path` is the request target in origin form with its query (`/a?b=c`), `*` or, for CONNECT, "".
    `authority` is the Host field or the authority of an absolute target, "" if neither came.
    `scheme` is "http" or "https". `protocol` is "HTTP/1.0", "HTTP/1.1" or "HTTP/2".
    `host` never appears in `headers`.
    """

    __slots__ = ("authority", "headers", "method", "path", "protocol", "scheme")

    def __init__(
        self,
        method: str,
        path: str,
        authority: str,
        headers: HeaderMap,
        scheme: str = "http",
        protocol: str = "HTTP/1.1",
    ) -> None:
        self.method = method
        self.path = path
        self.authority = authority
        self.headers = headers
        self.scheme = scheme
        self.protocol = protocol

    def field(self, name: str) -> str | None:
        """The (joined) value of a header or pseudo-header by lower-case name; `host` is `:authority`."""
        value = self.headers.get(name)
        if value is not None:
            return value
        if name == ":path":
            return self.path or None
        if name == ":method":
            return self.method
        if name in {":authority", "host"}:
            return self.authority or None
        if name == ":scheme":
            return self.scheme
        return None

    def copy(self) -> RequestHead:
        """A copy whose fields can be changed without touching this one."""
        headers = self.headers.copy()
        return RequestHead(self.method, self.path, self.authority, headers, self.scheme, self.protocol)

    def origin(self) -> str:
        """What the URL of the request begins with, such as "http://example.com"."""
        return f"{self.scheme}://{self.authority}"

    def __repr__(self) -> str:
        return f"<{self.method} {self.authority}{self.path} {self.protocol} {dict(self.headers)}>"


class ResponseHead:
    """Status (three digits as int) and fields of a response."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: HeaderMap) -> None:
        self.status = status
        self.headers = headers

    def field(self, name: str) -> str | None:
        """The (joined) value of a header by lower-case name, or `:status` as text."""
        value = self.headers.get(name)
        if value is None and name == ":status":
            return str(self.status)
        return value

    def copy(self) -> ResponseHead:
        """A copy whose fields can be changed without touching this one."""
        return ResponseHead(self.status, self.headers.copy())

    def __repr__(self) -> str:
        return f"<{self.status} {dict(self.headers)}>"
