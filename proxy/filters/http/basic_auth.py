"""`envoy.filters.http.basic_auth`: lets requests pass that bring a user's name and password (RFC 7617).

Source: envoy.extensions.filters.http.basic_auth.v3. A route may have other users; the fields are the filter's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

_SCHEME: Final = "Basic "
_SHA: Final = b"{SHA}"
#: Characters of a SHA-1 digest in base64.
_HASH_LENGTH: Final = 28
#: How much of a path the client is shown again; Envoy's limit.
_MAX_REALM_PATH: Final = 256
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+")
#: Compared with where there is no such user, so that the time tells nothing of who there is.
_NOBODY: Final = b"=" * _HASH_LENGTH

Users = Mapping[bytes, bytes]


class BasicAuthStats(StatGroup):
    """`http.<stat_prefix>.basic_auth.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("allowed", "denied")

    allowed: int
    denied: int


class BasicAuthConfig(Struct, frozen=True):
    """`users` has the SHA-1 digest, in base64, of each user's password. `forwarded_as` is "" for not at all."""

    users: Users
    forwarded_as: str
    field: str


class BasicAuthRoute(Struct, frozen=True):
    """Who may use a route."""

    users: Users


def compile_users(source: Any, path: str, context: CompileContext) -> Users:
    """The users of an htpasswd file, as bytes: what an operator wrote is compared with what a client sent."""
    users: dict[bytes, bytes] = {}
    data = read_data_source(source, path, context)
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line or line.startswith(b"#"):
            continue
        name, colon, secret = line.partition(b":")
        why = ""
        if not colon:
            why = "invalid htpasswd format, username:password is expected"
        elif not name or not secret:
            why = "empty user name or password"
        elif name in users:
            why = "duplicate users"
        elif not secret.startswith(_SHA):
            why = "unsupported htpasswd format: please use {SHA}"
        elif len(secret) != len(_SHA) + _HASH_LENGTH:
            why = "invalid htpasswd format, invalid SHA hash length"
        if why:
            context.problem(path, f"basic auth: {why} (line {number})")
        users[name] = secret.removeprefix(_SHA)
    return users


def decode_credentials(text: str) -> tuple[bytes, bytes] | None:
    """Name and password of what follows the scheme; None if it is no base64, or has no colon.

    Padding may be missing. Bits that belong to no byte must be zero.
    """
    digits = text.removesuffix("=").removesuffix("=")
    if len(digits) % 4 == 1 or _BASE64.fullmatch(digits) is None:
        return None
    decoded = base64.b64decode(digits + "=" * (-len(digits) % 4))
    if base64.b64encode(decoded).rstrip(b"=") != digits.encode("ascii"):
        return None
    name, colon, password = decoded.partition(b":")
    return (name, password) if colon else None


def knows(users: Users, name: bytes, password: bytes) -> bool:
    """Whether there is a user of that name with that password."""
    # SHA-1 is what the format says.
    digest = base64.b64encode(hashlib.sha1(password, usedforsecurity=False).digest())
    return hmac.compare_digest(digest, users.get(name, _NOBODY))


def challenge(head: RequestHead) -> str:
    """The `www-authenticate` of a refusal: the realm is the URL that was asked for."""
    path = head.headers.get("x-envoy-original-path", head.path)[:_MAX_REALM_PATH]
    uri = f"{head.scheme}://{head.authority}{path}".replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{uri}"'


class BasicAuthFilter(HttpFilter):
    """One request."""

    def __init__(self, callbacks: StreamCallbacks, config: BasicAuthConfig, stats: BasicAuthStats) -> None:
        super().__init__(callbacks)
        self._config = config
        self._stats = stats

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        config = self._config
        of_route: BasicAuthRoute | None = self.callbacks.route_config(self.name)
        lines = head.headers.values_of(config.field)
        if not lines:
            return self._refuse(head, "Missing username and password.", "no_credential_for_basic_auth")
        if not lines[0].startswith(_SCHEME):
            return self._refuse(
                head, "Expected 'Basic' authentication scheme.", "invalid_scheme_for_basic_auth"
            )
        credentials = decode_credentials(lines[0][len(_SCHEME) :])
        if credentials is None:
            return self._refuse(head, "Invalid basic credential format.", "invalid_format_for_basic_auth")
        users = config.users if of_route is None else of_route.users
        if not knows(users, *credentials):
            return self._refuse(
                head, "Invalid username/password combination.", "invalid_credential_for_basic_auth"
            )
        if config.forwarded_as:
            # A value of the client's own goes, and with it its place, as in Envoy.
            head.headers.remove(config.forwarded_as)
            head.headers.set(config.forwarded_as, credentials[0].decode("latin-1"))
        self._stats.allowed += 1
        return FilterStatus.CONTINUE

    def _refuse(self, head: RequestHead, why: str, details: str) -> FilterStatus:
        self._stats.denied += 1
        told = challenge(head)

        def fill(headers: HeaderMap) -> None:
            headers.set("www-authenticate", told)

        self.callbacks.local_reply(401, f"User authentication failed. {why}", details, modify=fill)
        return FilterStatus.STOP


def _compile(message: Any, path: str, context: CompileContext) -> BasicAuthConfig:
    return BasicAuthConfig(
        compile_users(message.users, f"{path}.users", context),
        message.forward_username_header.lower(),
        message.authentication_header.lower() or "authorization",
    )


def _compile_route(message: Any, path: str, context: CompileContext) -> BasicAuthRoute:
    return BasicAuthRoute(compile_users(message.users, f"{path}.users", context))


def _create(
    config: BasicAuthConfig, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    stats = services.stats.shared(BasicAuthStats, f"{stat_prefix}basic_auth.")
    return lambda callbacks: BasicAuthFilter(callbacks, config, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.basic_auth",
    type_name="envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
