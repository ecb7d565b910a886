"""How a client names the host that it wants again: in a cookie or in a header field. Pure functions of both heads.

Source: envoy.extensions.http.stateful_session.{cookie,header,envelope}.v3. The value is base64 of the host's
address; in a cookie of a message with the address and the Unix time until which it holds (Envoy's cookie.proto).
An envelope puts the address before what the host itself tells the client in that field: `<address>;UV:<value>`,
both in base64.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from msgspec import Struct

from proxy.base.cookies import cookie_suffix, cookie_value
from proxy.base.messages import RequestHead, ResponseHead
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext

_PREFIX: Final = "envoy.extensions.http.stateful_session."
#: Before the host's own value in an envelope.
_OWN_VALUE: Final = "UV:"


def _cookie_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="outrider/session_cookie.proto", package="outrider", syntax="proto3"
    )
    message = file.message_type.add(name="SessionCookie")
    field = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="address", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message.field.add(name="expires", number=2, type=field.TYPE_UINT64, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("outrider.SessionCookie"))


_Cookie: Final = _cookie_class()


class SessionState(Protocol):
    """One way to name a host. `now` is Unix time in seconds."""

    def applies(self, head: RequestHead) -> bool:
        """Whether such requests are part of a session."""

    def wanted(self, head: RequestHead, now: float) -> str:
        """The address that a request names, "" for none. What is not for the host is taken out of the request."""

    def tell(self, head: ResponseHead, address: str, wanted: str, now: float) -> bool:
        """Name the host that has answered, if need be; whether it is another than the request wanted."""


class CookieState(Struct, frozen=True):
    """By cookie. `ttl` in seconds, 0 for a session of the client's; `path` "" for all; `suffix` as it is sent."""

    name: str
    ttl: int
    path: str
    suffix: str

    def applies(self, head: RequestHead) -> bool:
        """See `SessionState`."""
        path = self.path
        if path in {"", "/"}:
            return True
        asked = head.path.partition("?")[0].partition("#")[0]
        return asked == path or asked.startswith(path if path.endswith("/") else path + "/")

    def wanted(self, head: RequestHead, now: float) -> str:
        """See `SessionState`."""
        raw = _decoded(cookie_value(head, self.name))
        try:
            cookie = _Cookie.FromString(raw)
        except DecodeError:
            # As Envoy wrote it once: nothing but the address.
            return raw.decode("latin-1")
        return "" if 0 < cookie.expires < now else str(cookie.address)

    def tell(self, head: ResponseHead, address: str, wanted: str, now: float) -> bool:
        """See `SessionState`."""
        if address == wanted:
            return False
        cookie = _Cookie(address=address, expires=int(now) + self.ttl if self.ttl else 0)
        value = _encoded(cookie.SerializeToString())
        head.headers.add("set-cookie", f'{self.name}="{value}"; {self.suffix}')
        return True


class HeaderState(Struct, frozen=True):
    """By header field."""

    name: str

    def applies(self, head: RequestHead) -> bool:  # noqa: ARG002
        """See `SessionState`."""
        return True

    def wanted(self, head: RequestHead, now: float) -> str:  # noqa: ARG002
        """See `SessionState`."""
        return _decoded(head.headers.get(self.name, "")).decode("latin-1")

    def tell(self, head: ResponseHead, address: str, wanted: str, now: float) -> bool:  # noqa: ARG002
        """See `SessionState`."""
        if address == wanted:
            return False
        head.headers.set(self.name, _encoded(address.encode()))
        return True


class EnvelopeState(Struct, frozen=True):
    """By a header field in which the host has a value of its own."""

    name: str

    def applies(self, head: RequestHead) -> bool:  # noqa: ARG002
        """See `SessionState`."""
        return True

    def wanted(self, head: RequestHead, now: float) -> str:  # noqa: ARG002
        """See `SessionState`: the host gets its own value, and a field without one stays as it is."""
        values = head.headers.values_of(self.name)
        parts = [part for part in values[0].split(";") if part] if values else []
        for part in parts[1:]:
            if part.startswith(_OWN_VALUE):
                value = _decoded(part.removeprefix(_OWN_VALUE)).decode("latin-1")
                if not value:
                    break
                head.headers.set(self.name, value)
                return _decoded(parts[0]).decode("latin-1")
        return ""

    def tell(self, head: ResponseHead, address: str, wanted: str, now: float) -> bool:  # noqa: ARG002
        """See `SessionState`: always, if the host has something to tell."""
        values = head.headers.values_of(self.name)
        if len(values) != 1:
            return False
        own = _encoded(values[0].encode("latin-1"))
        head.headers.set(self.name, f"{_encoded(address.encode())};{_OWN_VALUE}{own}")
        return address != wanted


def compile_session_state(message: Any, path: str, context: CompileContext) -> SessionState | None:
    """The `session_state` of a `StatefulSession`; None, and a problem, if it is none of these."""
    config = unpack_extension(message, path, context)
    if config is None:
        return None
    match config.DESCRIPTOR.full_name.removeprefix(_PREFIX):
        case "cookie.v3.CookieBasedSessionState":
            cookie = config.cookie
            if cookie.ttl.seconds < 0:
                context.problem(f"{path}.typed_config.cookie.ttl", "must not be negative")
            return CookieState(cookie.name, cookie.ttl.seconds, cookie.path, cookie_suffix(cookie))
        case "header.v3.HeaderBasedSessionState":
            return HeaderState(config.name.lower())
        case "envelope.v3.EnvelopeSessionState":
            return EnvelopeState(config.header.name.lower())
        case other:
            context.problem(f"{path}.typed_config", f"{other} is no state of a session")
            return None


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
