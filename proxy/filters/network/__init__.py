"""Network filters. Each module registers its factory; `register_all` imports those that exist."""

from __future__ import annotations

from importlib import import_module

#: Modules with a `FACTORY`; the HTTP connection manager is a network filter with a package of its own.
_MODULES = (
    "proxy.filters.network.echo",
    "proxy.filters.network.direct_response",
    "proxy.filters.network.connection_limit",
    "proxy.hcm.connection_manager",
)


def register_all() -> None:
    """Make every network filter available under the name of its config message; idempotent."""
    from proxy.filters.api import register_network_filter  # imports asyncio: not for a mere package import

    for name in _MODULES:
        register_network_filter(import_module(name).FACTORY)
