"""HTTP filters whose config a control plane brings (ECDS): `config_discovery` of an `HttpFilter`.

The filter's place in the chain, its name and what types it may have stand in the listener. As long as there is no
config, not even a default one, requests are answered with 500.
"""

from __future__ import annotations

from typing import Any, Final

from envoy.config.core.v3 import extension_pb2
from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import type_name_of
from proxy.config.resources import ResourceSource
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.registry import http_filter
from xds_client.resource_types import ResourceType

_STATS: Final = "extension_config_discovery.http_filter."


class CompiledHttpFilter(Struct, frozen=True):
    """One filter of a chain: the name it is configured under, its factory and its compiled config.

    Of the router, which stands last and is run by the connection manager, `config` is the message.
    """

    name: str
    factory: HttpFilterFactory
    config: Any
    disabled: bool


class DiscoveredHttpFilter(Struct, frozen=True):
    """One whose config comes from `source`, of one of `types` (full message names); `last` in its chain."""

    name: str
    source: ResourceSource
    types: tuple[str, ...]
    default: CompiledHttpFilter | None
    disabled: bool
    last: bool

    def current(self, ctx: CompileContext) -> CompiledHttpFilter | None:
        """The filter as it is now, None if there is no config that fits."""

        def compiled(value: bytes | None) -> CompiledHttpFilter | None:
            if value is None:
                return None
            message = extension_pb2.TypedExtensionConfig.FromString(value)
            return _compile_packed(message.typed_config, "", ctx)

        came = self.source.made(compiled)
        if came is None or fault(came.factory, self.types, self.last, self.name):
            return self.default
        return CompiledHttpFilter(self.name, came.factory, came.config, self.disabled)


HttpFilterConfig = CompiledHttpFilter | DiscoveredHttpFilter


def compile_discovered(message: Any, path: str, last: bool, ctx: CompileContext) -> DiscoveredHttpFilter:
    """Compile an `HttpFilter` with a `config_discovery`."""
    discovery = message.config_discovery
    path = f"{path}.config_discovery"
    types = tuple(dict.fromkeys(map(type_name_of, discovery.type_urls)))
    for index, type_name in enumerate(types):
        if http_filter(type_name) is None:
            ctx.problem(
                f"{path}.type_urls[{index}]",
                f"Error: no factory found for a required type URL {type_name}.",
            )
    default = None
    if discovery.HasField("default_config"):
        default = _compile_packed(discovery.default_config, f"{path}.default_config", ctx)
        if default is not None:
            reason = fault(default.factory, types, last, message.name)
            if reason:
                ctx.problem(f"{path}.default_config", reason)
            default = CompiledHttpFilter(message.name, default.factory, default.config, message.disabled)
    without_warming = discovery.apply_default_config_without_warming
    if without_warming and not discovery.HasField("default_config"):
        ctx.problem(
            f"{path}.apply_default_config_without_warming",
            f"Error: filter config {message.name} applied without warming but has no default config.",
        )
    source = ctx.resources.want(
        ResourceType.EXTENSION_CONFIG,
        message.name,
        discovery.config_source,
        f"{path}.config_source",
        ctx,
        f"{_STATS}{message.name}.",
        terms=frozenset([(types, last)]),
        waits=not without_warming,
    )
    return DiscoveredHttpFilter(message.name, source, types, default, message.disabled, last)


def check_extension(message: Any, ctx: CompileContext) -> None:
    """Check a `TypedExtensionConfig` for the filters that it is for; `ctx.terms` are theirs."""
    compiled = _compile_packed(message.typed_config, "", ctx)
    if compiled is None:
        return
    for types, last in sorted(ctx.terms):
        reason = fault(compiled.factory, types, last, message.name)
        if reason:
            ctx.problem("", reason)


def fault(factory: HttpFilterFactory, types: tuple[str, ...], last: bool, name: str) -> str:
    """Why a kind of filter may not stand there, "" if it may."""
    if factory.type_name not in types:
        return f"Error: filter config has type URL {factory.type_name} but expect {', '.join(types)}."
    if factory.terminal and not last:
        return (
            f"Error: terminal filter named {name} of type {factory.name} must be the last filter in a http "
            "filter chain."
        )
    if last and not factory.terminal:
        return (
            f"Error: non-terminal filter named {name} of type {factory.name} is the last filter in a http "
            "filter chain."
        )
    return ""


def _compile_packed(packed: Any, path: str, ctx: CompileContext) -> CompiledHttpFilter | None:
    where = path or "typed_config"
    config = unpack(packed, where, ctx)
    if config is None:
        if not packed.type_url:
            ctx.problem(where, "a typed_config is required")
        return None
    factory = http_filter(config.DESCRIPTOR.full_name)
    if factory is None:
        ctx.problem(where, f"{config.DESCRIPTOR.full_name} is not a supported HTTP filter")
        return None
    return CompiledHttpFilter(
        "", factory, config if factory.terminal else factory.compile(config, where, ctx), False
    )


class MissingConfigFilter(HttpFilter):
    """Stands where a filter has no config."""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self.callbacks.local_reply(500, "", "", ResponseFlag.NO_FILTER_CONFIG_FOUND)
        return FilterStatus.STOP


def missing_config(callbacks: StreamCallbacks) -> HttpFilter:
    """Make one."""
    return MissingConfigFilter(callbacks)
