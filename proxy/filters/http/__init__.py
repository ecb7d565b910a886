"""HTTP filters. Each module holds one filter and its factory; `register_all` makes them known."""

from __future__ import annotations


def register_all() -> None:
    """Register every HTTP filter; may be called any number of times."""
    # Imported here, so that importing the package alone costs nothing.
    from proxy.filters.api import register_http_filter
    from proxy.filters.http import (
        buffer,
        compressor,
        cors,
        decompressor,
        dynamic_forward_proxy,
        fault,
        grpc_http1_bridge,
        grpc_http1_reverse_bridge,
        grpc_json_transcoder,
        grpc_stats,
        grpc_web,
        header_mutation,
        istio,
        on_demand,
        router,
    )

    for factory in istio.FACTORIES:
        register_http_filter(factory)

    for module in (
        router,
        header_mutation,
        buffer,
        cors,
        compressor,
        decompressor,
        dynamic_forward_proxy,
        fault,
        grpc_web,
        grpc_http1_bridge,
        grpc_http1_reverse_bridge,
        grpc_json_transcoder,
        grpc_stats,
        on_demand,
    ):
        register_http_filter(module.FACTORY)
