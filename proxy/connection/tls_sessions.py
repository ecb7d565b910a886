"""Resumption of the sessions of TLS clients, in any worker.

Envoy's workers share one context; ours have one each. So that a ticket of one worker opens in all of them, its key
is drawn from a secret that is as old as the process that workers are forked from, unless the configuration has
keys. Keys of our own are changed every day, as a key that leaks opens whatever its tickets protected.

Sessions without tickets (TLS 1.2 session ids) are kept by the worker that made them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import time
from typing import Any, Final

from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.config.durations import seconds
from proxy.connection import openssl
from proxy.connection.tls_object import TlsContext

_SECRET: Final = os.urandom(32)
#: Tickets after a handshake of TLS 1.3. OpenSSL gives two, and each costs 7 % of the handshake; one will do, as a
#: handshake that resumes a session brings the next.
_TICKETS: Final = 1
#: Seconds until a key of our own is replaced (BoringSSL takes two days, and keeps the former one as long).
_KEY_LIFE: Final = 86400.0
_FIELDS: Final = (
    "session_ticket_keys",
    "session_ticket_keys_sds_secret_config",
    "session_timeout",
    "disable_stateful_session_resumption",
)


class Sessions:
    """How the contexts of one `DownstreamTlsContext` resume sessions.

    `identity` tells apart contexts whose sessions must not be mixed: a client that passed the checks of one has not
    passed those of the other.
    """

    def __init__(self, message: Any, path: str, ctx: CompileContext) -> None:
        self._timeout = int(seconds(message, "session_timeout", 0.0))
        self._stateless = not message.disable_stateless_session_resumption
        self._stateful = not message.disable_stateful_session_resumption
        self._identity = _identity(message)
        self._keys = read_ticket_keys(message.session_ticket_keys, f"{path}.session_ticket_keys", ctx)
        self._contexts: list[TlsContext] = []
        self._renew_at = 0.0
        if not openssl.AVAILABLE:
            for field, _ in message.ListFields():
                if field.name in _FIELDS:
                    ctx.problem(f"{path}.{field.name}", openssl.UNAVAILABLE)

    def apply(self, context: TlsContext) -> None:
        """Set up one of the contexts."""
        if self._stateless:
            context.num_tickets = _TICKETS
        else:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        if not openssl.AVAILABLE:
            return
        if not self._stateful:
            openssl.turn_off_session_cache(context)
        if self._timeout:
            openssl.set_session_timeout(context, self._timeout)
        openssl.set_session_id_context(context, self._identity)
        if not self._stateless:
            return
        if self._keys:
            openssl.set_ticket_keys(context, self._keys)
        else:
            self._contexts.append(context)

    def renew_keys(self) -> None:
        """Replace a key of our own that has become old; to be called before each handshake."""
        if not self._contexts or (now := time.time()) < self._renew_at:
            return
        day = now // _KEY_LIFE
        self._renew_at = (day + 1) * _KEY_LIFE
        key = b""
        for part in (b"a", b"b", b"c"):
            key += hmac.digest(_SECRET, part + b"%d" % day + self._identity, "sha256")
        for context in self._contexts:
            openssl.set_ticket_keys(context, (key[: openssl.TICKET_KEY_BYTES],))


def read_ticket_keys(message: Any, path: str, ctx: CompileContext) -> tuple[bytes, ...]:
    """The keys of a `TlsSessionTicketKeys`; problems go to `ctx`."""
    keys = []
    for i, source in enumerate(message.keys):
        problems = len(ctx.problems)
        at = f"{path}.keys[{i}]"
        key = read_data_source(source, at, ctx)
        if len(ctx.problems) > problems:
            continue
        if len(key) != openssl.TICKET_KEY_BYTES:
            ctx.problem(
                at,
                f"Incorrect TLS session ticket key length. Length {len(key)}, "
                f"expected length {openssl.TICKET_KEY_BYTES}.",
            )
        keys.append(key)
    return tuple(keys)


def _identity(message: Any) -> bytes:
    """Equal for contexts that ask the same of clients and show the same certificates."""
    part = type(message)()
    part.CopyFrom(message)
    for field in _FIELDS:
        part.ClearField(field)
    for certificate in part.common_tls_context.tls_certificates:
        certificate.ClearField("private_key")
        certificate.ClearField("password")
    return hashlib.sha256(part.SerializeToString(deterministic=True)).digest()
