"""`envoy.filters.http.api_key_auth`: lets requests pass that bring the key of a known client.

Source: envoy.extensions.filters.http.api_key_auth.v3. Keys and places to look for them that a route sets take the
place of the filter's, each on its own. What is forwarded is what the route says, also where it says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar, Final
from urllib.parse import unquote

from msgspec import Struct

from proxy.base.cookies import cookie_pairs, cookie_value
from proxy.base.messages import RequestHead
from proxy.base.regex import wire_text
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

_BEARER: Final = "Bearer "


class ApiKeyAuthStats(StatGroup):
    """`http.<stat_prefix>.api_key_auth.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("allowed", "forbidden", "unauthorized")

    allowed: int
    forbidden: int
    unauthorized: int


class Place(Enum):
    """Where in a request a key may be."""

    HEADER = 0
    QUERY = 1
    COOKIE = 2


class KeySource(Struct, frozen=True):
    """One of `key_sources`."""

    place: Place
    name: str

    def read(self, head: RequestHead) -> str:
        """The key that is there, "" if there is none."""
        match self.place:
            case Place.HEADER:
                lines = head.headers.values_of(self.name)
                return lines[0].removeprefix(_BEARER) if lines else ""
            case Place.QUERY:
                return parameter(head.path, self.name)
            case Place.COOKIE:
                return cookie_value(head, self.name)

    def remove(self, head: RequestHead) -> None:
        """Take out whatever is there."""
        match self.place:
            case Place.HEADER:
                head.headers.remove(self.name)
            case Place.QUERY:
                head.path = without_parameter(head.path, self.name)
            case Place.COOKIE:
                _remove_cookie(head, self.name)


class Forwarding(Struct, frozen=True):
    """What the upstream learns: the client in the field `header`, unless that is ""; the key, unless it `hides`."""

    header: str
    hides: bool


class ApiKeyAuthConfig(Struct, frozen=True):
    """An `ApiKeyAuth` or `ApiKeyAuthPerRoute`; None where nothing is set. No `allowed` clients means all."""

    clients: Mapping[str, str] | None
    sources: tuple[KeySource, ...] | None
    forwarding: Forwarding | None
    allowed: frozenset[str] = frozenset()

    def over(self, other: ApiKeyAuthConfig) -> ApiKeyAuthConfig:
        """This one, with the keys and places that it leaves open taken from `other`."""
        return ApiKeyAuthConfig(
            other.clients if self.clients is None else self.clients,
            other.sources if self.sources is None else self.sources,
            self.forwarding,
            self.allowed,
        )


def parameter(path: str, name: str) -> str:
    """The first parameter of that name in a request target, decoded; "" if there is none."""
    for pair in path.partition("?")[2].split("&"):
        found, _, value = pair.partition("=")
        if _decoded(found) == name:
            return _decoded(value)
    return ""


def without_parameter(path: str, name: str) -> str:
    """A request target without the parameters of that name; the others stay as they came."""
    start, mark, query = path.partition("?")
    kept = [pair for pair in query.split("&") if _decoded(pair.partition("=")[0]) != name]
    return f"{start}{mark}{'&'.join(kept)}" if kept else start


def _decoded(text: str) -> str:
    return unquote(text, "latin-1") if "%" in text else text


def _remove_cookie(head: RequestHead, name: str) -> None:
    pairs = list(cookie_pairs(head))
    if head.headers.remove("cookie"):
        kept = "; ".join(f"{found}={value}" for found, value in pairs if found != name)
        if kept:
            head.headers.set("cookie", kept)


class ApiKeyAuthFilter(HttpFilter):
    """One request."""

    def __init__(self, callbacks: StreamCallbacks, own: ApiKeyAuthConfig, stats: ApiKeyAuthStats) -> None:
        super().__init__(callbacks)
        self._own = own
        self._stats = stats

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        of_route: ApiKeyAuthConfig | None = self.callbacks.route_config(self.name)
        config = self._own if of_route is None else of_route.over(self._own)
        if config.sources is None:
            return self._refuse("missing_key_sources")
        if config.clients is None:
            return self._refuse("missing_credentials")
        key = next((found for source in config.sources if (found := source.read(head))), "")
        if not key:
            return self._refuse("missing_api_key")
        client = config.clients.get(key)
        if client is None:
            return self._refuse("unknown_api_key")
        if config.allowed and client not in config.allowed:
            self._stats.forbidden += 1
            self.callbacks.local_reply(403, "Client is forbidden.", "client_not_allowed")
            return FilterStatus.STOP
        if config.forwarding is not None:
            _forward(head, config.forwarding, client, config.sources)
        self._stats.allowed += 1
        return FilterStatus.CONTINUE

    def _refuse(self, details: str) -> FilterStatus:
        self._stats.unauthorized += 1
        self.callbacks.local_reply(401, "Client authentication failed.", details)
        return FilterStatus.STOP


def _forward(head: RequestHead, forwarding: Forwarding, client: str, sources: tuple[KeySource, ...]) -> None:
    if forwarding.header:
        # A value of the client's own goes, and with it its place, as in Envoy.
        head.headers.remove(forwarding.header)
        head.headers.set(forwarding.header, client)
    if forwarding.hides:
        for source in sources:
            source.remove(head)


def _compile(message: Any, path: str, context: CompileContext) -> ApiKeyAuthConfig:
    clients: dict[str, str] = {}
    for index, credential in enumerate(message.credentials):
        key = wire_text(credential.key)
        if key in clients:
            context.problem(f"{path}.credentials[{index}].key", "Duplicated credential key")
        clients[key] = wire_text(credential.client)
    sources = tuple(
        _source(source, f"{path}.key_sources[{index}]", context)
        for index, source in enumerate(message.key_sources)
    )
    forwarding = None
    if message.HasField("forwarding"):
        forwarding = Forwarding(message.forwarding.header.lower(), message.forwarding.hide_credentials)
    return ApiKeyAuthConfig(clients or None, sources or None, forwarding)


def _compile_route(message: Any, path: str, context: CompileContext) -> ApiKeyAuthConfig:
    of_filter = _compile(message, path, context)
    allowed = frozenset(wire_text(client) for client in message.allowed_clients)
    return ApiKeyAuthConfig(of_filter.clients, of_filter.sources, of_filter.forwarding, allowed)


def _source(message: Any, path: str, context: CompileContext) -> KeySource:
    if message.header:
        return KeySource(Place.HEADER, message.header.lower())
    if message.query:
        return KeySource(Place.QUERY, wire_text(message.query))
    if not message.cookie:
        context.problem(path, "One of 'header'/'query'/'cookie' must be set.")
    return KeySource(Place.COOKIE, message.cookie)


def _create(
    config: ApiKeyAuthConfig, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    stats = services.stats.shared(ApiKeyAuthStats, f"{stat_prefix}api_key_auth.")
    return lambda callbacks: ApiKeyAuthFilter(callbacks, config, stats)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.api_key_auth",
    type_name="envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
