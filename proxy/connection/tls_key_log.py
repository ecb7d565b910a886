"""`TlsKeyLog`: secrets of TLS connections in a file, of all connections of a context or those of some addresses."""

from __future__ import annotations

import os
import ssl
import weakref
from typing import Any, Final

from msgspec import Struct

from proxy.base.address import Address
from proxy.base.matchers import CidrRanges, compile_cidr_ranges
from proxy.config.context import CompileContext
from proxy.connection import openssl
from proxy.connection.tls_object import TlsContext

_MODE: Final = 0o600


class KeyLogRanges(Struct, frozen=True):
    """Whose secrets are written; None stands for everybody's."""

    local: CidrRanges | None
    remote: CidrRanges | None

    def include(self, local: Address | None, remote: Address | None) -> bool:
        """Whether a connection is to be written of."""
        return _in(self.local, local) and _in(self.remote, remote)


def apply_key_log(context: TlsContext, message: Any, path: str, ctx: CompileContext) -> None:
    """Set up a context by a `TlsKeyLog`; problems go to `ctx`."""
    ranged = bool(message.local_address_range or message.remote_address_range)
    if ranged and not openssl.AVAILABLE:
        ctx.problem(path, f"ranges of addresses: {openssl.UNAVAILABLE}")
        return
    try:
        if not ranged:
            context.keylog_filename = message.path
            return
        file = os.open(message.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        ctx.problem(f"{path}.path", f"cannot open {message.path!r}: {error.strerror}")
        return
    weakref.finalize(context, os.close, file)
    openssl.set_key_log(context, lambda line: os.write(file, line + b"\n"))
    context.key_log_ranges = KeyLogRanges(
        _ranges(message.local_address_range, f"{path}.local_address_range", ctx),
        _ranges(message.remote_address_range, f"{path}.remote_address_range", ctx),
    )


class RangedContext:
    """A client's context for a connection between two addresses."""

    __slots__ = ("_context", "_silent")

    def __init__(self, context: Any, local: Address | None, remote: Address | None) -> None:
        self._context = context
        self._silent = not context.key_log_ranges.include(local, remote)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        made: ssl.SSLObject = self._context.wrap_bio(*args, **options)
        if self._silent:
            openssl.keep_secrets(made)
        return made


def _ranges(messages: Any, path: str, ctx: CompileContext) -> CidrRanges | None:
    return compile_cidr_ranges(messages, path, ctx) if messages else None


def _in(ranges: CidrRanges | None, address: Address | None) -> bool:
    return ranges is None or (address is not None and address.ip in ranges)
