"""ClientHellos to measure, byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GREASE = 0x1A1A
TLS12, TLS13 = 0x0303, 0x0304


def _sized(data: bytes, width: int) -> bytes:
    return len(data).to_bytes(width) + data


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + _sized(content, 2)


def name_list(*names: tuple[int, bytes]) -> bytes:
    """The content of server_name from (type, name) pairs."""
    return _sized(b"".join(bytes([kind]) + _sized(name, 2) for kind, name in names), 2)


def server_name(name: bytes) -> bytes:
    return extension(0, name_list((0, name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, _sized(b"".join(_sized(name, 1) for name in names), 2))


def supported_versions(*versions: int) -> bytes:
    return extension(43, _sized(b"".join(one.to_bytes(2) for one in versions), 1))


def message(
    *extensions: bytes,
    version: int = TLS12,
    ciphers: Sequence[int] = (0x1301, 0xC02F),
    session_id: bytes = b"",
    compression: bytes = b"\0",
    kind: int = 1,
) -> bytes:
    """A ClientHello with these extensions; without any, the block is left out."""
    body = version.to_bytes(2) + bytes(32) + _sized(session_id, 1)
    body += _sized(b"".join(one.to_bytes(2) for one in ciphers), 2) + _sized(compression, 1)
    if extensions:
        body += _sized(b"".join(extensions), 2)
    return bytes([kind]) + _sized(body, 3)


def records(hello: bytes, sizes: Iterable[int] = (), version: int = 0x0301) -> bytes:
    """A handshake message in records of these sizes; what is left goes into a last one."""
    parts = []
    for size in sizes:
        parts.append(hello[:size])
        hello = hello[size:]
    if hello:
        parts.append(hello)
    return b"".join(b"\x16" + version.to_bytes(2) + _sized(part, 2) for part in parts)


def ssl2(
    suites: bytes = b"\0\0\x2f\0\xc0\x2f",
    session: bytes = b"",
    challenge: bytes = bytes(range(16)),
    version: int = 0x0301,
) -> bytes:
    """A ClientHello in the form of SSL 2 (RFC 5246, E.2)."""
    sizes = b"".join(len(one).to_bytes(2) for one in (suites, session, challenge))
    body = b"\1" + version.to_bytes(2) + sizes + suites + session + challenge
    return (0x8000 | len(body)).to_bytes(2) + body


#: Like a browser's: GREASE in every list, an encrypted hello, two application protocols.
BROWSER = message(
    extension(GREASE, b""),
    server_name(b"Www.Example.com"),
    extension(23, b""),
    extension(65281, b"\0"),
    extension(10, _sized(b"\x2a\x2a\0\x1d\0\x17", 2)),
    extension(11, b"\1\0"),
    extension(13, _sized(b"\x04\x03\x08\x04", 2)),
    alpn(b"h2", b"http/1.1"),
    supported_versions(0x2A2A, TLS13, TLS12),
    extension(51, _sized(b"\0\x1d" + _sized(bytes(32), 2), 2)),
    extension(0xFE0D, b"\0\0\1\0\1\x2a" + _sized(bytes(32), 2) + _sized(bytes(144), 2)),
    extension(0x3A3A, b"\0"),
    ciphers=(0x0A0A, 0x1301, 0x1302, 0xC02F),
    session_id=bytes(32),
)
