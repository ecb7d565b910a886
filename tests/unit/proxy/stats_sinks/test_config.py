"""Sinks of a bootstrap, compiled."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.metrics.v3 import metrics_service_pb2, stats_pb2

from proxy.config.context import CompileContext
from proxy.stats_sinks.config import MetricsPlan, compile_sinks


def compiled(*sinks: Any, node: bool = True) -> tuple[tuple[Any, ...], list[str]]:
    message = bootstrap_pb2.Bootstrap()
    if node:
        message.node.id, message.node.cluster = "n", "c"
    for sink in sinks:
        message.stats_sinks.add().typed_config.Pack(sink)
    context = CompileContext(known_clusters={"known"})
    return compile_sinks(message, context), [str(one) for one in context.problems]


def statsd(ip: str = "127.0.0.1", **fields: Any) -> Any:
    sink = stats_pb2.StatsdSink(**fields)
    sink.address.socket_address.address = ip
    sink.address.socket_address.port_value = 8125
    return sink


def test_an_address_is_a_place_of_datagrams() -> None:
    (plan,), problems = compiled(statsd(prefix="x"))
    assert (str(plan.address), plan.prefix, plan.tagged, problems) == ("127.0.0.1:8125", "x", False, [])


def test_dog_statsd_has_tags_and_a_limit() -> None:
    sink = stats_pb2.DogStatsdSink()
    sink.address.pipe.path = "/run/dsd.socket"
    sink.max_bytes_per_datagram.value = 512
    (plan,), problems = compiled(sink)
    assert (str(plan.address), plan.tagged, plan.limit, problems) == ("/run/dsd.socket", True, 512, [])


def test_a_name_is_no_address() -> None:
    _, (problem,) = compiled(statsd("statsd.example"))
    assert "stats_sinks[0].typed_config.address.socket_address.address" in problem


def test_a_cluster_has_to_be_there() -> None:
    (plan,), problems = compiled(stats_pb2.StatsdSink(tcp_cluster_name="known"))
    assert (plan.cluster, problems) == ("known", [])
    _, (problem,) = compiled(stats_pb2.StatsdSink(tcp_cluster_name="other"))
    assert "tcp statsd: unknown cluster 'other'" in problem


def test_a_connection_needs_a_node() -> None:
    _, (problem,) = compiled(stats_pb2.StatsdSink(tcp_cluster_name="known"), node=False)
    assert "node 'id' and 'cluster' are required" in problem


def metrics(cluster: str, version: int = 2, mode: int = 0) -> Any:
    sink = metrics_service_pb2.MetricsServiceConfig(transport_api_version=version, histogram_emit_mode=mode)
    sink.grpc_service.envoy_grpc.cluster_name = cluster
    return sink


@pytest.mark.parametrize(("mode", "kinds"), [(0, (True, True)), (1, (True, False)), (2, (False, True))])
def test_a_metrics_service_has_the_histograms_that_it_wants(mode: int, kinds: tuple[bool, bool]) -> None:
    (plan,), problems = compiled(metrics("known", mode=mode))
    assert isinstance(plan, MetricsPlan)
    assert ((plan.summaries, plan.histograms), problems) == (kinds, [])


def test_a_metrics_service_has_to_be_known_and_speak_version_3() -> None:
    problems = compiled(metrics("other", 0))[1]
    assert "only V3 is spoken" in problems[0]
    assert "Unknown gRPC client cluster 'other'" in problems[1]
