"""`InternalRedirectPolicy`: which redirects of an upstream are followed by the proxy itself."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext

_FOLLOWED: Final = frozenset({301, 302, 303, 307, 308})
_PACKAGE: Final = "envoy.extensions.internal_redirect"
_LOOPS: Final = f"{_PACKAGE}.previous_routes.v3.PreviousRoutesConfig"
_ALLOWED: Final = f"{_PACKAGE}.allow_listed_routes.v3.AllowListedRoutesConfig"
_SAFE_SCHEME: Final = f"{_PACKAGE}.safe_cross_scheme.v3.SafeCrossSchemeConfig"


class InternalRedirectPolicy(Struct, frozen=True):
    """A compiled policy.

    `max_redirects` limits those followed for one request. `allowed_routes` is None if any route will do.
    `refuse_repeats` refuses a route that this request was already redirected to from this one.
    `safe_cross_scheme` refuses to go from a plain connection to https.
    """

    max_redirects: int = 1
    statuses: frozenset[int] = frozenset({302})
    allow_cross_scheme: bool = False
    headers_to_copy: tuple[str, ...] = ()
    allowed_routes: frozenset[str] | None = None
    refuse_repeats: bool = False
    safe_cross_scheme: bool = False


def compile_internal_redirect(message: Any, path: str, ctx: CompileContext) -> InternalRedirectPolicy:
    """`envoy.config.route.v3.InternalRedirectPolicy`."""
    headers = tuple(name.lower() for name in message.response_headers_to_copy)
    for index, name in enumerate(headers):
        if name.startswith(":") or name == "host":
            ctx.problem(
                f"{path}.response_headers_to_copy[{index}]", ":-prefixed headers or host are not allowed"
            )
    allowed: frozenset[str] | None = None
    found = set()
    for index, predicate in enumerate(message.predicates):
        field = f"{path}.predicates[{index}].typed_config"
        config = unpack(predicate.typed_config, field, ctx)
        if config is None:
            continue
        kind = config.DESCRIPTOR.full_name
        found.add(kind)
        if kind == _ALLOWED:
            names = frozenset(config.allowed_route_names)
            allowed = names if allowed is None else allowed & names
        elif kind not in {_LOOPS, _SAFE_SCHEME}:
            ctx.problem(field, f"type {kind} is not supported here")
    statuses = frozenset(message.redirect_response_codes)
    return InternalRedirectPolicy(
        message.max_internal_redirects.value if message.HasField("max_internal_redirects") else 1,
        statuses & _FOLLOWED if statuses else frozenset({302}),
        message.allow_cross_scheme_redirect,
        headers,
        allowed,
        _LOOPS in found,
        _SAFE_SCHEME in found,
    )
