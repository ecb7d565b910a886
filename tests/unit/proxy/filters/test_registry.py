from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import pytest

import proxy.filters.http
import proxy.filters.listener
import proxy.filters.network
from proxy.filters.registry import http_filter, http_filter_of_route_type, listener_filter, network_filter

FINDERS = {
    proxy.filters.http: http_filter,
    proxy.filters.listener: listener_filter,
    proxy.filters.network: network_filter,
}


def factories(package: Any) -> list[Any]:
    names = [one.name for one in pkgutil.iter_modules(package.__path__, package.__name__ + ".")]
    modules = [import_module(name) for name in names]
    return [
        one
        for module in modules
        for one in (*getattr(module, "FACTORIES", ()), getattr(module, "FACTORY", None))
        if one is not None
    ]


@pytest.mark.parametrize("package", FINDERS, ids=lambda package: package.__name__)
def test_each_filter_is_found_by_the_type_of_its_config(package: Any) -> None:
    found = factories(package)
    assert len(found) > 5
    for factory in found:
        assert FINDERS[package](factory.type_name) is factory


def test_the_terminal_filters_of_their_own_packages_are_found() -> None:
    for name in ("tcp_proxy.v3.TcpProxy", "http_connection_manager.v3.HttpConnectionManager"):
        factory = network_filter(f"envoy.extensions.filters.network.{name}")
        assert factory is not None
        assert factory.terminal


def test_each_filter_with_a_config_for_routes_is_found_by_its_type() -> None:
    prefix = "envoy.extensions.filters.http."
    of_routes = (
        "api_key_auth.v3.ApiKeyAuthPerRoute",
        "basic_auth.v3.BasicAuthPerRoute",
        "buffer.v3.BufferPerRoute",
        "compressor.v3.CompressorPerRoute",
        "cors.v3.CorsPolicy",
        "csrf.v3.CsrfPolicy",
        "dynamic_forward_proxy.v3.PerRouteConfig",
        "ext_authz.v3.ExtAuthzPerRoute",
        "fault.v3.HTTPFault",
        "grpc_http1_reverse_bridge.v3.FilterConfigPerRoute",
        "grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "header_mutation.v3.HeaderMutationPerRoute",
        "local_ratelimit.v3.LocalRateLimit",
        "on_demand.v3.PerRouteConfig",
        "rbac.v3.RBACPerRoute",
        "stateful_session.v3.StatefulSessionPerRoute",
    )
    found = {http_filter_of_route_type(prefix + name) for name in of_routes}
    assert found == {one for one in factories(proxy.filters.http) if one.compile_route is not None}


def test_an_unknown_type_is_no_filter() -> None:
    for find in (*FINDERS.values(), http_filter_of_route_type):
        assert find("envoy.extensions.filters.http.nothing.v3.Nothing") is None
