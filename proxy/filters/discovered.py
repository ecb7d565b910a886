"""Filters whose config a control plane brings (ECDS): `config_discovery` of a filter of any kind.

The filter's place in the chain, its name and what types it may have stand in the listener. What happens as long as
there is no config, not even a default one, is the affair of the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from envoy.config.core.v3 import extension_pb2
from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stat_names import stat_name
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import type_name_of
from proxy.config.resources import ResourceSource
from proxy.filters.registry import http_filter, listener_filter, network_filter
from xds_client.resource_types import ResourceType


class FilterKind(Struct, frozen=True):
    """A kind of filters. `category` is its name in stats, `called` goes before "filter" in messages.

    The last filter of a `chain` must be terminal and no other may be; "" for kinds without such an order. Where not
    `strict`, Envoy takes types that it does not know, and no default at all in place of one that needs no warming.
    """

    category: str
    find: Callable[[str], Any]
    called: str = ""
    chain: str = ""
    strict: bool = True


HTTP = FilterKind("http_filter", http_filter, chain="http")
NETWORK = FilterKind("network_filter", network_filter, chain="network", strict=False)
LISTENER = FilterKind("tcp_listener_filter", listener_filter, called="listener ")
KINDS = {kind.category: kind for kind in (HTTP, NETWORK, LISTENER)}


class CompiledFilter(Struct, frozen=True):
    """A factory of the kind asked for, and a config of its own.

    Of the HTTP router, which is run by the connection manager, `config` is the message.
    """

    factory: Any
    config: Any


class DiscoveredFilter(Struct, frozen=True):
    """One whose config comes from `source`, of one of `types` (full message names); `last` in its chain."""

    kind: FilterKind
    name: str
    source: ResourceSource
    types: tuple[str, ...]
    last: bool
    default: CompiledFilter | None

    def current(self, ctx: CompileContext) -> CompiledFilter | None:
        """The filter as it is now, None if there is no config that fits."""
        by_kind: dict[str, CompiledFilter | None] = self.source.made(lambda value: {})  # noqa: ARG005
        if self.kind.category not in by_kind:
            by_kind[self.kind.category] = self._compiled(self.source.value, ctx)
        came = by_kind[self.kind.category]
        if came is None or fault(self.kind, came.factory, self.types, self.last, self.name):
            return self.default
        return came

    def _compiled(self, value: bytes | None, ctx: CompileContext) -> CompiledFilter | None:
        if value is None:
            return None
        message = extension_pb2.TypedExtensionConfig.FromString(value)
        own = copy(ctx)
        own.owner = f"extension config {self.name}"
        return _compile_packed(self.kind, message.typed_config, "", own)


def compile_discovered(
    kind: FilterKind, message: Any, path: str, last: bool, ctx: CompileContext
) -> DiscoveredFilter:
    """Compile a filter (`HttpFilter`, `listener.v3.Filter`, `ListenerFilter`) with a `config_discovery`."""
    discovery = message.config_discovery
    path = f"{path}.config_discovery"
    types = tuple(dict.fromkeys(map(type_name_of, discovery.type_urls)))
    for index, type_name in enumerate(types):
        if kind.strict and kind.find(type_name) is None:
            ctx.problem(
                f"{path}.type_urls[{index}]",
                f"Error: no {kind.called}factory found for a required type URL {type_name}.",
            )
    default = None
    if discovery.HasField("default_config"):
        default = _compile_packed(kind, discovery.default_config, f"{path}.default_config", ctx)
        if default is not None:
            reason = fault(kind, default.factory, types, last, message.name)
            if reason:
                ctx.problem(f"{path}.default_config", reason)
    without_warming = discovery.apply_default_config_without_warming
    if kind.strict and without_warming and not discovery.HasField("default_config"):
        ctx.problem(
            f"{path}.apply_default_config_without_warming",
            f"Error: {kind.called}filter config {message.name} applied without warming but has no default config.",
        )
    source = ctx.resources.want(
        ResourceType.EXTENSION_CONFIG,
        message.name,
        discovery.config_source,
        f"{path}.config_source",
        ctx,
        f"extension_config_discovery.{kind.category}.{stat_name(message.name)}.",
        terms=frozenset([(kind.category, types, last)]),
        waits=not without_warming,
    )
    return DiscoveredFilter(kind, message.name, source, types, last, default)


def context_in(services: WorkerServices) -> CompileContext:
    """What configs that come while a worker runs are compiled in."""
    return CompileContext(
        services.runtime, services.wall_clock, node=services.node, resources=services.resources
    )


def check_extension(message: Any, ctx: CompileContext) -> None:
    """Check a `TypedExtensionConfig` for the filters that it is for; `ctx.terms` are theirs."""
    compiled: dict[str, CompiledFilter | None] = {}
    for category, types, last in sorted(ctx.terms):
        kind = KINDS[category]
        if category not in compiled:
            compiled[category] = _compile_packed(kind, message.typed_config, "", ctx)
        one = compiled[category]
        reason = "" if one is None else fault(kind, one.factory, types, last, message.name)
        if reason:
            ctx.problem("", reason)


def fault(kind: FilterKind, factory: Any, types: tuple[str, ...], last: bool, name: str) -> str:
    """Why a filter may not stand there, "" if it may."""
    if factory.type_name not in types:
        return f"Error: filter config has type URL {factory.type_name} but expect {', '.join(types)}."
    if kind.chain and factory.terminal and not last:
        return (
            f"Error: terminal filter named {name} of type {factory.name} must be the last filter in a "
            f"{kind.chain} filter chain."
        )
    if kind.chain and last and not factory.terminal:
        return (
            f"Error: non-terminal filter named {name} of type {factory.name} is the last filter in a "
            f"{kind.chain} filter chain."
        )
    return ""


def _compile_packed(kind: FilterKind, packed: Any, path: str, ctx: CompileContext) -> CompiledFilter | None:
    where = path or "typed_config"
    config = unpack(packed, where, ctx)
    if config is None:
        if not packed.type_url:
            ctx.problem(where, "a typed_config is required")
        return None
    factory = kind.find(config.DESCRIPTOR.full_name)
    if factory is None:
        ctx.problem(where, f"{config.DESCRIPTOR.full_name} is not a supported {kind.category}")
        return None
    return CompiledFilter(factory, factory.compile(config, where, ctx))
