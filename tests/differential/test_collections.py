"""Listeners and clusters of `xdstp://` collections, and resources of structured names, beside Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.envoy import Envoy
from tests.support.mesh import cluster, endpoints, listener, mesh_bootstrap, route_config
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS, LDS, RDS = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE
TYPES = (CDS, EDS, LDS, RDS)

#: What Envoy makes of the node below. The order of several keys in a value differs there from run to run.
CONTEXT = 'xds.node.cluster=test-cluster&xds.node.id=test-id&xds.node.metadata.m={"n":%5B1,"a b"%5D}'
CLUSTERS = f"xdstp://auth/{CDS.value}/mesh/*"
LISTENERS = f"xdstp://auth/{LDS.value}/mesh/*?zone=z"
ROUTES = f"xdstp://auth/{RDS.value}/routes?a=1&b=2"
HOSTS = f"xdstp://auth/{EDS.value}/hosts/one"


def member(collection: str, name: str, context: str = CONTEXT) -> str:
    """The name of a resource in a collection."""
    path, question, own = collection.partition("?")
    parameters = "&".join(sorted([*own.split("&"), *context.split("&")])) if question else context
    return f"{path.removesuffix('*')}{name}?{parameters}"


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    origin: Origin

    def asked(self) -> list[set[str]]:
        return [self.server.subscribed(kind) for kind in TYPES]

    def eventually(self, check: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10.0
        while not check():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.02)

    def get(self, path: str = "/") -> int:
        request = f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
        return exchange(self.proxy.ports["first"], request).status

    def active(self) -> list[Mapping[str, int]]:
        return [
            self.proxy.stats("cluster_manager.active_clusters"),
            self.proxy.stats("listener_manager.total_listeners_active"),
        ]


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def sides(request: pytest.FixtureRequest) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            server = stack.enter_context(XdsServer())
            # A state of the world without members is no answer to Envoy: it would wait for one.
            server.hold(*TYPES)
            origin = stack.enter_context(Origin())
            tree = mesh_bootstrap(server.port, delta=request.param)
            tree["node"]["metadata"] = {"m": {"n": [1, "a b"]}}
            tree["node_context_params"] = ["id", "cluster", "metadata", "unheard_of"]
            tree["dynamic_resources"] |= {
                "lds_resources_locator": LISTENERS,
                "cds_resources_locator": CLUSTERS,
            }
            proxy = stack.enter_context(kind(tree, listeners=("first", "second"), wait=False))
            made.append(Side(server, proxy, origin))
        yield made


def both(sides: list[Side], work: Callable[[Side], Any]) -> Any:
    """Do it on both sides, and compare what it returns."""
    with ThreadPoolExecutor(2) as pool:
        envoy, outrider = pool.map(work, sides)
    assert outrider == envoy
    return outrider


def fill(side: Side) -> None:
    one = cluster(member(CLUSTERS, "one"))
    one.eds_cluster_config.service_name = HOSTS
    side.server.set(
        one,
        cluster("outside", type="STATIC"),
        cluster(f"xdstp://auth/{CDS.value}/other/x?{CONTEXT}", type="STATIC"),
        endpoints(HOSTS, side.origin.port),
        listener(member(LISTENERS, "l"), side.proxy.ports["first"], ROUTES),
        route_config(ROUTES, member(CLUSTERS, "one")),
    )
    side.server.release(*TYPES)
    side.proxy.wait_ready(20)


def test_members_are_asked_for_served_updated_and_removed(sides: list[Side]) -> None:
    def begin(side: Side) -> Any:
        fill(side)
        return side.asked(), side.get(), side.active()

    asked, status, _ = both(sides, begin)
    assert asked[0] == {f"{CLUSTERS}?{CONTEXT}"}
    assert status == 200

    def change(side: Side) -> Any:
        two = cluster(member(CLUSTERS, "two"), type="STATIC")
        side.server.set(two, listener(member(LISTENERS, "m"), side.proxy.ports["second"], ROUTES))
        side.eventually(lambda: side.active()[1]["listener_manager.total_listeners_active"] == 2)
        grown = side.active(), side.get()
        side.server.remove(CDS, two.name)
        side.server.remove(LDS, member(LISTENERS, "m"))
        side.eventually(lambda: side.active()[1]["listener_manager.total_listeners_active"] == 1)
        side.eventually(lambda: side.active()[0]["cluster_manager.active_clusters"] == 2)
        return grown, side.get(), [side.server.nacks(kind) for kind in TYPES]

    both(sides, change)


def test_the_admin_server_shows_their_full_names(sides: list[Side]) -> None:
    def look(side: Side) -> Any:
        fill(side)
        side.get()
        dump = json.loads(side.proxy.admin("/config_dump")[1])["configs"]
        sections = {one["@type"].rpartition(".")[2]: one for one in dump}
        stats = side.proxy.stats()
        return (
            [one["cluster"]["name"] for one in sections["ClustersConfigDump"]["dynamic_active_clusters"]],
            [one["name"] for one in sections["ListenersConfigDump"]["dynamic_listeners"]],
            [one["route_config"]["name"] for one in sections["RoutesConfigDump"]["dynamic_route_configs"]],
            {name: stats[name] for name in stats if "xdstp" in name and name.endswith(("success", "_200"))},
        )

    names = both(sides, look)
    assert names[3][f"http.ingress.rds.xdstp_auth/{RDS.value}/routes?a=1&b=2.update_success"] == 1


def test_a_member_that_is_refused_leaves_the_others(sides: list[Side]) -> None:
    def refuse(side: Side) -> Any:
        fill(side)
        bad = cluster(member(CLUSTERS, "bad"), type="STATIC")
        bad.lb_policy = 6  # CLUSTER_PROVIDED, which a static cluster has none of
        side.server.set(bad)
        side.server.wait_for(lambda: side.server.nacks(CDS))
        return side.active(), side.get(), side.proxy.stats("cluster_manager.cds.update_rejected")

    both(sides, refuse)


def test_an_empty_collection_is_an_answer_in_both_protocols(sides: list[Side]) -> None:
    """Envoy passes an empty state of the world over: it waits for members, and keeps those that are gone."""
    sotw = "StreamAggregatedResources"

    def begin(side: Side) -> bool:
        side.server.release(*TYPES)
        side.server.wait_for(lambda: side.server.requests)
        try:
            side.proxy.wait_ready(3)
        except AssertionError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        envoy, outrider = pool.map(begin, sides)
    heard = sides[0].server.requests[0].method.rpartition("/")[2] != sotw
    assert (envoy, outrider) == (heard, True)

    fill(sides[1])
    sides[1].eventually(lambda: sides[1].active()[1]["listener_manager.total_listeners_active"])
    assert sides[1].get() == 200
    sides[1].server.remove(LDS, member(LISTENERS, "l"))
    sides[1].eventually(lambda: not sides[1].active()[1]["listener_manager.total_listeners_active"])
