"""What a worker does when all endpoints of a cluster change: CPU in all, and how long requests wait at most.

`python -m bench.micro.endpoint_updates [HOSTS]`. Each version has other weights, and every other one has other
addresses for half of the hosts. The time between two turns of the event loop is counted in CPU of the process,
so that what else runs on the machine does not show.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from types import SimpleNamespace
from typing import Any, Final

import uvloop
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.load.mesh_resources import many_hosts
from proxy.base.runtime import Runtime
from proxy.base.steps import Slices
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceStore
from proxy.upstream.cluster import Cluster, compile_cluster

_ROUNDS: Final = 10
_POLICIES: Final = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")


def _assignment(hosts: int, version: int) -> bytes:
    response = discovery_pb2.DiscoveryResponse.FromString(many_hosts(0, hosts, 80, version))
    return bytes(response.resources[0].value)


def _measure(policy: str, versions: list[bytes], *, sliced: bool) -> tuple[float, float]:
    """CPU milliseconds of an update, and the longest between two turns."""
    store = ResourceStore()
    message = cluster_pb2.Cluster(name="c", type=cluster_pb2.Cluster.EDS)
    message.lb_policy = cluster_pb2.Cluster.LbPolicy.Value(policy)
    message.connect_timeout.seconds = 1
    message.eds_cluster_config.eds_config.ads.SetInParent()
    config = compile_cluster(message, "", CompileContext(resources=store))
    cluster = Cluster(config, Runtime({}), lambda: random.getrandbits(64))
    store.update(config.assignment.key, versions[0])
    cluster.choose_host(1)
    loop = uvloop.new_event_loop()
    services: Any = SimpleNamespace(loop=loop, slices=Slices(loop.call_soon) if sliced else None)
    cluster.services = services
    cluster.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # as in a worker
    longest = spent = 0.0
    for version in range(1, _ROUNDS + 1):
        began = last = time.process_time()
        store.update(config.assignment.key, versions[version % 2])
        turns = 0
        while turns < 3 or cluster.updating:
            loop.call_soon(loop.stop)
            loop.run_forever()
            turns += 1
            now = time.process_time()
            longest, last = max(longest, now - last), now
            cluster.choose_host(1)
        spent += last - began
    loop.close()
    return spent / _ROUNDS * 1000, longest * 1000


def main() -> None:
    """Print a table."""
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    versions = [_assignment(hosts, version) for version in (0, 1)]
    print(f"{hosts} hosts, milliseconds of CPU   at once: all, longest     in slices: all, longest")
    for policy in _POLICIES:
        at_once = _measure(policy, versions, sliced=False)
        sliced = _measure(policy, versions, sliced=True)
        print(f"{policy:32} {at_once[0]:12.1f} {at_once[1]:8.1f} {sliced[0]:21.1f} {sliced[1]:8.1f}")


if __name__ == "__main__":
    main()
