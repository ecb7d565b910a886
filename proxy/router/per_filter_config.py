"""`typed_per_filter_config`: what each level of a route table changes about HTTP filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.route.v3.route_components_pb2 import FilterConfig
from msgspec import Struct

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import is_registered
from proxy.filters.api import HttpFilterFactory
from proxy.filters.registry import http_filter_of_route_type

_FILTER_CONFIG: Final = FilterConfig.DESCRIPTOR.full_name
_CORS_FILTER: Final = "envoy.filters.http.cors"
_CORS_POLICY: Final = "envoy.extensions.filters.http.cors.v3.CorsPolicy"


class FilterOverride(Struct, frozen=True):
    """One entry. `config` is what the factory's `compile_route` made, None if the level only switches.

    `outer` is the entry of the same name of the enclosing level.
    """

    config: Any = None
    factory: HttpFilterFactory | None = None
    disabled: bool = False
    outer: FilterOverride | None = None

    def configs(self, factory: HttpFilterFactory) -> tuple[Any, ...]:
        """The configs for filters of one kind, this level's first. Those for another kind are passed over."""
        found = []
        level: FilterOverride | None = self
        while level is not None:
            if level.factory is factory:
                found.append(level.config)
            level = level.outer
        return tuple(found)


FilterOverrides = Mapping[str, FilterOverride]


def compile_overrides(
    message: Any, path: str, ctx: CompileContext, outer: FilterOverrides | None = None
) -> FilterOverrides:
    """The entries of `message.typed_per_filter_config` over those of the enclosing level."""
    inherited = outer if outer is not None else {}
    entries = message.typed_per_filter_config
    if not entries:
        return inherited
    overrides = dict(inherited)
    for name, packed in entries.items():
        override = _compile(
            packed, name, f"{path}.typed_per_filter_config[{name!r}]", ctx, inherited.get(name)
        )
        if override is not None:
            overrides[name] = override
    return overrides


def with_cors(
    message: Any, path: str, ctx: CompileContext, overrides: FilterOverrides, outer: FilterOverrides
) -> FilterOverrides:
    """`overrides` of one level with the older field `cors` of `message`, which the typed config outdoes."""
    if not message.HasField("cors") or overrides.get(_CORS_FILTER) is not outer.get(_CORS_FILTER):
        return overrides
    factory = http_filter_of_route_type(_CORS_POLICY)
    if factory is None or factory.compile_route is None:
        return overrides
    policy = factory.compile_route(message.cors, f"{path}.cors", ctx)
    return {**overrides, _CORS_FILTER: FilterOverride(policy, factory, outer=outer.get(_CORS_FILTER))}


def _compile(
    packed: Any, name: str, path: str, ctx: CompileContext, outer: FilterOverride | None
) -> FilterOverride | None:
    optional = False
    if packed.type_url.rpartition("/")[2] == _FILTER_CONFIG:
        wrapper = FilterConfig.FromString(packed.value)
        if wrapper.disabled:
            return FilterOverride(disabled=True, outer=outer)
        if not wrapper.HasField("config"):
            ctx.problem(path, f"Empty route/virtual host per filter configuration for {name} filter")
            return None
        packed, path, optional = wrapper.config, f"{path}.config", wrapper.is_optional
        if not packed.type_url:
            return None
    if optional and not is_registered(packed):
        return None
    message = unpack(packed, path, ctx)
    if message is None:
        return None
    type_name = message.DESCRIPTOR.full_name
    factory = http_filter_of_route_type(type_name)
    if factory is None or factory.compile_route is None:
        ctx.problem(path, f"{type_name} is not the per-route configuration of a supported HTTP filter")
        return None
    return FilterOverride(factory.compile_route(message, path, ctx), factory, outer=outer)
