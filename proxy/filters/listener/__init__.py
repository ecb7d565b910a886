"""Listener filters. Each module registers its factory; `register_all` imports those that exist."""

from __future__ import annotations

from importlib import import_module

#: Modules with a `FACTORY`.
_MODULES = (
    "proxy.filters.listener.http_inspector",
    "proxy.filters.listener.local_ratelimit",
    "proxy.filters.listener.original_dst",
    "proxy.filters.listener.original_src",
    "proxy.filters.listener.proxy_protocol",
    "proxy.filters.listener.tls_inspector",
)


def register_all() -> None:
    """Make every listener filter available under the name of its config message; idempotent."""
    from proxy.filters.listener.api import register_listener_filter  # imports asyncio

    for name in _MODULES:
        register_listener_filter(import_module(name).FACTORY)
