"""TLS connections whose halves end one by one, as those of plain TCP do and those of the event loops do not.

The loops' TLS takes the peer's close_notify, or the end of its bytes, for the end of the connection, and has no
`write_eof`. Here the TLS object keeps the peer's end to itself and tells the protocol, as a plain transport would
(`eof_received`), and the alert that ends our half goes the way of the bytes before it.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Any, Final, cast

from proxy.connection import openssl
from proxy.connection.half_close import END
from proxy.connection.tls_object import CheckedSslObject, ssl_protocol_class

_SHUTDOWN_TIMEOUT: Final = 1.0


class HalfClosingSslObject(CheckedSslObject):
    """An `SSLObject` that reports nothing to read where the peer has said its last."""

    #: Hears of the peer's end; it may be called while bytes before that end are not delivered yet.
    half_close: HalfClose | None = None
    #: The peer's bytes have ended, so that no answer to our end will come.
    cut = False

    def read(self, *args: Any) -> Any:
        """As the standard library's, but the end looks as if more were needed."""
        try:
            got = super().read(*args)
        except ssl.SSLZeroReturnError:  # what the standard library says if our half has ended before
            got = b""
        if got:
            return got
        if self.half_close is not None:
            self.half_close.end()
        raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the peer has finished")

    def write(self, data: Any) -> int:
        """As the standard library's; see `proxy.connection.half_close`."""
        if data is END:
            openssl.send_close_notify(self)
            return len(END)
        return super().write(data)

    def unwrap(self) -> None:
        """As the standard library's."""
        if self.cut:
            openssl.send_close_notify(self)
        else:
            super().unwrap()


class HalfClose:
    """Tells the protocol of a connection that the peer has finished; `transport` is the one of plain bytes."""

    __slots__ = ("_ended", "_loop", "ssl_object", "transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended = False
        self.ssl_object: HalfClosingSslObject | None = None
        self.transport: asyncio.Transport | None = None

    def wrap(self, context: ssl.SSLContext, *args: Any, **options: Any) -> HalfClosingSslObject:
        """`wrap_bio` of a `TlsContext` or what stands for one."""
        options["half_closes"] = True
        made = cast("HalfClosingSslObject", context.wrap_bio(*args, **options))
        made.half_close = self
        self.ssl_object = made
        return made

    def end(self) -> None:
        """The peer has finished; what it said before is delivered in this turn of the loop."""
        if not self._ended:
            self._ended = True
            self._loop.call_soon(self._tell)

    def cut(self) -> bool:
        """The peer's bytes have ended; whether that leaves the connection as it is."""
        if self.transport is None or self.ssl_object is None:
            return False
        self.ssl_object.cut = True
        self.end()
        return True

    def _tell(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        protocol = cast("asyncio.Protocol", transport.get_protocol())
        if not protocol.eof_received():
            transport.close()


class ClientHandshake(asyncio.Protocol):
    """What the loop's TLS takes for context and protocol until the handshake is done."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, protocol: asyncio.Protocol
    ) -> None:
        self.half_close = HalfClose(loop)
        self._context = context
        self._protocol = protocol

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        return self.half_close.wrap(self._context, *args, **options)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand over to the protocol."""
        self.half_close.transport = secured = cast("asyncio.Transport", transport)
        secured.set_protocol(self._protocol)
        self._protocol.connection_made(secured)


async def connect_half_closing(
    loop: asyncio.AbstractEventLoop,
    sock: Any,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    server_name: str | None,
    handshake_timeout: float,
) -> None:
    """As `loop.create_connection` over a connected socket; `protocol` can end its half, and hears of the peer's."""
    waiter = loop.create_future()
    handshake = ClientHandshake(loop, context, protocol)
    secured = half_closing_protocol_class(loop)(
        loop, handshake, handshake, waiter, False, server_name, True, handshake_timeout, _SHUTDOWN_TIMEOUT
    )
    secured.half_close = handshake.half_close
    transport, _ = await loop.create_connection(lambda: secured, sock=sock)
    try:
        await waiter
    except BaseException:
        transport.abort()
        raise


def half_closing_protocol_class(loop: asyncio.AbstractEventLoop) -> Any:
    """The loop's protocol that carries TLS, with a `half_close` that hears of the end of the peer's bytes."""
    return _half_closing(ssl_protocol_class(loop))


@functools.cache
def _half_closing(base: Any) -> Any:
    def eof_received(self: Any) -> bool | None:
        if self.half_close.cut():
            return True
        result: bool | None = base.eof_received(self)
        return result

    return type("HalfClosingSslProtocol", (base,), {"eof_received": eof_received})


def half_closing_class(whole: type[CheckedSslObject]) -> type[CheckedSslObject]:
    """The class of objects like those of `whole` that are `HalfClosingSslObject`s."""
    return type("HalfClosing", (HalfClosingSslObject, whole), {})
