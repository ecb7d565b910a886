"""`Bootstrap.stats_sinks`, compiled."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.base.address import Address
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.downstream.listen_address import compile_address


class StatsdPlan(Struct, frozen=True):
    """Where lines of statsd go: as datagrams to `address`, or over a connection to `cluster`.

    `tagged` sinks speak DogStatsD. A datagram takes as many lines as fit into `limit` bytes, one for 0.
    """

    prefix: str
    address: Address | None = None
    cluster: str = ""
    tagged: bool = False
    limit: int = 0


def compile_sinks(bootstrap: Any, context: CompileContext) -> tuple[StatsdPlan, ...]:
    """Check and compile what stats are sent to; problems go to `context`."""
    plans: list[StatsdPlan] = []
    for index, sink in enumerate(bootstrap.stats_sinks):
        path = f"stats_sinks[{index}]"
        message = unpack_extension(sink, path, context)
        if message is None:
            continue
        path = f"{path}.typed_config"
        if message.DESCRIPTOR.name == "DogStatsdSink":
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


def _check_tcp(node: Any, cluster: str, path: str, context: CompileContext) -> None:
    if not node.id or not node.cluster:
        context.problem(
            path,
            "tcp statsd: node 'id' and 'cluster' are required. Set it either in 'node' config or via "
            "--service-node and --service-cluster options.",
        )
    if context.known_clusters is not None and cluster not in context.known_clusters:
        context.problem(f"{path}.tcp_cluster_name", f"tcp statsd: unknown cluster '{cluster}'")
