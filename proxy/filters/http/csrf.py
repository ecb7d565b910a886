"""`envoy.filters.http.csrf`: refuses requests that change something and come from pages of other origins.

Source: envoy.extensions.filters.http.csrf.v3 and Envoy's documentation of the filter. The policy of the most
specific level of the route counts, as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar, Final

from msgspec import Struct

from proxy.base.matchers import Draw, StringMatch, compile_runtime_fraction, compile_string_matcher
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

#: Other methods are safe (RFC 9110 section 9.2.1), or no page of another origin can send them unasked.
_CHECKED: Final = frozenset({"DELETE", "PATCH", "POST", "PUT"})
#: What a browser says of a page whose origin it keeps to itself.
_OPAQUE: Final = "null"
#: Scheme, user, then the authority that counts. Wider than RFC 3986, just as Envoy reads it: what stands there
#: must equal a host that has been checked, or satisfy a matcher.
_URL: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]*://"
    r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:%]*@)?"
    r"([A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]+)"
    r"(?:[/?][!-~]*)?"
)


class CsrfStats(StatGroup):
    """`http.<stat_prefix>.csrf.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("missing_source_origin", "request_invalid", "request_valid")

    missing_source_origin: int
    request_invalid: int
    request_valid: int


class CsrfPolicy(Struct, frozen=True):
    """One compiled `CsrfPolicy`; `shadow` None means never."""

    enabled: Callable[[Draw], bool]
    shadow: Callable[[Draw], bool] | None
    additional_origins: tuple[StringMatch, ...]


def compile_policy(message: Any, path: str, context: CompileContext) -> CsrfPolicy:
    """A `CsrfPolicy`, of the filter or of a route."""
    return CsrfPolicy(
        compile_runtime_fraction(message.filter_enabled, context.runtime),
        compile_runtime_fraction(message.shadow_enabled, context.runtime)
        if message.HasField("shadow_enabled")
        else None,
        tuple(
            compile_string_matcher(origin, f"{path}.additional_origins[{index}]", context)
            for index, origin in enumerate(message.additional_origins)
        ),
    )


def host_and_port(text: str) -> str:
    """Host and port of a URL, as they are written there; a text that is no URL is taken as a whole."""
    found = _URL.fullmatch(text)
    return text if found is None else found[1]


def source_origin(head: RequestHead) -> str:
    """Where a request comes from: what `origin` says, else `referer`; "" if nobody says so."""
    origin = head.headers.get("origin")
    if origin == _OPAQUE:
        return ""
    return host_and_port(origin or head.headers.get("referer", ""))


class CsrfFilter(HttpFilter):
    """One request."""

    def __init__(self, callbacks: StreamCallbacks, own: CsrfPolicy, stats: CsrfStats, draw: Draw) -> None:
        super().__init__(callbacks)
        self._own = own
        self._stats = stats
        self._draw = draw

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if head.method not in _CHECKED:
            return FilterStatus.CONTINUE
        policy: CsrfPolicy = self.callbacks.route_config(self.name) or self._own
        enabled = policy.enabled(self._draw)
        if not enabled and (policy.shadow is None or not policy.shadow(self._draw)):
            return FilterStatus.CONTINUE
        if self._passes(policy, head) or not enabled:
            return FilterStatus.CONTINUE
        self.callbacks.local_reply(403, "Invalid origin", "csrf_origin_mismatch")
        return FilterStatus.STOP

    def _passes(self, policy: CsrfPolicy, head: RequestHead) -> bool:
        source = source_origin(head)
        if not source:
            self._stats.missing_source_origin += 1
            return False
        if source == host_and_port(head.authority) or any(test(source) for test in policy.additional_origins):
            self._stats.request_valid += 1
            return True
        self._stats.request_invalid += 1
        return False


def _create(
    config: CsrfPolicy, services: WorkerServices, stat_prefix: str
) -> Callable[[StreamCallbacks], HttpFilter]:
    stats = services.stats.shared(CsrfStats, f"{stat_prefix}csrf.")
    draw = services.random
    return lambda callbacks: CsrfFilter(callbacks, config, stats, draw)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.csrf",
    type_name="envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
    terminal=False,
    compile=compile_policy,
    create=_create,
    compile_route=compile_policy,
)
