"""Dynamic forward proxies beside Envoy: answers, details, upstream requests, statistics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.certs import Authority
from tests.support.configs import (
    HTTP_OPTIONS,
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
from tests.support.origin import Origin

CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"
PER_ROUTE = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig"
CLUSTER = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
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
    "c.test": {"A": ["127.0.0.1"]},
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
            line.replace(str(side.origin.port), "PORT").rstrip("- ")
            for line in side.proxy.access_log(before + 1)[before:]
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


def test_hosts_are_listed_under_their_names(pair: Pair) -> None:
    ask(pair, "a.test:{port}")
    ask(pair, "b.test:{port}")

    def hosts(side: Side) -> list[str]:
        port = str(side.origin.port)
        lines = side.proxy.admin("/clusters")[1].replace(port, "PORT").splitlines()
        shown = ("::hostname::", "::rq_total::", "::rq_success::", "::health_flags::")
        return sorted(line for line in lines if any(name in line for name in shown) and ".test" in line)

    pair.same_value("clusters", hosts)


def test_statistics(pair: Pair) -> None:
    names = (
        "dns_cache.names.",
        "cluster.dynamic.upstream_rq_total",
        "cluster.dynamic.upstream_cx_none_healthy",
    )
    with pair.same_stats(*names):
        assert ask(pair, "c.test:{port}")[0] == 200
        assert ask(pair, "c.test:{port}")[0] == 200
        assert ask(pair, "d.test")[0] == 503
        assert ask(pair, "d.test")[0] == 503


def test_no_place_for_a_host(server: DnsServer) -> None:
    with (
        Pair(proxy(of=cache(max_hosts=1)), values={"dns_port": server.port}) as pair,
        pair.same_stats("dns_cache.names."),
    ):
        assert ask(pair, "a.test:{port}")[0] == 200
        assert ask(pair, "b.test:{port}")[:2] == (503, b"DNS cache overflow")
        assert ask(pair, "a.test:{port}")[0] == 200


def test_nobody_may_wait(server: DnsServer) -> None:
    of = cache(dns_cache_circuit_breaker={"max_pending_requests": 0})
    with Pair(proxy(of=of), values={"dns_port": server.port}) as pair:
        with pair.same_stats("dns_cache.names."):
            assert ask(pair, "a.test:{port}")[:2] == (503, b"Dynamic forward proxy pending request overflow")
            assert ask(pair, "")[0] == 503
        gauge = "dns_cache.names.circuit_breakers.rq_pending_"
        for name in ("open", "remaining"):
            pair.same_value(name, lambda side, name=name: side.proxy.stats()[gauge + name])


def test_what_is_known_from_the_beginning(server: DnsServer) -> None:
    of = cache(preresolve_hostnames=[{"address": "a.test", "port_value": 80}])
    with Pair(proxy(of=of), values={"dns_port": server.port}) as pair:
        pair.same_value("hosts", lambda side: side.proxy.stats().get("dns_cache.names.dns_query_success"))
        pair.same_value("clusters", lambda side: "a.test:80" in side.proxy.admin("/clusters")[1])


def test_a_host_that_nobody_uses_is_forgotten(server: DnsServer) -> None:
    of = cache(host_ttl="1s", dns_refresh_rate="1s", dns_min_refresh_rate="1s")
    with Pair(proxy(of=of), values={"dns_port": server.port}) as pair:
        assert ask(pair, "a.test:{port}")[0] == 200
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if all(pair.both(lambda side: side.proxy.stats()["dns_cache.names.host_removed"])):
                break
            time.sleep(0.1)
        pair.same_value("hosts", lambda side: side.proxy.stats()["dns_cache.names.num_hosts"])
        pair.same_value("clusters", lambda side: "a.test" in side.proxy.admin("/clusters")[1])
        assert ask(pair, "a.test:{port}")[0] == 200


STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"


def stateful(**fields: Any) -> Json:
    """The proxy, with a host and a port in the filter state of every connection."""
    values = [
        {
            "object_key": f"envoy.upstream.dynamic_{name}",
            "format_string": {"text_format_source": {"inline_string": text}},
        }
        for name, text in (("host", "b.test"), ("port", "0{{origin_port}}"))
    ]
    config = proxy(filter_fields=fields)
    filters = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    filters.insert(0, {"name": "state", "typed_config": typed(STATE, on_new_connection=values)})
    return config


def test_the_filter_state_may_say_the_host(server: DnsServer) -> None:
    config = stateful(allow_dynamic_host_from_filter_state=True)
    with Pair(config, values={"dns_port": server.port}) as pair:
        for _ in range(2):
            assert ask(pair, "unknown.test")[0] == 200
        pair.same_value("clusters", lambda side: "b.test" in side.proxy.admin("/clusters")[1])


def test_hosts_with_tls(server: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("certs"))
    context = {"validation_context": {"trusted_ca": {"filename": str(authority.certificate)}}}
    secured = {
        **dynamic_cluster(),
        "transport_socket": {"name": "tls", "typed_config": typed(TLS, common_tls_context=context)},
    }

    def origin() -> Origin:
        return Origin(tls=authority.issue("a.test", "a.test").server_context())

    origins = {"origin": origin}
    with Pair(proxy(clusters=[secured]), origins=origins, values={"dns_port": server.port}) as pair:
        assert ask(pair, "a.test:{port}")[0] == 200
        assert ask(pair, "b.test:{port}")[0] == 503
        assert ask(pair, "unknown.test")[0] == 503


def test_without_the_filter(server: DnsServer) -> None:
    config = proxy()
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["http_filters"][0]
    for one in manager["route_config"]["virtual_hosts"][0]["routes"]:
        one.pop("typed_per_filter_config", None)
    with Pair(config, values={"dns_port": server.port}) as pair:
        ask(pair, "a.test:{port}")
        pair.same_value("answers", lambda side: side.proxy.stats()["dns_cache.names.dns_query_success"])
        assert ask(pair, "a.test:{port}", "/again")[0] == 200
        assert ask(pair, "unknown.test", "/unknown")[0] == 503


def test_the_address_may_be_kept(server: DnsServer) -> None:
    config = proxy(filter_fields={"save_upstream_address": True})
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"] = [file_log(LOG + " %FILTER_STATE(envoy.stream.upstream_address:PLAIN)%")]
    with Pair(config, values={"dns_port": server.port}) as pair:
        assert ask(pair, "a.test:{port}")[0] == 200


def verdict_cases() -> dict[str, Json]:
    unsafe = typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}})
    options = {"typed_extension_protocol_options": {HTTP_OPTIONS: unsafe}}
    own = cache(typed_dns_resolver_config=None)
    return {
        "plain": proxy(of=own),
        "other_settings": proxy(of={**own, "max_hosts": 7}, clusters=[dynamic_cluster(of=own)]),
        "another_cache": proxy(of={**own, "name": "other"}, clusters=[dynamic_cluster(of=own)]),
        "unchecked_names": proxy(of=own, clusters=[{**dynamic_cluster(of=own), **options}]),
        "unchecked_names_allowed": proxy(
            of=own, clusters=[{**dynamic_cluster(of=own, allow_insecure_cluster_options=True), **options}]
        ),
        "names_half_checked": proxy(
            of=own,
            clusters=[{**dynamic_cluster(of=own), "upstream_http_protocol_options": {"auto_sni": True}}],
        ),
        "other_policy": proxy(of=own, clusters=[{**dynamic_cluster(of=own), "lb_policy": "RANDOM"}]),
        "many_from_the_beginning": proxy(
            of={**own, "max_hosts": 1, "preresolve_hostnames": [address(80, "a.test")["socket_address"]] * 2}
        ),
        "no_name": proxy(of={**own, "name": ""}),
    }


@pytest.mark.parametrize("name", verdict_cases())
def test_verdicts(name: str) -> None:
    config = verdict_cases()[name]
    same_verdict(
        config, {"origin_port": 1, "listener_port": 10001, "admin_port": 0, "access_log": "/dev/null"}
    )
