"""Load reports (LRS) of the same traffic, beside Envoy."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from tests.support.client import exchange
from tests.support.configs import (
    address,
    bootstrap,
    cluster,
    connection_manager,
    http2_cluster,
    route,
    virtual_host,
)
from tests.support.configs import listener as listener_tree
from tests.support.envoy import Envoy
from tests.support.load_report_server import LoadReportServer
from tests.support.managers import get
from tests.support.mesh import ADS, endpoints, mesh_bootstrap
from tests.support.mesh import cluster as eds_cluster
from tests.support.origin import HELLO, Origin
from tests.support.outrider import subject
from tests.support.ports import free_port
from tests.support.proxy_process import ProxyProcess, StartError
from tests.support.xds_server import XdsServer

NAMES = (
    "plain",
    "spread",
    "down",
    "dropped",
    "all_dropped",
    "full",
    "measured",
    "measured_all",
    "idle",
    "found",
)
error = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
NODE = {"id": "me", "cluster": "us", "locality": {"region": "r", "zone": "z"}, "metadata": {"a": "b"}}
LOAD_STATS = {
    "api_type": "GRPC",
    "transport_api_version": "V3",
    "grpc_services": [{"envoy_grpc": {"cluster_name": "lrs"}}],
}


def config(lrs_port: int, xds_port: int, origin_port: int, dead_port: int) -> dict[str, Any]:
    def assigned(name: str, *groups: dict[str, Any], **policy: Any) -> dict[str, Any]:
        return {"load_assignment": {"cluster_name": name, "endpoints": list(groups), "policy": policy}}

    def group(ip: str, zone: str, port: int = origin_port, **fields: Any) -> dict[str, Any]:
        hosts = [{"endpoint": {"address": address(port, ip)}}]
        return {"locality": {"region": "r", "zone": zone}, "lb_endpoints": hosts, **fields}

    def overload(percent: int) -> dict[str, Any]:
        one = {"category": "throttle", "drop_percentage": {"numerator": percent}}
        return {"drop_overloads": [one]}

    here = group("127.0.0.1", "z")
    nobody = {"thresholds": [{"max_requests": 0, "max_connections": 0, "max_pending_requests": 0}]}
    clusters = [
        cluster("plain", origin_port),
        cluster("idle", origin_port),
        cluster("down", dead_port),
        cluster("full", origin_port, circuit_breakers=nobody),
        cluster(
            "spread",
            **assigned(
                "spread",
                group("127.0.0.4", "b"),
                group("127.0.0.2", "a"),
                here,
                group("127.0.0.5", "c", priority=1),
            ),
        ),
        cluster("dropped", **assigned("dropped", here, **overload(50))),
        cluster("all_dropped", **assigned("all_dropped", here, **overload(100))),
        cluster(
            "measured",
            origin_port,
            lrs_report_endpoint_metrics=["cpu_utilization", "named_metrics.one", "utilization.*", "nonsense"],
            lrs_server={"self": {}},
        ),
        cluster("measured_all", origin_port, lrs_report_endpoint_metrics=["named_metrics.*", "eps"]),
        http2_cluster("lrs", lrs_port),
        http2_cluster("xds", xds_port),
    ]
    routes = [route(name, f"/{name}/") for name in NAMES]
    table = {"name": "t", "virtual_hosts": [virtual_host(routes)], "validate_clusters": False}
    made = mesh_bootstrap(xds_port)
    dynamic = {key: made["dynamic_resources"][key] for key in ("ads_config", "cds_config")}
    return bootstrap(
        [listener_tree([connection_manager(table)])],
        clusters,
        node=NODE,
        dynamic_resources=dynamic,
        cluster_manager={"load_stats_config": LOAD_STATS},
    )


@dataclass
class Side:
    lrs: LoadReportServer
    xds: XdsServer
    origin: Origin
    proxy: ProxyProcess

    def request(self, cluster_name: str, times: int = 1, answer: Any = HELLO) -> list[int]:
        """So many GETs, one after the other; their statuses."""
        self.origin.script(answer)
        return [exchange(self.proxy.port, get(f"/{cluster_name}/")).status for _ in range(times)]

    def ask(self, *clusters: str, **fields: Any) -> int:
        """Ask for reports, and wait for the first one about it; gives the number of reports by then."""
        self.lrs.answer(*clusters, **fields)
        wanted = set(clusters or NAMES)
        self.lrs.wait_for(lambda: wanted <= {one.cluster_name for one in self.lrs.reports[-1].cluster_stats})
        return len(self.lrs.reports)

    def total(self, since: int, complete: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What was reported since then, once it is complete, without a locality that has no load any more."""
        self.lrs.wait_for(lambda: complete(self.lrs.total(since)))
        return self.lrs.total(since)

    def named(self, value: Any) -> Any:
        """With the port of the origin by name."""
        return json.loads(json.dumps(value).replace(str(self.origin.port), "ORIGIN"))


