"""Dynamic forward proxies beside Envoy: answers, details, upstream requests, statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.configs import (
    Json,
    address,
    bootstrap,
    connection_manager,
    file_log,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, same_verdict
from tests.support.dns_server import DnsServer, Zone

CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"
PER_ROUTE = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig"
CLUSTER = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
NAME = "envoy.filters.http.dynamic_forward_proxy"
LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% "
    "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(:AUTHORITY)%"
)
ZONE: Zone = {
    "a.test": {"A": ["127.0.0.1"]},
    "b.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]},
    "nodata.test": {"A": []},
    "fail.test": "servfail",
}


def cache(name: str = "names", **fields: Any) -> Json:
    resolver = typed(
        CARES, resolvers=[address("{{dns_port}}")], dns_resolver_options={"no_default_search_domain": True}
    )
    return {
        "name": name,
        "dns_lookup_family": "V4_ONLY",
        "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": resolver},
        **fields,
    }


def dynamic_cluster(name: str = "dynamic", of: Json | None = None, **fields: Any) -> Json:
    config = typed(CLUSTER, dns_cache_config=of or cache(), **fields)
    return {
        "name": name,
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "2s",
        "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": config},
    }


def proxy(*, of: Json | None = None, filter_fields: Json | None = None, clusters: Any = ()) -> Json:
    filters = [
        {
            "name": NAME,
            "typed_config": typed(FILTER, dns_cache_config=of or cache(), **(filter_fields or {})),
        },
        {"name": "envoy.filters.http.router", "typed_config": typed(ROUTER)},
    ]
    rewritten = route("dynamic", prefix="/literal")
    rewritten["typed_per_filter_config"] = {
        NAME: typed(PER_ROUTE, host_rewrite_literal="a.test:{{origin_port}}")
    }
    by_field = route("dynamic", prefix="/field")
    by_field["typed_per_filter_config"] = {NAME: typed(PER_ROUTE, host_rewrite_header="X-Host")}
    table = {"name": "local", "virtual_hosts": [virtual_host([rewritten, by_field, route("dynamic")])]}
    manager = connection_manager(table, http_filters=filters, access_log=[file_log(LOG)])
    return bootstrap([listener([manager])], clusters or [dynamic_cluster(of=of)])


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(dict(ZONE)) as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: DnsServer) -> Iterator[Pair]:
    with Pair(proxy(), values={"dns_port": server.port}) as pair:
        yield pair


def ask(
    pair: Pair, authority: str, path: str = "/", fields: str = "", version: str = "1.1"
) -> tuple[int, bytes, list[Any]]:
    """The same request on both sides; `{port}` stands for that of the side's origin. What both did."""

    def one(side: Side) -> tuple[int, bytes, list[Any]]:
        port = side.origin.port
        host = f"Host: {authority.format(port=port)}\r\n" if authority != "none" else ""
        head = f"GET {path} HTTP/{version}\r\n{host}{fields.format(port=port)}\r\n"
        outcome = side.run(head.encode(), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", None, {})
        hosts = [str(request.get("host")).replace(str(port), "PORT") for request in outcome.all_requests]
        return outcome.status, outcome.reply.response.body, hosts

    def masked(side: Side) -> list[str]:
        return [
            line.replace(str(side.origin.port), "PORT") for line in side.proxy.access_log(before + 1)[before:]
        ]

    before = pair.lines_logged()
    result: tuple[int, bytes, list[Any]] = pair.same_value("answer", one, settle=0)
    pair.same_value("access_log", masked)
    return result


@pytest.mark.parametrize(
    "authority", ["a.test:{port}", "b.test:{port}", "127.0.0.1:{port}", "localhost:{port}"]
)
def test_the_host_is_the_one_that_the_client_names(pair: Pair, authority: str) -> None:
    for _ in range(2):
        assert ask(pair, authority)[0] == 200


@pytest.mark.parametrize(
    "authority", ["unknown.test", "nodata.test", "fail.test", "[::1]:{port}", "a_b.test", "a..test"]
)
def test_names_without_an_address(pair: Pair, authority: str) -> None:
    for _ in range(2):
        assert ask(pair, authority)[:2] == (503, b"DNS resolution failure")


def test_a_route_may_name_the_host(pair: Pair) -> None:
    assert ask(pair, "elsewhere", "/field", "x-host: a.test:{port}\r\n")[0] == 200
    assert ask(pair, "elsewhere", "/field", "x-host: a.test:{port}\r\nx-host: unknown.test\r\n")[0] == 200
    assert ask(pair, "unknown.test", "/field")[0] == 503


def test_no_host(pair: Pair) -> None:
    assert ask(pair, "")[:2] == (400, b"Empty host header")
