"""Scoped routes, virtual hosts, clusters and filters that a control plane brings, beside Envoy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.service.discovery.v3 import discovery_pb2

from tests.support.client import get
from tests.support.configs import address, connection_manager, file_log, typed
from tests.support.configs import listener as listener_tree
from tests.support.mesh import ADS, cluster, endpoints, parsed, route_config
from tests.support.mesh_sides import Side, agree, logged, push, same_stats, sides
from xds_client.resource_types import ResourceType

SCOPES, VHDS, CDS = ResourceType.SCOPED_ROUTE, ResourceType.VIRTUAL_HOST, ResourceType.CLUSTER
ECDS = ResourceType.EXTENSION_CONFIG
TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
HTTP = "envoy.extensions.filters.http"
ROUTER = {"name": "router", "typed_config": typed(f"{HTTP}.router.v3.Router")}
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%"

SCOPED = {
    "name": "scopes",
    "scope_key_builder": {
        "fragments": [
            {"header_value_extractor": {"name": "x-tenant", "element_separator": ",", "index": 1}},
            {
                "header_value_extractor": {
                    "name": "x-attributes",
                    "element_separator": ";",
                    "element": {"separator": "=", "key": "zone"},
                }
            },
        ]
    },
    "rds_config_source": ADS,
    "scoped_rds": {"scoped_rds_config_source": ADS},
}
TENANT_A = "x-tenant: z,a\r\nx-attributes: b=2;zone=1\r\n"
TENANT_B = "x-tenant: z,b\r\nx-attributes: zone=1\r\n"


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def both(request: pytest.FixtureRequest) -> Iterator[list[Side]]:
    yield from sides(request.param)


@pytest.fixture
def sotw() -> Iterator[list[Side]]:
    yield from sides(False)


@pytest.fixture
def delta() -> Iterator[list[Side]]:
    yield from sides(True)


def listener(side: Side, **fields: Any) -> Any:
    filters = fields.pop("http_filters", [ROUTER])
    log = file_log(LOG)
    log["typed_config"]["path"] = str(side.proxy.values["access_log"])
    manager = connection_manager({}, access_log=[log], http_filters=filters, **fields)
    manager["typed_config"].pop("route_config", None)
    tree = {**listener_tree([manager], "l"), "address": address(side.proxy.ports["first"])}
    return parsed(listener_pb2.Listener(), tree)


def scope(name: str, table: str, *key: str, **fields: Any) -> Any:
    tree = {
        "name": name,
        "route_configuration_name": table,
        "key": {"fragments": [{"string_key": part} for part in key]},
        **fields,
    }
    return parsed(scoped_route_pb2.ScopedRouteConfiguration(), tree)


def answers(name: str, status: int, **fields: Any) -> Any:
    """A route table that answers everything by itself."""
    answer = {"match": {"prefix": "/"}, "name": f"of {name}", "direct_response": {"status": status}}
    host = {"name": "all", "domains": ["*"], "routes": [answer]}
    return parsed(route_pb2.RouteConfiguration(), {"name": name, "virtual_hosts": [host], **fields})


def test_the_scope_chooses_the_table(both: list[Side]) -> None:
    def start(side: Side) -> None:
        side.serve(
            scope("one", "r1", "a", "1"),
            scope("two", "r2", "b", "1"),
            answers("r1", 201),
            answers("r2", 202),
            listener(side, scoped_routes=SCOPED),
        )

    def statuses(side: Side) -> list[int]:
        return [
            side.get(fields=fields)
            for fields in (
                TENANT_A,
                TENANT_B,
                "",
                "x-tenant: z,c\r\nx-attributes: zone=1\r\n",
                "x-tenant: a\r\nx-attributes: zone=1\r\n",
                "x-tenant: z,a\r\nx-attributes: zone\r\n",
                "x-tenant: z,a\r\nx-tenant: z,b\r\nx-attributes: zone=1\r\n",
                "x-tenant: z,a\r\nx-attributes: zone=1;zone=2\r\n",
            )
        ]

    push(both, start)
    agree(both, statuses, [201, 202, 404, 404, 404, 404, 201, 201])
    assert logged(both, 3) == [
        "201 - direct_response of r1",
        "202 - direct_response of r2",
        "404 NR route_not_found -",
    ]
    names = ("all_scopes", "active_scopes", "on_demand_scopes", "config_reload", "update_success")
    same_stats(both, "http.ingress.scoped_rds.scopes.", *names)


def test_scopes_change_and_go(both: list[Side]) -> None:
    def start(side: Side) -> None:
        side.serve(scope("one", "r1", "a", "1"), answers("r1", 201), listener(side, scoped_routes=SCOPED))

    def look(side: Side) -> list[int]:
        return [side.get(fields=TENANT_A), side.get(fields=TENANT_B)]

    push(both, start)
    agree(both, look, [201, 404])
    push(both, lambda side: side.server.set(answers("r1", 203)))
    agree(both, look, [203, 404])
    push(both, lambda side: side.server.set(scope("two", "r2", "b", "1"), answers("r2", 202)))
    agree(both, look, [203, 202])
    push(both, lambda side: side.server.set(scope("one", "r2", "a", "1")))
    agree(both, look, [202, 202])
    push(both, lambda side: side.server.remove(SCOPES, "two"))
    agree(both, look, [202, 404])


def test_scopes_with_one_key_are_refused(both: list[Side]) -> None:
    def start(side: Side) -> None:
        side.serve(scope("one", "r1", "a", "1"), answers("r1", 201), listener(side, scoped_routes=SCOPED))

    push(both, start)
    push(both, lambda side: side.server.set(scope("two", "r1", "b", "1"), scope("three", "r1", "b", "1")))
    for side in both:
        side.server.wait_for(lambda side=side: side.server.nacks(SCOPES))
    agree(both, lambda side: [side.get(fields=TENANT_A), side.get(fields=TENANT_B)], [201, 404])


def test_scopes_that_stand_in_the_listener(both: list[Side]) -> None:
    inline = {key: value for key, value in SCOPED.items() if key != "scoped_rds"}
    table = {
        "name": "r",
        "internal_only_headers": ["x-inner"],
        "virtual_hosts": [
            {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}
        ],
    }
    scopes = [
        {
            "name": "s",
            "route_configuration": table,
            "key": {"fragments": [{"string_key": part} for part in ("a", "1")]},
        }
    ]
    inline["scoped_route_configurations_list"] = {"scoped_route_configurations": scopes}
    push(both, lambda side: side.serve(listener(side, scoped_routes=inline)))
    agree(both, lambda side: [side.get(fields=TENANT_A), side.get(fields=TENANT_B)], [200, 404])


def on_demand(**odcds: Any) -> Any:
    fields = {"odcds": odcds} if odcds else {}
    return {
        "name": "envoy.filters.http.on_demand",
        "typed_config": typed(f"{HTTP}.on_demand.v3.OnDemand", **fields),
    }


def test_a_scope_on_demand(both: list[Side]) -> None:
    def start(side: Side) -> None:
        side.serve(
            scope("one", "r1", "a", "1", on_demand=True),
            answers("r1", 201),
            listener(side, scoped_routes=SCOPED, http_filters=[on_demand(), ROUTER]),
        )

    push(both, start)
    agree(both, lambda side: sorted(side.server.subscribed(ResourceType.ROUTE)), [])
    agree(both, lambda side: [side.get(fields=TENANT_B), side.get(fields=TENANT_A)], [404, 201])
    agree(both, lambda side: sorted(side.server.subscribed(ResourceType.ROUTE)), ["r1"])


def host(name: str, *domains: str, status: int = 201) -> Any:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": status}}
    tree = {"name": name, "domains": list(domains), "routes": [answer]}
    return parsed(route_components_pb2.VirtualHost(), tree)


def vhds_table(name: str, **fields: Any) -> Any:
    return parsed(route_pb2.RouteConfiguration(), {"name": name, "vhds": {"config_source": ADS}, **fields})


def rds(name: str) -> dict[str, Any]:
    return {"route_config_name": name, "config_source": ADS}


def test_virtual_hosts_that_the_server_brings(delta: list[Side]) -> None:
    own = {
        "name": "own",
        "domains": ["own.example"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}],
    }

    def start(side: Side) -> None:
        side.serve(
            vhds_table("r", virtual_hosts=[own]), host("r/one", "one.example"), listener(side, rds=rds("r"))
        )

    def look(side: Side) -> list[int]:
        return [side.get(host=name) for name in ("own.example", "one.example", "two.example")]

    push(delta, start)
    agree(delta, look, [204, 201, 404])
    push(delta, lambda side: side.server.set(host("r/two", "two.example", status=202)))
    agree(delta, look, [204, 201, 202])
    push(delta, lambda side: side.server.remove(VHDS, "r/one"))
    agree(delta, look, [204, 404, 202])
    same_stats(delta, "http.ingress.rds.vhds.r.", "config_reload", "update_success")


def test_a_virtual_host_on_demand(delta: list[Side]) -> None:
    def start(side: Side) -> None:
        filters = [on_demand(), ROUTER]
        side.serve(
            vhds_table("r"), host("r/one", "one.example"), listener(side, rds=rds("r"), http_filters=filters)
        )
        side.server.hold(VHDS)

    def bring(side: Side) -> int:
        waiting = side.ask(host="Two.example")
        side.server.wait_for(lambda: "r/two.example" in side.server.subscribed(VHDS))
        assert not waiting.done()
        side.server.set(host("r/two.example", "two.example", status=202))
        side.server.release(VHDS)
        status: int = waiting.result(10)
        return status

    push(delta, start)
    agree(delta, lambda side: side.get(host="one.example"), 201)
    agree(delta, bring, 202)
    agree(delta, lambda side: side.get(host="two.example"), 202)
    logged(delta, 3)


def test_a_virtual_host_that_does_not_exist(delta: list[Side]) -> None:
    def start(side: Side) -> None:
        filters = [on_demand(), ROUTER]
        side.serve(
            vhds_table("r"), host("r/one", "one.example"), listener(side, rds=rds("r"), http_filters=filters)
        )
        side.server.hold(VHDS)

    def refuse(side: Side) -> int:
        waiting = side.ask(host="no.example")
        side.server.wait_for(lambda: "r/no.example" in side.server.subscribed(VHDS))
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=VHDS.type_url, nonce="no")
        response.resources.add(name="r/no.example", aliases=["r/no.example"])
        side.server.push_raw(response)
        status: int = waiting.result(10)
        return status

    push(delta, start)
    assert [refuse(side) for side in delta] == [404, 404]
    assert logged(delta, 1) == ["404 NR route_not_found -"]


def by_header(name: str = "r") -> Any:
    chosen = {"match": {"prefix": "/"}, "name": "chosen", "route": {"cluster_header": "x-cluster"}}
    tree = {"name": name, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [chosen]}]}
    return parsed(route_pb2.RouteConfiguration(), tree)


def test_a_cluster_on_demand(delta: list[Side]) -> None:
    def start(side: Side) -> None:
        filters = [on_demand(source=ADS, timeout="2s"), ROUTER]
        side.serve(by_header(), listener(side, rds=rds("r"), http_filters=filters))
        side.server.hold(CDS)

    def bring(side: Side) -> int:
        waiting = side.ask(fields="x-cluster: d\r\n")
        side.server.wait_for(lambda: "d" in side.server.subscribed(CDS))
        assert not waiting.done()
        side.server.set(cluster("d"), endpoints("d", side.origin.port))
        side.server.release(CDS)
        status: int = waiting.result(10)
        return status

    push(delta, start)
    assert [bring(side) for side in delta] == [200, 200]
    # The server says that there is none.
    agree(delta, lambda side: side.get(fields="x-cluster: none\r\n"), 503)
    push(delta, lambda side: side.server.hold(CDS))
    # It says nothing.
    assert [side.get(fields="x-cluster: late\r\n") for side in delta] == [503, 503]
    assert [side.get() for side in delta] == [503, 503]
    assert "cluster_not_found" in logged(delta, 4)[-1]


def test_a_cluster_of_tcp_on_demand(delta: list[Side]) -> None:
    def start(side: Side) -> None:
        fields = {"stat_prefix": "t", "cluster": "d", "on_demand": {"odcds_config": ADS, "timeout": "5s"}}
        tree = listener_tree([{"name": "tcp", "typed_config": typed(TCP_PROXY, **fields)}], "l")
        side.serve(parsed(listener_pb2.Listener(), {**tree, "address": address(side.proxy.ports["first"])}))

    def refused(side: Side) -> bool:
        with socket.create_connection(("127.0.0.1", side.proxy.port), 10) as connection:
            return not connection.recv(1)

    def bring(side: Side) -> int:
        side.server.hold(CDS)
        waiting = side.ask()
        # Envoy keeps asking for the cluster that is missing, so the subscription does not tell that this one waits.
        side.server.wait_for(lambda: side.proxy.stats("tcp.t.")["tcp.t.on_demand_cluster_attempt"] == 2)
        assert not waiting.done()
        side.server.set(cluster("d"), endpoints("d", side.origin.port))
        side.server.release(CDS)
        status: int = waiting.result(10)
        return status

    push(delta, start)
    for side in delta:
        side.server.wait_for(lambda side=side: side.proxy.stats("listener_manager.listener_create_success"))
    assert [refused(side) for side in delta] == [True, True]
    assert [bring(side) for side in delta] == [200, 200]
    same_stats(delta, "tcp.t.on_demand_cluster_", "attempt", "missing", "success")


def header_filter(name: str, value: str) -> Any:
    mutation = {"append": {"header": {"key": "x-filter", "value": value}}}
    config = typed(f"{HTTP}.header_mutation.v3.HeaderMutation", mutations={"response_mutations": [mutation]})
    return parsed(extension_pb2.TypedExtensionConfig(), {"name": name, "typed_config": config})


def discovered(name: str, *types: str, **fields: Any) -> Any:
    urls = [f"type.googleapis.com/{HTTP}.{one}" for one in types or ("header_mutation.v3.HeaderMutation",)]
    return {"name": name, "config_discovery": {"config_source": ADS, "type_urls": urls, **fields}}


def seen(side: Side) -> tuple[int, str]:
    try:
        reply = get(side.proxy.port)
    except OSError:
        return 0, ""
    return reply.status, reply.response.get("x-filter") or ""


def test_a_filter_that_the_server_brings(both: list[Side]) -> None:
    def start(side: Side) -> None:
        filters = [discovered("f"), ROUTER]
        side.serve(
            header_filter("f", "1"),
            route_config("r", "c"),
            listener(side, rds=rds("r"), http_filters=filters),
        )

    push(both, start)
    agree(both, seen, (200, "1"))
    push(both, lambda side: side.server.set(header_filter("f", "2")))
    agree(both, seen, (200, "2"))
    wrong = {"name": "f", "typed_config": typed(f"{HTTP}.buffer.v3.Buffer", max_request_bytes=1)}
    push(both, lambda side: side.server.set(parsed(extension_pb2.TypedExtensionConfig(), wrong)))
    for side in both:
        side.server.wait_for(lambda side=side: side.server.nacks(ECDS))
    agree(both, seen, (200, "2"))
    envoy, ours = (side.server.nacks(ECDS)[-1] for side in both)
    assert envoy in ours
    names = ("config_reload", "config_fail", "config_conflict", "update_success", "update_rejected")
    same_stats(both, "extension_config_discovery.http_filter.f.", *names)


def test_a_filter_that_does_not_come(sotw: list[Side]) -> None:
    source = {**ADS, "initial_fetch_timeout": "1s"}
    default = typed(
        f"{HTTP}.header_mutation.v3.HeaderMutation",
        mutations={"response_mutations": [{"append": {"header": {"key": "x-filter", "value": "default"}}}]},
    )

    def start(side: Side) -> None:
        filters = [discovered("f", config_source=source), discovered("g", config_source=source), ROUTER]
        side.serve(route_config("r", "c"), listener(side, rds=rds("r"), http_filters=filters))

    def fall_back(side: Side) -> None:
        filters = [
            discovered("h", default_config=default, apply_default_config_without_warming=True),
            ROUTER,
        ]
        side.server.set(listener(side, rds=rds("r"), http_filters=filters, server_name="other"))

    push(sotw, start)
    agree(sotw, seen, (500, ""))
    assert len(logged(sotw, 1)) == 1
    push(sotw, fall_back)
    agree(sotw, seen, (200, "default"))
    push(sotw, lambda side: side.server.set(header_filter("h", "came")))
    agree(sotw, seen, (200, "came"))


def test_a_router_that_the_server_brings(both: list[Side]) -> None:
    router = {
        "name": "router",
        "typed_config": typed(f"{HTTP}.router.v3.Router", suppress_envoy_headers=True),
    }

    def start(side: Side) -> None:
        side.serve(
            parsed(extension_pb2.TypedExtensionConfig(), router),
            route_config("r", "c"),
            listener(side, rds=rds("r"), http_filters=[discovered("router", "router.v3.Router")]),
        )

    def look(side: Side) -> tuple[int, bool]:
        try:
            reply = get(side.proxy.port)
        except OSError:
            return 0, False
        return reply.status, reply.response.get("x-envoy-upstream-service-time") is not None

    push(both, start)
    agree(both, look, (200, False))
