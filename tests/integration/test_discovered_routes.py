"""Scoped routes, virtual hosts, clusters and filters that a control plane brings, to listeners of the bootstrap."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.differential.test_discovered_routes import (
    ADS,
    ROUTER,
    SCOPED,
    TENANT_A,
    TENANT_B,
    answers,
    by_header,
    discovered,
    header_filter,
    host,
    on_demand,
    rds,
    scope,
    vhds_table,
)
from tests.support.client import get
from tests.support.configs import connection_manager, http2_cluster
from tests.support.configs import listener as listener_tree
from tests.support.mesh import cluster, endpoints, mesh_bootstrap
from tests.support.origin import Origin
from tests.support.outrider import Outrider
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, VHDS = ResourceType.CLUSTER, ResourceType.VIRTUAL_HOST


class TwoWorkers(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info"]


def bootstrap(port: int, managers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Static listeners with the fields of their connection managers by name."""
    listeners = []
    for name, fields in managers.items():
        manager = connection_manager({}, **fields)
        manager["typed_config"].pop("route_config")
        listeners.append(listener_tree([manager], name))
    static = {"clusters": [http2_cluster("xds", port)], "listeners": listeners}
    return mesh_bootstrap(port, delta=True, static_resources=static)


@pytest.fixture
def server() -> Iterator[XdsServer]:
    with XdsServer() as one:
        yield one


def eventually(check: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def status(proxy: Outrider, name: str, **options: Any) -> int:
    return get(proxy.ports[name], **options).status


def workers_of(proxy: Outrider) -> list[int]:
    """The processes below the fork server."""
    children = _children(proxy.pid)
    return [worker for child in children for worker in _children(child)]


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(text) for text in file.read().split()]


def test_static_listeners_take_scopes_virtual_hosts_and_filters(server: XdsServer) -> None:
    filters = [discovered("f"), on_demand(), ROUTER]
    managers = {
        "first": {"scoped_routes": SCOPED, "http_filters": filters},
        "second": {"rds": rds("r2"), "http_filters": filters},
    }
    server.set(
        header_filter("f", "here"),
        scope("one", "r1", "a", "1", on_demand=True),
        scope("two", "r2", "b", "1"),
        answers("r1", 201),
        vhds_table("r2"),
        host("r2/one.example", "one.example", status=202),
    )
    with TwoWorkers(bootstrap(server.port, managers), listeners=("first", "second")) as proxy:
        for _ in range(2):
            for _ in range(6):
                reply = get(proxy.ports["first"], fields=TENANT_A)
                assert (reply.status, reply.response.get("x-filter")) == (201, "here")
                assert status(proxy, "first", fields=TENANT_B, host="one.example") == 202
                assert status(proxy, "second", host="one.example") == 202
                assert status(proxy, "second", host="no.example") == 404
            # A worker that takes the place of another knows all that came on demand.
            for worker in workers_of(proxy):
                os.kill(worker, signal.SIGKILL)
            eventually(lambda: proxy.stats().get("server.worker_restarted", 0) >= 2)


def test_many_requests_wait_for_one_answer(server: XdsServer) -> None:
    managers = {
        "first": {"rds": rds("r"), "http_filters": [on_demand(), ROUTER]},
        "second": {"rds": rds("c"), "http_filters": [on_demand(source=ADS, timeout="30s"), ROUTER]},
    }
    server.set(vhds_table("r"), host("r/one", "one.example"), by_header("c"))
    with (
        Origin() as origin,
        TwoWorkers(bootstrap(server.port, managers), listeners=("first", "second")) as proxy,
        ThreadPoolExecutor(16) as pool,
    ):
        server.hold(VHDS, CDS)
        waiting = [pool.submit(status, proxy, "first", host="two.example", timeout=20) for _ in range(8)]
        waiting += [
            pool.submit(status, proxy, "second", fields="x-cluster: d\r\n", timeout=20) for _ in range(8)
        ]
        server.wait_for(lambda: "r/two.example" in server.subscribed(VHDS))
        server.wait_for(lambda: "d" in server.subscribed(CDS))
        server.set(
            host("r/two.example", "two.example", status=203), cluster("d"), endpoints("d", origin.port)
        )
        server.release(VHDS, CDS)
        assert [one.result(20) for one in waiting] == [203] * 8 + [200] * 8
        asked = [name for seen in server.seen(VHDS) for name in seen.message.resource_names_subscribe]
        assert asked.count("r/two.example") == 1


def test_what_was_asked_for_is_asked_for_again_on_a_new_stream(server: XdsServer) -> None:
    managers = {"first": {"rds": rds("r"), "http_filters": [on_demand(), ROUTER]}}
    server.set(vhds_table("r"), host("r/one.example", "one.example"))
    with Outrider(bootstrap(server.port, managers), listeners=("first",)) as proxy:
        assert status(proxy, "first", host="one.example") == 201
        assert status(proxy, "first", host="two.example") == 404
        server.cut()
        server.wait_for(lambda: server.open_streams and server.acked(VHDS))
        assert status(proxy, "first", host="one.example") == 201
        server.set(host("r/two.example", "two.example", status=202))
        eventually(lambda: status(proxy, "first", host="two.example") == 202)
        server.remove(VHDS, "r/two.example")
        eventually(lambda: status(proxy, "first", host="two.example") == 404)
