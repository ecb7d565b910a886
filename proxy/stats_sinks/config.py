"""`Bootstrap.stats_sinks`, compiled."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.base.address import Address
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.downstream.listen_address import compile_address

_V3: Final = 2  # core.v3.ApiVersion
_BOTH, _SUMMARY, _HISTOGRAM = 0, 1, 2  # metrics.v3.HistogramEmitMode


class StatsdPlan(Struct, frozen=True):
    """Where lines of statsd go: as datagrams to `address`, or over a connection to `cluster`.

    `tagged` sinks speak DogStatsD. A datagram takes as many lines as fit into `limit` bytes, one for 0.
    """

    prefix: str
    address: Address | None = None
    cluster: str = ""
    tagged: bool = False
    limit: int = 0


class MetricsPlan(Struct, frozen=True):
    """A `MetricsService`, by a `core.v3.GrpcService`. A message has at most `batch_size` families, all for 0."""

    service: Any
    deltas: bool
    labels: bool
    summaries: bool
    histograms: bool
    batch_size: int


Plan = StatsdPlan | MetricsPlan


def compile_sinks(bootstrap: Any, context: CompileContext) -> tuple[Plan, ...]:
    """Check and compile what stats are sent to; problems go to `context`."""
    plans: list[Plan] = []
    for index, sink in enumerate(bootstrap.stats_sinks):
        path = f"stats_sinks[{index}]"
        message = unpack_extension(sink, path, context)
        if message is None:
            continue
        path = f"{path}.typed_config"
        if message.DESCRIPTOR.name == "MetricsServiceConfig":
            plans.append(_metrics_service(message, path, context))
        elif message.DESCRIPTOR.name == "DogStatsdSink":
            plans.append(
                StatsdPlan(
                    message.prefix,
                    compile_address(message.address, f"{path}.address", context, udp=True),
                    tagged=True,
                    limit=message.max_bytes_per_datagram.value,
                )
            )
        elif message.WhichOneof("statsd_specifier") == "tcp_cluster_name":
            _check_tcp(bootstrap.node, message.tcp_cluster_name, path, context)
            plans.append(StatsdPlan(message.prefix, cluster=message.tcp_cluster_name))
        else:
            address = compile_address(message.address, f"{path}.address", context, udp=True)
            plans.append(StatsdPlan(message.prefix, address))
    return tuple(plans)


def _metrics_service(message: Any, path: str, context: CompileContext) -> MetricsPlan:
    if message.transport_api_version != _V3:
        context.problem(f"{path}.transport_api_version", "only V3 is spoken; set V3")
    service = message.grpc_service
    cluster = service.envoy_grpc.cluster_name
    if service.HasField("envoy_grpc") and not (
        context.known_clusters is None or cluster in context.known_clusters
    ):
        context.problem(f"{path}.grpc_service", f"Unknown gRPC client cluster '{cluster}'")
    mode = message.histogram_emit_mode
    return MetricsPlan(
        service,
        deltas=message.report_counters_as_deltas.value,
        labels=message.emit_tags_as_labels,
        summaries=mode in {_BOTH, _SUMMARY},
        histograms=mode in {_BOTH, _HISTOGRAM},
        batch_size=message.batch_size,
    )


def _check_tcp(node: Any, cluster: str, path: str, context: CompileContext) -> None:
    if not node.id or not node.cluster:
        context.problem(
            path,
            "tcp statsd: node 'id' and 'cluster' are required. Set it either in 'node' config or via "
            "--service-node and --service-cluster options.",
        )
    if context.known_clusters is not None and cluster not in context.known_clusters:
        context.problem(f"{path}.tcp_cluster_name", f"tcp statsd: unknown cluster '{cluster}'")
