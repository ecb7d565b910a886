"""Which control plane is asked for an `xdstp://` name, with and without the runtime guard, beside Envoy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, address, connection_manager, http2_cluster, route, typed
from tests.support.configs import cluster as static_cluster
from tests.support.configs import listener as listener_tree
from tests.support.envoy import Envoy
from tests.support.mesh import ADS, cluster, endpoints, mesh_bootstrap, route_config
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS, RDS = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.ROUTE
GUARD = "envoy.reloadable_features.xdstp_based_config_singleton_subscriptions"
SERVERS = ("xds", "one", "default")
HOSTS = f"xdstp://a.com/{EDS.value}/mesh:1/hosts"
OTHERS = f"xdstp://other.com/{EDS.value}/hosts?a=2&b=1"
ROUTES = f"xdstp://a.com/{RDS.value}/routes"


def source(cluster: str, *authorities: str, kind: str = "AGGREGATED_GRPC") -> Json:
    api = {
        "api_type": kind,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}],
    }
    named: Json = {"authorities": [{"name": name} for name in authorities]} if authorities else {}
    return {**named, "api_config_source": api, "resource_api_version": "V3"}


SOURCES: Json = {
    "config_sources": [source("one", "a.com")],
    "default_config_source": source("default", kind="AGGREGATED_DELTA_GRPC"),
}


def eds(service_name: str, config: Json | None) -> Json:
    settings: Json = {"service_name": service_name}
    if config is not None:
        settings["eds_config"] = config
    return {"name": "c", "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": settings}


def bootstrap(
    ports: Sequence[int], guard: bool, cluster: Json, routes: Json | None = None, **fields: Any
) -> Json:
    tree = mesh_bootstrap(ports[0])
    del tree["dynamic_resources"]["cds_config"], tree["dynamic_resources"]["lds_config"]
    manager = connection_manager({"virtual_hosts": [{"name": "v", "domains": "*", "routes": [route("c")]}]})
    if routes is not None:
        config = manager["typed_config"]
        del config["route_config"]
        config["rds"] = {"route_config_name": ROUTES, **routes}
    tree["static_resources"] = {
        "clusters": [*map(http2_cluster, SERVERS, ports), cluster],
        "listeners": [{**listener_tree([manager]), "address": address("{{listener_port}}")}],
    }
    if guard:
        tree["layered_runtime"] = {"layers": [{"name": "guard", "static_layer": {GUARD: True}}]}
    return {**tree, **fields}


class Side:
    """A proxy between three control planes that all know everything."""

    def __init__(
        self, stack: ExitStack, kind: type[ProxyProcess], make: Callable[[Sequence[int]], Json]
    ) -> None:
        self.origin = origin = stack.enter_context(Origin())
        self.servers = [stack.enter_context(XdsServer()) for _ in SERVERS]
        for server in self.servers:
            server.set(
                endpoints(HOSTS, origin.port),
                endpoints(OTHERS, origin.port),
                route_config(ROUTES, "c"),
            )
        self.proxy = stack.enter_context(kind(make([one.port for one in self.servers])))

    def outcome(self) -> Any:
        deadline = time.monotonic() + 10
        while (status := exchange(self.proxy.port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status) != 200:
            assert time.monotonic() < deadline, status
        asked = {
            name: (server.subscribed(EDS), server.subscribed(RDS), {seen.method for seen in server.requests})
            for name, server in zip(SERVERS, self.servers, strict=True)
        }
        stats = {
            name: value for name, value in self.proxy.stats().items() if name.endswith(".update_success")
        }
        listed = sum(
            line.startswith("c::127.0.0.1") for line in self.proxy.admin("/clusters")[1].splitlines()
        )
        return asked, stats, listed > 0


def both(make: Callable[[Sequence[int]], Json]) -> Any:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        sides = list(pool.map(lambda kind: Side(stack, kind, make), (Envoy, subject())))
        envoy, outrider = (side.outcome() for side in sides)
    assert outrider == envoy
    return outrider[0]


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("name", [HOSTS, OTHERS], ids=["authority", "default"])
def test_endpoints(guard: bool, name: str) -> None:
    asked = both(lambda ports: bootstrap(ports, guard, eds(name, ADS), **SOURCES))
    assert [server for server in SERVERS if asked[server][0]] == [
        "xds" if not guard else "one" if name == HOSTS else "default"
    ]


def test_routes_and_endpoints_without_sources_of_their_own() -> None:
    asked = both(lambda ports: bootstrap(ports, True, eds(HOSTS, None), {}, **SOURCES))
    assert (asked["one"][0], asked["one"][1]) == ({HOSTS}, {ROUTES})


def test_a_name_of_nobodys_authority_comes_from_the_source_that_stands_there() -> None:
    only = {"config_sources": SOURCES["config_sources"]}
    asked = both(lambda ports: bootstrap(ports, True, eds(OTHERS, ADS), {"config_source": ADS}, **only))
    assert [bool(asked[server][0]) for server in SERVERS] == [True, False, False]


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("authority", ["a.com", "other.com"])
def test_clusters_that_requests_ask_for(guard: bool, authority: str) -> None:
    name = f"xdstp://{authority}/{CDS.value}/asked"
    delta = {"config_sources": [source("one", "a.com", kind="AGGREGATED_DELTA_GRPC")]}
    settings = {"source": ADS, "timeout": "5s"}
    filters = [
        {
            "name": "on_demand",
            "typed_config": typed("envoy.extensions.filters.http.on_demand.v3.OnDemand", odcds=settings),
        }
    ]

    def make(ports: Sequence[int]) -> Json:
        tree = bootstrap(ports, guard, STATIC, **delta)
        manager = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["route_config"]["virtual_hosts"][0]["routes"] = [
            {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}
        ]
        manager["http_filters"] = [*filters, *manager["http_filters"]]
        tree["dynamic_resources"]["ads_config"]["api_type"] = "DELTA_GRPC"
        return tree

    def outcome(kind: type[ProxyProcess]) -> Any:
        with ExitStack() as stack:
            side = Side(stack, kind, make)
            for server in side.servers:
                asked = cluster(name, type="STATIC")
                asked.load_assignment.CopyFrom(endpoints(name, side.origin.port))
                server.set(asked)
            head = f"GET / HTTP/1.1\r\nhost: a\r\nx-cluster: {name}\r\n\r\n"
            status = exchange(side.proxy.port, head.encode()).status
            return status, [name in server.subscribed(CDS) for server in side.servers]

    with ThreadPoolExecutor(2) as pool:
        envoy, outrider = pool.map(outcome, (Envoy, subject()))
    assert outrider == envoy
    assert outrider == (200, [authority != "a.com", authority == "a.com", False])


@pytest.fixture(scope="module")
def taken() -> Iterator[Callable[..., list[bool]]]:
    """Whether Envoy and Outrider take a bootstrap."""
    with ThreadPoolExecutor(2) as pool:
        yield lambda config: list(pool.map(lambda kind: kind.validate(config)[0], (Envoy, subject())))


ONE = {"config_sources": [source("one", "a.com")]}
STATIC = static_cluster("c", 1)


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize(
    ("cluster", "fields", "expected"),
    [
        pytest.param(eds(HOSTS, None), ONE, (False, True), id="no-source-there"),
        pytest.param(eds(OTHERS, None), ONE, (False, False), id="no-source-anywhere"),
        pytest.param(eds("plain", None), SOURCES, (False, False), id="plain-name"),
        pytest.param(eds("xdstp://a.com/", None), SOURCES, (False, False), id="no-name"),
        pytest.param(eds(HOSTS, source("one", "a.com", kind="GRPC")), ONE, (True, False), id="peer"),
        pytest.param(eds(HOSTS, source("one", "z.com", kind="GRPC")), ONE, (True, True), id="other-peer"),
        pytest.param(eds(HOSTS, source("one", "a.com")), {}, (False, False), id="peer-aggregated"),
        pytest.param(STATIC, {"config_sources": [source("one")]}, (False, False), id="unnamed"),
        pytest.param(STATIC, {"config_sources": [source("one", "a", "a")]}, (False, False), id="twice"),
        pytest.param(
            STATIC,
            {"config_sources": [source("one", "a"), source("default", "a")]},
            (True, True),
            id="two-sources",
        ),
        pytest.param(STATIC, {"config_sources": [source("one", "")]}, (False, False), id="empty"),
        pytest.param(STATIC, {"config_sources": [source("no", "a")]}, (False, False), id="no-cluster"),
        pytest.param(
            STATIC, {"config_sources": [source("one", "a", kind="GRPC")]}, (False, False), id="grpc"
        ),
        pytest.param(
            STATIC, {"config_sources": [{"authorities": [{"name": "a"}], **ADS}]}, (False, False), id="ads"
        ),
        pytest.param(
            STATIC, {"default_config_source": source("one", "a", "a")}, (False, False), id="default"
        ),
        pytest.param(STATIC, {"default_config_source": source("one")}, (True, True), id="default-unnamed"),
    ],
)
def test_what_is_taken(
    taken: Callable[..., list[bool]], guard: bool, cluster: Json, fields: Json, expected: tuple[bool, bool]
) -> None:
    envoy, outrider = taken(bootstrap([1, 2, 3], guard, cluster, **fields))
    assert (envoy, outrider) == (expected[guard], expected[guard])
