"""What metrics services are told of the same traffic, beside Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from proxy.stats_sinks.metrics_messages import COUNTER, GAUGE, HISTOGRAM, SUMMARY
from tests.support.client import exchange
from tests.support.configs import cluster, http2_cluster, http_proxy, route
from tests.support.differential import Pair, Side
from tests.support.metrics_server import MetricsServer
from tests.support.origin import HELLO, Origin

GET: Final = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
API: Final = "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig"
NAMES: Final = ("whole", "grown", "labelled", "batched", "ending")


def sink(name: str, **fields: Any) -> dict[str, Any]:
    service = {"envoy_grpc": {"cluster_name": name}}
    return {
        "name": "envoy.stat_sinks.metrics_service",
        "typed_config": {"@type": API, "grpc_service": service, "transport_api_version": "V3", **fields},
    }


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    origins: dict[str, Any] = {"origin": Origin, **dict.fromkeys(NAMES, MetricsServer)}
    origins["ending"] = lambda: MetricsServer(ends_after=2)
    config = http_proxy(
        routes=[route()],
        clusters=[cluster(), *(http2_cluster(name, f"{{{{{name}_port}}}}") for name in NAMES)],
        node={"id": "n", "cluster": "c", "metadata": {"a": "b"}},
        stats_sinks=[
            sink("whole"),
            sink("grown", report_counters_as_deltas=True, histogram_emit_mode="SUMMARY"),
            sink("labelled", emit_tags_as_labels=True, histogram_emit_mode="HISTOGRAM"),
            sink("batched", batch_size=7),
            sink("ending"),
        ],
        stats_flush_interval="0.2s",
    )
    with Pair(config, origins=origins) as made:
        made.both(_talk)
        yield made


def _talk(side: Side) -> None:
    side.origin.script(HELLO)
    for _ in range(12):
        assert exchange(side.proxy.port, GET).status == 200
    grown, ending = side.origins["grown"], side.origins["ending"]
    grown.wait_for(lambda: grown.total("cluster.origin.upstream_rq_time", SUMMARY) >= 12)
    ending.wait_for(lambda: len(ending.streams) > 2)


def _last(side: Side, server: str, name: str, kind: int) -> Any:
    return [one for one in side.origins[server].families() if (one.name, one.type) == (name, kind)][
        -1
    ].metric[0]


def test_counters_are_told_whole_or_as_growth(pair: Pair) -> None:
    def told(side: Side) -> tuple[float, float]:
        name = "cluster.origin.upstream_rq_total"
        return _last(side, "whole", name, COUNTER).counter.value, side.origins["grown"].total(name, COUNTER)

    assert pair.same_value("counters", told) == (12, 12)


def test_labels_are_taken_out_of_names(pair: Pair) -> None:
    def told(side: Side) -> list[tuple[str, str]]:
        for one in reversed(side.origins["labelled"].families()):
            labels = [(label.name, label.value) for label in one.metric[0].label]
            if one.name == "cluster.upstream_rq_xx" and ("envoy.cluster_name", "origin") in labels:
                return sorted(labels)
        return []

    assert len(pair.same_value("labels", told)) == 2


def test_gauges_are_told(pair: Pair) -> None:
    def told(side: Side) -> float:
        return float(_last(side, "whole", "cluster.origin.membership_total", GAUGE).gauge.value)

    assert pair.same_value("gauges", told) == 1


def test_histograms_come_as_they_are_wanted(pair: Pair) -> None:
    name = "cluster.origin.upstream_rq_time"

    def told(side: Side) -> Any:
        def kinds(server: str) -> set[int]:
            wanted = name if server != "labelled" else "cluster.upstream_rq_time"
            return {one.type for one in side.origins[server].families() if one.name == wanted}

        summary = _last(side, "whole", name, SUMMARY).summary
        histogram = _last(side, "whole", name, HISTOGRAM).histogram
        return (
            [sorted(kinds(server)) for server in ("whole", "grown", "labelled")],
            [one.quantile for one in summary.quantile],
            [one.upper_bound for one in histogram.bucket],
            side.origins["whole"].total(name, HISTOGRAM),
        )

    found = pair.same_value("histograms", told)
    assert found[0] == [[SUMMARY, HISTOGRAM], [SUMMARY], [HISTOGRAM]]
    assert found[3] == 12


def test_messages_are_as_long_as_they_may_be(pair: Pair) -> None:
    def told(side: Side) -> tuple[int, int]:
        sizes = [len(one.envoy_metrics) for stream in side.origins["batched"].streams for one in stream]
        return max(sizes), len(side.origins["batched"].streams)

    assert pair.same_value("batches", told) == (7, 1)


def test_each_stream_begins_with_the_node(pair: Pair) -> None:
    def told(side: Side) -> list[bool]:
        found = []
        for stream in side.origins["ending"].streams[:2]:
            found += [
                message.HasField("identifier") and b"\x01n" in message.identifier.node for message in stream
            ]
        return found

    assert pair.same_value("node", told) == [True, False, True, False]
