"""`envoy.filters.http.cors`: answers preflight requests and marks responses to allowed origins.

Source: envoy.extensions.filters.http.cors.v3. The filter does nothing by itself: policies come from
`typed_per_filter_config`, or from the older `cors` fields of virtual hosts and routes. Each setting is taken
from the most specific policy that has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.matchers import compile_runtime_fraction, compile_string_matcher
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

NAME: Final = "envoy.filters.http.cors"
"""What the older `cors` fields are filed under, whatever the filter is called."""

_Draw = Callable[[], int]
_FLAGS: Final = ("allow_credentials", "allow_private_network_access", "forward_not_matching_preflights")


class CorsStats(StatGroup):
    """`http.<stat_prefix>.cors.*`."""

    COUNTERS = ("origin_invalid", "origin_valid")

    origin_invalid: int
    origin_valid: int


class CorsPolicy(Struct, frozen=True):
    """One compiled `CorsPolicy`. `flags` has only what the policy sets; "" leaves a text to other policies."""

    origins: tuple[Callable[[str], bool], ...]
    allow_methods: str
    allow_headers: str
    expose_headers: str
    max_age: str
    flags: dict[str, bool]
    enabled: Callable[[_Draw], bool]
    shadow: Callable[[_Draw], bool]


def compile_policy(message: Any, path: str, context: CompileContext) -> CorsPolicy:
    """A `CorsPolicy`, of the filter or of config.route.v3: both have the same fields."""
    return CorsPolicy(
        tuple(
            compile_string_matcher(origin, f"{path}.allow_origin_string_match[{index}]", context)
            for index, origin in enumerate(message.allow_origin_string_match)
        ),
        message.allow_methods,
        message.allow_headers,
        message.expose_headers,
        message.max_age,
        {name: bool(getattr(message, name).value) for name in _FLAGS if message.HasField(name)},
        compile_runtime_fraction(message.filter_enabled, context.runtime)
        if message.HasField("filter_enabled")
        else lambda _draw: True,
        compile_runtime_fraction(message.shadow_enabled, context.runtime)
        if message.HasField("shadow_enabled")
        else lambda _draw: False,
    )


class CorsFilter(HttpFilter):
    """One request. `_origin` is set when the origin is allowed and the response is to say so."""

    def __init__(self, callbacks: StreamCallbacks, stats: CorsStats, draw: _Draw) -> None:
        super().__init__(callbacks)
        self._stats = stats
        self._draw = draw
        self._policies: tuple[CorsPolicy, ...] = ()
        self._origin = ""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        route = self.callbacks.route
        if route is None or not route.forwards:
            return FilterStatus.CONTINUE
        policies: tuple[CorsPolicy, ...] = self.callbacks.route_configs(self.name)
        if not policies and self.name != NAME:
            policies = self.callbacks.route_configs(NAME)
        if not policies:
            return FilterStatus.CONTINUE
        self._policies = policies
        enabled = policies[0].enabled(self._draw)
        if not enabled and not policies[0].shadow(self._draw):
            return FilterStatus.CONTINUE
        origin = head.headers.get("origin")
        if not origin:
            return FilterStatus.CONTINUE
        allowed = any(test("*") or test(origin) for test in self._origins())
        if allowed:
            self._stats.origin_valid += 1
        else:
            self._stats.origin_invalid += 1
        if not enabled:
            return FilterStatus.CONTINUE
        if allowed:
            self._origin = origin
        asked = head.headers.get("access-control-request-method")
        if head.method != "OPTIONS" or not asked:
            return FilterStatus.CONTINUE
        if not allowed and self._flag("forward_not_matching_preflights", default=True):
            return FilterStatus.CONTINUE
        fields = self._preflight_fields(head.headers, asked)

        def fill(headers: HeaderMap) -> None:
            for name, value in fields:
                headers.set(name, value)

        self.callbacks.local_reply(200, "", "cors_response", modify=fill)
        return FilterStatus.STOP

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._origin:
            headers = head.headers
            headers.set("access-control-allow-origin", self._origin)
            if self._flag("allow_credentials"):
                headers.set("access-control-allow-credentials", "true")
            exposed = self._text("expose_headers")
            if exposed:
                headers.set("access-control-expose-headers", exposed)
        return FilterStatus.CONTINUE

    def _preflight_fields(self, request: HeaderMap, method: str) -> list[tuple[str, str]]:
        fields = []
        if self._origin:
            fields.append(("access-control-allow-origin", self._origin))
        if self._flag("allow_credentials"):
            fields.append(("access-control-allow-credentials", "true"))
        methods, headers = self._text("allow_methods"), self._text("allow_headers")
        if methods:
            fields.append(("access-control-allow-methods", method if methods == "*" else methods))
        if headers:
            asked = request.get("access-control-request-headers", "")
            fields.append(("access-control-allow-headers", asked if headers == "*" else headers))
        age = self._text("max_age")
        if age:
            fields.append(("access-control-max-age", age))
        private = request.get("access-control-request-private-network") == "true"
        if private and self._flag("allow_private_network_access"):
            fields.append(("access-control-allow-private-network", "true"))
        return fields

    def _origins(self) -> tuple[Callable[[str], bool], ...]:
        return next((policy.origins for policy in self._policies if policy.origins), ())

    def _text(self, name: str) -> str:
        for policy in self._policies:
            value: str = getattr(policy, name)
            if value:
                return value
        return ""

    def _flag(self, name: str, *, default: bool = False) -> bool:
        return next((policy.flags[name] for policy in self._policies if name in policy.flags), default)


def _compile(message: Any, path: str, context: CompileContext) -> None:
    """The filter has no settings of its own."""


def _create(
    config: None,  # noqa: ARG001
    services: WorkerServices,
    stat_prefix: str,
) -> Callable[[StreamCallbacks], HttpFilter]:
    key = f"cors {stat_prefix}"
    stats = services.stats.get(key)
    if not isinstance(stats, CorsStats):
        stats = CorsStats(f"{stat_prefix}cors.")
        services.stats.add(key, stats)
    shared: CorsStats = stats
    draw = services.random
    return lambda callbacks: CorsFilter(callbacks, shared, draw)


FACTORY = HttpFilterFactory(
    name=NAME,
    type_name="envoy.extensions.filters.http.cors.v3.Cors",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=compile_policy,
)
