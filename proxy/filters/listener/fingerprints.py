"""JA3 and JA4: short names for the way in which a TLS client says hello.

Sources: https://github.com/salesforce/ja3 and https://github.com/FoxIO-LLC/ja4 (technical_details/JA4.md), with
Envoy's reading of both: GREASE values count in no list but JA3's groups.
"""

from __future__ import annotations

from hashlib import md5, sha256
from typing import Final

from proxy.filters.listener.client_hello import ClientHello

_SERVER_NAME: Final = 0
_GROUPS: Final = 10
_POINT_FORMATS: Final = 11
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SUPPORTED_VERSIONS: Final = 43
_VERSIONS: Final = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}
_NO_HASH: Final = "000000000000"


def _grease(value: int) -> bool:
    """RFC 8701: both bytes alike and ending with a."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def _numbers(data: bytes) -> list[int]:
    return [data[i] << 8 | data[i + 1] for i in range(0, len(data) - 1, 2)]


def _extensions(hello: ClientHello) -> dict[int, bytes]:
    """Number to content, in order and without GREASE."""
    data = hello.extensions
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        kind, size = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        if not _grease(kind):
            found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def ja3(hello: ClientHello) -> str:
    """The MD5, in hexadecimal, of version, ciphers, extensions, groups and point formats."""
    extensions = _extensions(hello)
    lists = (
        [cipher for cipher in _numbers(hello.ciphers) if not _grease(cipher)],
        list(extensions),
        _numbers(extensions.get(_GROUPS, b"")[2:]),
        list(extensions.get(_POINT_FORMATS, b"")[1:]),
    )
    text = ",".join([str(hello.version), *("-".join(map(str, one)) for one in lists)])
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def ja4(hello: ClientHello) -> str:
    """`t<version><d or i><ciphers><extensions><alpn>_<hash of ciphers>_<hash of extensions>`."""
    extensions = _extensions(hello)
    ciphers = sorted(cipher for cipher in _numbers(hello.ciphers) if not _grease(cipher))
    start = (
        f"t{_version(hello, extensions)}{'d' if _SERVER_NAME in extensions else 'i'}"
        f"{min(len(ciphers), 99):02d}{min(len(extensions), 99):02d}{_alpn(extensions)}"
    )
    kinds = sorted(set(extensions) - {_SERVER_NAME, _ALPN})
    text = _listed(kinds)
    algorithms = _numbers(extensions.get(_SIGNATURE_ALGORITHMS, b"")[2:])
    if algorithms:
        text += f"_{_listed(algorithms)}"
    return f"{start}_{_hash(_listed(ciphers))}_{_hash(text) if kinds else _NO_HASH}"


def _listed(values: list[int]) -> str:
    return ",".join(f"{value:04x}" for value in values)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else _NO_HASH


def _version(hello: ClientHello, extensions: dict[int, bytes]) -> str:
    offered = [one for one in _numbers(extensions.get(_SUPPORTED_VERSIONS, b"")[1:]) if not _grease(one)]
    return _VERSIONS.get(max(offered, default=hello.version), "00")


def _alpn(extensions: dict[int, bytes]) -> str:
    content = extensions.get(_ALPN, b"")
    name = content[3 : 3 + content[2]] if len(content) > 3 else b""
    if not name:
        return "00"
    ends = bytes((name[0], name[-1]))
    if ends.isalnum():
        return ends.decode("ascii")
    return f"{ends[0] >> 4:x}{ends[1] & 15:x}"
