"""`typed_per_filter_config`: what each level of a route table changes about HTTP filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.route.v3.route_components_pb2 import FilterConfig

from proxy.config.context import CompileContext

_FILTER_CONFIG = FilterConfig.DESCRIPTOR.full_name


@dataclass(frozen=True, slots=True)
class FilterOverride:
    """One entry. `config` is the `google.protobuf.Any` for the filter to compile, None if `disabled`.

    `optional` allows a filter type that is not known. `path` is the entry's config path.
    """

    config: Any
    path: str
    disabled: bool = False
    optional: bool = False


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
        overrides[name] = _compile(packed, name, f'{path}.typed_per_filter_config["{name}"]', ctx)
    return overrides


def _compile(packed: Any, name: str, path: str, ctx: CompileContext) -> FilterOverride:
    if packed.type_url.rpartition("/")[2] != _FILTER_CONFIG:
        return FilterOverride(packed, path)
    config = FilterConfig.FromString(packed.value)
    if config.disabled:
        return FilterOverride(None, path, disabled=True, optional=config.is_optional)
    if not config.HasField("config"):
        ctx.problem(path, f"Empty route/virtual host per filter configuration for {name} filter")
        return FilterOverride(None, path)
    return FilterOverride(config.config, f"{path}.config", optional=config.is_optional)
