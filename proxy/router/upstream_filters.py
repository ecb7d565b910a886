"""HTTP filters between the router and its hosts: `http_filters` of clusters, `upstream_http_filters` of the router.

Those of the cluster take the place of the router's. They see each try of a request, and its response before the
router does. Source: `HttpProtocolOptions.http_filters`, and what Envoy makes of config of routes for them.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import is_registered, type_name_of
from proxy.filters.api import HttpFilterFactory
from proxy.filters.registry import http_filter
from proxy.router.per_filter_config import FilterOverrides

_CODEC: Final = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
_HEADER_MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


class UpstreamFilter(Struct, frozen=True):
    """One filter; `mutations` are those of `proxy.filters.http.header_mutation`."""

    name: str
    factory: HttpFilterFactory
    mutations: Any
    disabled: bool


def compile_upstream_filters(
    messages: Any, path: str, ctx: CompileContext
) -> tuple[UpstreamFilter, ...] | None:
    """Compile a chain, None if there is none. Problems go to `ctx`."""
    if not messages:
        return None
    filters = []
    for index, message in enumerate(messages):
        where = f"{path}[{index}]"
        last = index == len(messages) - 1
        if (type_name_of(message.typed_config.type_url) == _CODEC) is not last:
            ctx.problem(where, f"the last filter must be {_CODEC}, and no other may be")
        elif not last:
            one = _compile(message, where, ctx)
            if one is not None:
                filters.append(one)
    return tuple(filters)


def _compile(message: Any, path: str, ctx: CompileContext) -> UpstreamFilter | None:
    name = type_name_of(message.typed_config.type_url)
    if message.HasField("config_discovery"):
        ctx.problem(f"{path}.config_discovery", "upstream HTTP filters cannot be discovered")
        return None
    if message.is_optional and not is_registered(message.typed_config):
        return None  # the check of the message has warned about it
    if name != _HEADER_MUTATION:
        reason = f"{name or message.name} is not supported as an upstream HTTP filter; {_HEADER_MUTATION} is"
        ctx.problem(f"{path}.typed_config", reason)
        return None
    config = unpack(message.typed_config, f"{path}.typed_config", ctx)
    factory = http_filter(name)
    if config is None or factory is None:
        return None
    compiled = factory.compile(config, f"{path}.typed_config", ctx)
    return UpstreamFilter(message.name, factory, compiled, message.disabled)


def mutations_for(filters: tuple[UpstreamFilter, ...], overrides: FilterOverrides) -> tuple[Any, ...]:
    """What is done to requests of a route, in order: of each filter its own, then that of the route's levels."""
    found: list[Any] = []
    for one in filters:
        override = overrides.get(one.name)
        if one.disabled if override is None else override.disabled:
            continue
        found.append(one.mutations)
        if override is not None:
            levels = override.configs(one.factory)
            found.extend(reversed(levels) if one.mutations.most_specific_wins else levels)
    return tuple(found)
