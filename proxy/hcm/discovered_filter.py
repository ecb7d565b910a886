"""The HTTP filters of a chain, and those among them whose config a control plane brings (ECDS).

As long as there is no config, not even a default one, requests are answered with 500.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.base.response_flags import ResponseFlag
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceSource
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.discovered import HTTP, DiscoveredFilter, compile_discovered


class CompiledHttpFilter(Struct, frozen=True):
    """One filter of a chain: the name it is configured under, its factory and its compiled config.

    Of the router, which stands last and is run by the connection manager, `config` is the message.
    """

    name: str
    factory: HttpFilterFactory
    config: Any
    disabled: bool


class DiscoveredHttpFilter(Struct, frozen=True):
    """One whose config comes from elsewhere."""

    found: DiscoveredFilter
    disabled: bool

    @property
    def name(self) -> str:
        """The name it is configured under."""
        return self.found.name

    @property
    def source(self) -> ResourceSource:
        """Where its config is."""
        return self.found.source

    def current(self, ctx: CompileContext) -> CompiledHttpFilter | None:
        """The filter as it is now, None if there is no config that fits."""
        current = self.found.current(ctx)
        if current is None:
            return None
        return CompiledHttpFilter(self.name, current.factory, current.config, self.disabled)


HttpFilterConfig = CompiledHttpFilter | DiscoveredHttpFilter


def compile_discovered_http(message: Any, path: str, last: bool, ctx: CompileContext) -> DiscoveredHttpFilter:
    """Compile an `HttpFilter` with a `config_discovery`."""
    return DiscoveredHttpFilter(compile_discovered(HTTP, message, path, last, ctx), message.disabled)


class MissingConfigFilter(HttpFilter):
    """Stands where a filter has no config."""

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self.callbacks.local_reply(500, "", "", ResponseFlag.NO_FILTER_CONFIG_FOUND)
        return FilterStatus.STOP


def missing_config(callbacks: StreamCallbacks) -> HttpFilter:
    """Make one."""
    return MissingConfigFilter(callbacks)
