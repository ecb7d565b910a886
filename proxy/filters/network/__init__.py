"""Network filters. Each module registers its factory; `register_all` imports those that exist."""

from __future__ import annotations

from importlib import import_module

#: Modules with a `FACTORY`, or several `FACTORIES`; TCP proxy and HTTP connection manager have their own packages.
_MODULES = (
    "proxy.filters.network.echo",
    "proxy.filters.network.direct_response",
    "proxy.filters.network.connection_limit",
    "proxy.filters.network.ext_authz",
    "proxy.filters.network.istio",
    "proxy.filters.network.local_ratelimit",
    "proxy.filters.network.rbac",
    "proxy.filters.network.set_filter_state",
    "proxy.filters.network.sni_cluster",
    "proxy.filters.network.sni_dynamic_forward_proxy",
    "proxy.filters.network.tcp_cluster_rewrite",
    "proxy.tcp_proxy.filter",
    "proxy.hcm.connection_manager",
)


def register_all() -> None:
    """Make every network filter available under the name of its config message; idempotent."""
    from proxy.filters.api import register_network_filter  # imports asyncio: not for a mere package import

    for name in _MODULES:
        module = import_module(name)
        for factory in getattr(module, "FACTORIES", None) or (module.FACTORY,):
            register_network_filter(factory)