Both = Callable[[Callable[[Side], Any]], Any]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """Does something on both sides, and compares what it returns; gives that."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        sides = list(pool.map(lambda kind: start(stack, kind), (Envoy, subject())))

        def do(work: Callable[[Side], Any]) -> Any:
            envoy, outrider = pool.map(work, sides)
            assert outrider == envoy
            return outrider

        yield do


def start(stack: ExitStack, kind: type[ProxyProcess]) -> Side:
    lrs = stack.enter_context(LoadReportServer())
    xds = stack.enter_context(XdsServer())
    origin = stack.enter_context(Origin(host="0.0.0.0"))
    source = {"eds_config": ADS, "service_name": "service"}
    xds.set(eds_cluster("found", eds_cluster_config=source), endpoints("service", origin.port))
    tree = config(lrs.port, xds.port, origin.port, free_port())
    return Side(lrs, xds, origin, stack.enter_context(kind(tree)))


def issued(total: dict[str, Any], cluster_name: str) -> int:
    localities = total.get(cluster_name, {}).get("localities", {})
    return sum(one["total_issued_requests"] for one in localities.values())


def test_the_first_report_tells_who_we_are(both: Both) -> None:
    def first(side: Side) -> Any:
        report = side.lrs.wait_for(lambda: side.lrs.reports and side.lrs.reports[0])
        node = json_format.MessageToDict(report.node)
        return (
            {key: node[key] for key in ("id", "cluster", "locality", "metadata", "clientFeatures")},
            len(report.cluster_stats),
        )

    both(first)


def test_load_is_reported_by_cluster_and_locality(both: Both) -> None:
    def work(side: Side) -> Any:
        side.request("plain", 2)  # before anybody asked for it: in no report
        since = side.ask(*NAMES)
        statuses = [side.request("plain", 7), side.request("plain", 2, error), side.request("found", 3)]
        statuses += [side.request("down", 2), side.request("full", 2), side.request("all_dropped", 4)]
        side.request("spread", 30)
        total = side.total(since, lambda total: issued(total, "spread") == 30)
        del total["spread"]["localities"]
        return statuses, side.named(total)

    statuses, total = both(work)
    assert statuses[0] == [200] * 7
    assert total["plain"]["localities"]["0 //"]["total_error_requests"] == 2
    assert total["found"]["service_name"] == "service"
    assert total["all_dropped"]["dropped_requests"] == {"throttle": 4}
    assert total["full"]["dropped"] == 2
    assert "localities" not in total["idle"]


def test_hosts_are_reported_one_by_one(both: Both) -> None:
    def work(side: Side) -> Any:
        since = side.ask("spread", report_endpoint_granularity=True)
        side.request("spread", 30)
        total = side.total(since, lambda total: issued(total, "spread") == 30)
        localities = total["spread"]["localities"]
        order = [
            (locality.priority, locality.locality.zone)
            for report in side.lrs.reports[since:]
            for stats in report.cluster_stats
            for locality in stats.upstream_locality_stats
        ]
        endpoints = {name: list(locality["endpoints"]) for name, locality in localities.items()}
        return side.named(endpoints), order == sorted(order, key=lambda one: (one[1] != "z", one))

    endpoints_by_locality, _ = both(work)
    assert len(endpoints_by_locality) == 3


def test_a_part_of_the_requests_is_dropped(both: Both) -> None:
    def work(side: Side) -> Any:
        since = side.ask("dropped")
        refused = side.request("dropped", 40).count(503)
        total = side.total(since, lambda total: issued(total, "dropped") == 40 - refused)["dropped"]
        assert total["dropped"] == refused
        assert total["dropped_requests"] == {"throttle": refused}
        return 0 < refused < 40

    assert both(work)


@pytest.mark.parametrize(
    "report",
    [
        "TEXT cpu_utilization=0.5, named_metrics.one=2, named_metrics.two=3, utilization.u=0.25, eps=4",
        'JSON {"cpu_utilization": 0.5, "named_metrics": {"one": 2, "two": 3}}',
        "TEXT mem_utilization=0.5",
        "TEXT what=is this",
    ],
)
def test_metrics_of_hosts_are_reported(both: Both, report: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nendpoint-load-metrics: {report}\r\n\r\n".encode()

    def work(side: Side) -> Any:
        since = side.ask("measured", "measured_all")
        side.request("measured", 3, answer)
        side.request("measured_all", 2, answer)
        done = lambda total: issued(total, "measured") == 3 and issued(total, "measured_all") == 2  # noqa: E731
        return side.named(side.total(since, done))

    both(work)


def test_requests_in_progress_are_reported_as_long_as_they_last(both: Both) -> None:
    def work(side: Side) -> Any:
        since = side.ask("plain")
        go = threading.Event()

        def wait(_request: Any, _connection: Any) -> bytes:
            go.wait(20)
            return HELLO

        thread = threading.Thread(target=side.request, args=("plain", 1, wait))
        thread.start()

        def active() -> Any:
            localities = [
                one
                for report in side.lrs.reports[since:]
                for stats in report.cluster_stats
                for one in stats.upstream_locality_stats
            ]
            return [(one.total_issued_requests, one.total_requests_in_progress) for one in localities][:3]

        seen = side.lrs.wait_for(lambda: len(active()) == 3 and active())
        go.set()
        thread.join()
        total = side.total(
            since, lambda total: total["plain"]["localities"]["0 //"]["total_successful_requests"] == 1
        )
        last = len(side.lrs.reports)
        side.lrs.wait_for(lambda: len(side.lrs.reports) > last)
        empty = [len(stats.upstream_locality_stats) for stats in side.lrs.reports[-1].cluster_stats]
        return seen, total["plain"]["localities"]["0 //"]["total_issued_requests"], empty

    assert both(work)[0] == [(1, 1), (0, 1), (0, 1)]


def test_all_clusters_can_be_asked_for(both: Both) -> None:
    def work(side: Side) -> Any:
        side.lrs.answer("plain", "nobody")
        side.lrs.wait_for(
            lambda: {one.cluster_name for one in side.lrs.reports[-1].cluster_stats} == {"plain"}
        )
        side.ask(send_all_clusters=True)
        return sorted(one.cluster_name for one in side.lrs.reports[-1].cluster_stats)

    both(work)


def test_the_interval_is_measured(both: Both) -> None:
    def work(side: Side) -> Any:
        since = side.ask("plain", interval=0.5)
        report = side.lrs.wait_for(lambda: len(side.lrs.reports) > since + 1 and side.lrs.reports[since + 1])
        (stats,) = report.cluster_stats
        return stats.load_report_interval.ToMicroseconds() >= 490_000

    assert both(work)


def test_nothing_is_lost_while_the_stream_is_down(both: Both) -> None:
    def work(side: Side) -> Any:
        since = side.ask("plain")
        before = side.lrs.streams_opened
        side.lrs.cut(grpc.StatusCode.UNAVAILABLE)
        side.request("plain", 5)
        side.lrs.wait_for(lambda: side.lrs.streams_opened > before)
        total = side.total(since, lambda total: issued(total, "plain") == 5)
        counted = side.proxy.stats("load_reporter.")
        return (
            side.named(total),
            counted["load_reporter.errors"],
            counted["load_reporter.retries"],
            sorted(counted),
        )

    _, errors, retries, _ = both(work)
    assert (errors, retries) == (1, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"api_type": "REST", "cluster_names": ["origin"], "grpc_services": []},
        {"grpc_services": []},
        {"grpc_services": [{"envoy_grpc": {"cluster_name": "nobody"}}]},
    ],
)
def test_neither_starts_with_a_source_that_is_no_grpc_service(changed: dict[str, Any]) -> None:
    source = {**LOAD_STATS, "grpc_services": [{"envoy_grpc": {"cluster_name": "origin"}}], **changed}
    tree = bootstrap(
        [], [http2_cluster("origin", 1)], cluster_manager={"load_stats_config": source}, node=NODE
    )
    for kind in (Envoy, subject()):
        with pytest.raises(StartError, match=f"{kind.name} ended"), kind(tree, listeners=()):
            pass
