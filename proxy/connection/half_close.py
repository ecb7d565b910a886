"""Ending our half of a connection while the peer's goes on, over TLS too; see `tls_half_close`."""

from __future__ import annotations

import asyncio
from typing import Final

#: Written to a transport of TLS, this very object is the end of our half.
END: Final = bytes(bytearray(1))


def can_finish(transport: asyncio.WriteTransport) -> bool:
    """Whether our half of a connection can end before the peer's: see `finish`."""
    return transport.can_write_eof() or hasattr(transport.get_extra_info("ssl_object"), "half_close")


def finish(transport: asyncio.WriteTransport) -> None:
    """End our half of a connection that `can_finish`; what was written before goes out before."""
    if transport.can_write_eof():
        transport.write_eof()
    else:
        transport.write(END)
