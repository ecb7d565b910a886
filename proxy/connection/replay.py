"""Gives a protocol bytes that somebody else has read."""

from __future__ import annotations

import asyncio
from typing import Any


def replay(transport: asyncio.Transport, data: bytes) -> None:
    """Let the protocol of `transport` take `data` as if it came from the line, until the transport is closed."""
    protocol: Any = transport.get_protocol()
    get_buffer = getattr(protocol, "get_buffer", None)
    if get_buffer is None:
        protocol.data_received(data)
        return
    while data and not transport.is_closing():
        buffer = get_buffer(len(data))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
