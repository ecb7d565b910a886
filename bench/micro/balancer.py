"""Choosing a host: each policy, with 3 and with 1,000 hosts of different weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

from envoy.config.cluster.v3 import cluster_pb2

from bench.micro.timing import microseconds
from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext
from proxy.upstream.cluster import Cluster, compile_cluster

_POLICIES: Final = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")
_SIZES: Final = (3, 1000)


def _cluster(policy: str, hosts: int) -> Cluster:
    message = cluster_pb2.Cluster(name="c", type=cluster_pb2.Cluster.STATIC)
    message.lb_policy = cluster_pb2.Cluster.LbPolicy.Value(policy)
    message.connect_timeout.seconds = 1
    message.load_assignment.cluster_name = "c"
    group = message.load_assignment.endpoints.add()
    for number in range(hosts):
        endpoint = group.lb_endpoints.add()
        endpoint.load_balancing_weight.value = 1 + number % 5
        address = endpoint.endpoint.address.socket_address
        address.address, address.port_value = f"127.1.{number >> 8}.{number & 255}", 80
    context = CompileContext()
    compiled = compile_cluster(message, "", context)
    assert not context.problems
    return Cluster(compiled, Runtime({}), lambda: random.getrandbits(64))


def _choice(cluster: Cluster, hashes: Iterator[int]) -> Callable[[], object]:
    """With a new hash each time, as of different clients."""
    choose = cluster.choose_host
    assert choose(1) is not None
    return lambda: choose(next(hashes))


def _hashes() -> Iterator[int]:
    rng = random.Random(1)
    known = [rng.getrandbits(64) for _ in range(4096)]
    while True:
        yield from known


def figures() -> dict[str, float]:
    """Microseconds of one choice."""
    return microseconds(
        {
            f"us_{policy.lower()}_{size}": _choice(_cluster(policy, size), _hashes())
            for policy in _POLICIES
            for size in _SIZES
        }
    )
