"""What the tables of malformed requests are made of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: A table gives (name, bytes for one connection).
Named = Iterator[tuple[str, bytes]]
_FILE = Path(__file__).with_name("values.txt")


def spellings(section: str) -> list[Any]:
    """The values of a section of values.txt."""
    block = _FILE.read_text().partition(f"[{section}]\n")[2].partition("\n[")[0]
    return [ast.literal_eval(line) for line in block.splitlines() if line]


def get(*lines: bytes, host: bytes = b"Host: a\r\n", start: bytes = b"GET / HTTP/1.1") -> bytes:
    """A request without body: `lines` are field lines, without their line ends."""
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", start: bytes = b"POST / HTTP/1.1") -> bytes:
    """A request with whatever body."""
    return get(*lines, start=start) + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    """A request that declares a chunked body."""
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


NEXT = get(b"X-Second: 1")


NEXT = get(b"X-Second: 1")
