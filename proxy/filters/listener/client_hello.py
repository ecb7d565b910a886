"""Reads a TLS ClientHello out of the first bytes of a connection, however they are cut.

Accepted is what BoringSSL accepts up to the point where it knows the server name, because that is where Envoy's
tls_inspector stops: before versions, compression methods and most extensions are looked at.
Sources: RFC 8446 (4.1.2, 4.2, 5.1), RFC 6066 (3), RFC 7301 (3.1).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

#: The longest ClientHello message, without the four bytes of its header.
LONGEST: Final = 16384

#: What `HelloReader.feed` gives besides a number of bytes.
FOUND: Final = 0
NOT_TLS: Final = -1

_LONGEST_PLAIN: Final = 16384
_LONGEST_RECORD: Final = 16384 + 320  # with what encryption may add
_MOST_EMPTY_RECORDS: Final = 32
_MOST_WARNINGS: Final = 4
_ALERT: Final = 21
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1

_SERVER_NAME: Final = 0
_ALPN: Final = 16
_LONGEST_NAME: Final = 255

#: Bytes of a hello in the form of SSL 2 without the two of its length, as BoringSSL has them.
_SHORTEST_OLD: Final = 3
_LONGEST_OLD: Final = 4096

_FOUR: Final = Struct(">HHHH").unpack_from
_TWO: Final = Struct(">HH").unpack_from


class ClientHello:
    """What a ClientHello says; `protocols` in the client's order, `version` in its oldest field.

    `server_name` is in lower case; "" if it named none. `ciphers` and `extensions` are the raw lists.
    """

    __slots__ = ("ciphers", "extensions", "protocols", "server_name", "version")

    def __init__(
        self, server_name: str, protocols: tuple[str, ...], version: int, ciphers: bytes, extensions: bytes
    ) -> None:
        self.server_name = server_name
        self.protocols = protocols
        self.version = version
        self.ciphers = ciphers
        self.extensions = extensions


class HelloReader:
    """Takes records apart until the ClientHello is complete.

    `hello` is set once `feed` has given FOUND. `read` is how many bytes have been understood.
    """

    __slots__ = ("_at", "_empty", "_message", "_warnings", "hello", "read")

    def __init__(self) -> None:
        self.hello: ClientHello | None = None
        self.read = 0
        self._at = 0  # of the next record
        self._message: bytearray | None = None  # of a hello in several records
        self._empty = 0
        self._warnings = 0

    def feed(self, data: bytes, end: int) -> int:
        """Look at `data[:end]`, all bytes so far: FOUND, NOT_TLS, or how many are needed in total."""
        at = self._at
        while True:
            start = at + 5
            if end < start:
                break
            if at == 0 and data[0] & 0x80 and data[2] == _CLIENT_HELLO and data[3] == 3:
                return self._old_hello(data, end)
            size = data[at + 3] << 8 | data[at + 4]
            if data[at + 1] != 3 or size > _LONGEST_RECORD:
                self.read = start
                return NOT_TLS
            at = start + size
            if end < at:
                self._at = start - 5
                self.read = start
                return at
            self.read = at
            verdict = self._record(data, start, size)
            if verdict is not None:
                return verdict
        self._at = at
        return start

    def _old_hello(self, data: bytes, end: int) -> int:
        """One in the form of SSL 2 that offers a later version (RFC 5246, E.2); it is a record of its own."""
        size = (data[0] & 0x7F) << 8 | data[1]
        if not _SHORTEST_OLD <= size <= _LONGEST_OLD:
            self.read = 5
            return NOT_TLS
        if end < 2 + size:
            self.read = 5
            return 2 + size
        self.read = 2 + size
        self.hello = _parse_old_hello(data[3 : 2 + size])
        return NOT_TLS if self.hello is None else FOUND

    def _record(self, data: bytes, start: int, size: int) -> int | None:
        """None if further records are needed."""
        kind = data[start - 5]
        if kind != _HANDSHAKE or not 0 < size <= _LONGEST_PLAIN:
            return self._odd_record(data, start, size, kind)
        message = self._message
        if message is None:
            if size >= 4:
                length = int.from_bytes(data[start + 1 : start + 4])
                if length > LONGEST:
                    return NOT_TLS
                if length + 4 <= size:
                    return self._finish(data, start, length)
            self._message = bytearray(data[start : start + size])
            return None
        message += data[start : start + size]
        if len(message) < 4:
            return None
        length = int.from_bytes(message[1:4])
        if length > LONGEST:
            return NOT_TLS
        if length + 4 > len(message):
            return None
        return self._finish(bytes(message), 0, length)

    def _odd_record(self, data: bytes, start: int, size: int, kind: int) -> int | None:
        if size == 0:
            self._empty += 1
            return NOT_TLS if self._empty > _MOST_EMPTY_RECORDS or kind != _HANDSHAKE else None
        if kind == _ALERT and size == 2 and data[start] == 1 and data[start + 1] != 0:
            self._warnings += 1
            return NOT_TLS if self._warnings > _MOST_WARNINGS else None
        return NOT_TLS

    def _finish(self, data: bytes, start: int, length: int) -> int:
        if data[start] == _CLIENT_HELLO:
            self.hello = parse_client_hello(data, start + 4, start + 4 + length)
        return NOT_TLS if self.hello is None else FOUND


def parse_client_hello(data: bytes, at: int, end: int) -> ClientHello | None:
    """The body of a ClientHello in `data[at:end]`; None if a TLS server would refuse it unread."""
    at += 34  # version and random
    if at >= end or data[at] > 32:
        return None
    version = data[at - 34] << 8 | data[at - 33]
    at += 1 + data[at]
    if at + 2 > end:
        return None
    size = data[at] << 8 | data[at + 1]
    at += 2
    ciphers = data[at : at + size]
    at += size
    if at >= end or size < 2 or size & 1:
        return None
    size = data[at]  # of the compression methods
    at += 1 + size
    if at > end or not size:
        return None
    if at == end:
        return ClientHello("", (), version, ciphers, b"")
    if at + 2 > end or data[at] << 8 | data[at + 1] != end - at - 2:
        return None
    return _parse_extensions(data, at + 2, end, version, ciphers)


def _parse_old_hello(body: bytes) -> ClientHello | None:
    """What follows the type of a hello in the form of SSL 2."""
    if len(body) < 8:
        return None
    version, *sizes = _FOUR(body)
    if 8 + sum(sizes) != len(body) or sizes[0] % 3:
        return None
    suites = body[8 : 8 + sizes[0]]
    # Those of SSL 2 itself do not begin with a zero.
    ciphers = b"".join(suites[at + 1 : at + 3] for at in range(0, len(suites), 3) if not suites[at])
    return ClientHello("", (), version, ciphers, b"") if ciphers else None


def _parse_extensions(data: bytes, at: int, end: int, version: int, ciphers: bytes) -> ClientHello | None:
    first = at
    seen: set[int] = set()
    count = 0
    server_name = ""
    protocols: tuple[str, ...] = ()
    two = _TWO
    while at < end:
        if at + 4 > end:
            return None
        kind, size = two(data, at)
        at += 4
        start = at
        at += size
        if at > end:
            return None
        count += 1
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _server_name(data, start, at)
            if name is None:
                return None
            server_name = name
        elif kind == _ALPN:
            protocols = _protocols(data, start, at)
    if len(seen) != count:
        return None  # one extension twice
    return ClientHello(server_name, protocols, version, ciphers, data[first:end])


def _server_name(data: bytes, at: int, end: int) -> str | None:
    """The one host name of a server_name extension; None if it is anything else."""
    size = end - at - 5
    if (
        not 0 < size <= _LONGEST_NAME
        or data[at] << 8 | data[at + 1] != size + 3
        or data[at + 2]
        or data[at + 3] << 8 | data[at + 4] != size
    ):
        return None
    name = data[at + 5 : end]
    return None if 0 in name else name.lower().decode("latin-1")


def _protocols(data: bytes, at: int, end: int) -> tuple[str, ...]:
    """The names of an ALPN extension; none if it is malformed, which is left to the handshake to notice."""
    if end - at < 4 or data[at] << 8 | data[at + 1] != end - at - 2:
        return ()
    at += 2
    names: list[str] = []
    while at < end:
        start = at + 1
        at = start + data[at]
        if at > end or at == start:
            return ()
        names.append(data[start:at].decode("latin-1"))
    return tuple(names)
