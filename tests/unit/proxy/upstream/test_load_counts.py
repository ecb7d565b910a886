from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.upstream.host import Host, Locality
from proxy.upstream.load_counts import ClusterLoad, EndpointMetrics, LoadCounts


def cluster(name: str, *hosts: Host, metrics: Any = None) -> Any:
    stats = SimpleNamespace(rq_dropped=0, rq_drop_overload=0)
    policy = SimpleNamespace(drop_category="why")
    made = SimpleNamespace(hosts=hosts, stats=stats, assignment_policy=policy, endpoint_metrics=metrics)
    made.name = name
    return _Hashable(made)


class _Hashable:
    def __init__(self, inner: Any) -> None:
        self.__dict__.update(vars(inner))


def host(number: int = 1, total: int = 0, success: int = 0, active: int = 0) -> Host:
    made = Host(Address(f"10.0.0.{number}", 80), locality=Locality("r", "z"))
    made.stats.rq_total, made.stats.rq_success, made.stats.rq_active = total, success, active
    return made


def tell(counts: LoadCounts) -> dict[str, ClusterLoad]:
    return asyncio.run(counts.tell())


def want(counts: LoadCounts, *names: str) -> None:
    asyncio.run(counts.want(names))


PLACE = (0, ("r", "z", ""), ("10.0.0.1", 80, "", "", ""))


def test_what_was_not_asked_for_is_not_told() -> None:
    counts = LoadCounts(lambda: [cluster("c", host(total=3))])
    assert not counts.wanted
    assert tell(counts) == {}


def test_only_what_has_come_since_is_told() -> None:
    one = host(total=3, success=2)
    counts = LoadCounts(lambda: [the])
    the = cluster("c", one, host(2))
    want(counts, "c")
    assert tell(counts) == {}
    one.stats.rq_total, one.stats.rq_success, one.stats.rq_error = 7, 4, 1
    assert tell(counts) == {"c": (0, 0, "why", [(PLACE, 2, 1, 4, 0, None)])}
    assert tell(counts) == {}


def test_hosts_that_are_busy_are_told_of_though_nothing_new_has_come() -> None:
    counts = LoadCounts(lambda: [the])
    the = cluster("c", host(total=1, active=1))
    want(counts, "c")
    for _ in range(2):
        assert tell(counts) == {"c": (0, 0, "why", [(PLACE, 0, 0, 0, 1, None)])}


def test_a_cluster_that_is_first_used_later_is_counted_from_its_beginning() -> None:
    clusters: list[Any] = []
    counts = LoadCounts(lambda: clusters)
    asyncio.run(counts.want(None))
    clusters.append(cluster("c", host(total=2, success=2)))
    assert tell(counts) == {"c": (0, 0, "why", [(PLACE, 2, 0, 2, 0, None)])}


def test_drops_are_told() -> None:
    the = cluster("c")
    the.stats.rq_dropped = 5
    counts = LoadCounts(lambda: [the])
    want(counts, "c")
    the.stats.rq_dropped, the.stats.rq_drop_overload = 8, 2
    assert tell(counts) == {"c": (3, 2, "why", [])}


def test_a_success_that_turns_into_an_error_is_never_told_as_less_than_nothing() -> None:
    one = host(total=1, success=1)
    the = cluster("c", one)
    counts = LoadCounts(lambda: [the])
    want(counts, "c")
    one.stats.rq_success, one.stats.rq_error = 0, 1
    assert tell(counts)["c"][3][0][1:4] == (0, 1, 0)


def test_many_hosts_are_looked_at_in_slices() -> None:
    hosts = [host(1, total=index) for index in range(1200)]
    counts = LoadCounts(lambda: [the])
    the = cluster("c", *hosts)

    async def run() -> tuple[int, dict[str, ClusterLoad]]:
        await counts.want(None)
        for one in hosts:
            one.stats.rq_total += 1
        telling = asyncio.ensure_future(counts.tell())
        turns = 0
        while not telling.done():
            turns += 1
            await asyncio.sleep(0)
        return turns, telling.result()

    turns, told = asyncio.run(run())
    assert turns >= 3
    assert len(told["c"][3]) == 1200


def test_metrics_are_summed_by_name() -> None:
    one = host(total=1)
    metrics = EndpointMetrics(
        ["cpu_utilization", "named_metrics.*", "utilization.u", "nonsense", "request_cost.x"]
    )
    headers = HeaderMap(
        [("endpoint-load-metrics", "TEXT named_metrics.a=1, named_metrics.b=2, utilization.u=0.5")]
    )
    assert metrics.on_response(one, headers)
    assert metrics.on_response(one, headers)
    assert not metrics.on_response(one, HeaderMap([]))
    assert metrics.take() == {
        one: {
            "cpu_utilization": (2, 0.0),
            "named_metrics.a": (2, 2.0),
            "named_metrics.b": (2, 4.0),
            "utilization.u": (2, 1.0),
        }
    }
    assert metrics.take() == {}


def test_metrics_go_with_their_host() -> None:
    one = host()
    metrics = EndpointMetrics(["eps"])
    the = cluster("c", one, metrics=metrics)
    counts = LoadCounts(lambda: [the])
    want(counts, "c")
    one.stats.rq_total = 1
    metrics.on_response(one, HeaderMap([("endpoint-load-metrics", "TEXT eps=3")]))
    assert tell(counts)["c"][3] == [(PLACE, 0, 0, 1, 0, {"eps": (1, 3.0)})]


def test_weights_by_reports_go_on_where_metrics_are_reported_too() -> None:
    taken: list[Any] = []
    weights = SimpleNamespace(take=lambda host, report: taken.append((host, report)))
    one = host()
    EndpointMetrics(["eps"], weights).on_response(one, HeaderMap([("endpoint-load-metrics", "TEXT eps=3")]))
    assert taken == [(one, {"eps": 3.0})]
