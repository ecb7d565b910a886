"""What a worker does when endpoints of a cluster change: CPU in all, and how long requests wait at most.

`python -m bench.micro.endpoint_updates [HOSTS]`. First all endpoints change: each version has other weights, and
every other one has other addresses for half of the hosts. Then the health of one changes. The time between two
iterations of the event loop is counted in CPU of the process, so that what else runs on the machine shows less.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import uvloop
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.load.mesh_resources import many_hosts
from proxy.base.runtime import Runtime
from proxy.base.steps import Slices
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceStore
from proxy.upstream.cluster import Cluster, compile_cluster
from proxy.upstream.health_flags import HealthFlag, HostKey

_ROUNDS: Final = 10
#: A change is through after so many iterations of less than so many seconds.
_CALM: Final = 5
_IDLE: Final = 0.0001
_POLICIES: Final = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV")


def _assignment(hosts: int, version: int) -> bytes:
    response = discovery_pb2.DiscoveryResponse.FromString(many_hosts(0, hosts, 80, version))
    return bytes(response.resources[0].value)


class _World:
    """A cluster of the first of some versions of its endpoints, in a loop of its own."""

    def __init__(self, policy: str, versions: list[bytes], *, sliced: bool) -> None:
        self._store = ResourceStore()
        self._versions = versions
        message = cluster_pb2.Cluster(name="c", type=cluster_pb2.Cluster.EDS)
        message.lb_policy = cluster_pb2.Cluster.LbPolicy.Value(policy)
        message.connect_timeout.seconds = 1
        message.eds_cluster_config.eds_config.ads.SetInParent()
        check = message.health_checks.add(tcp_health_check={})
        check.timeout.seconds = check.interval.seconds = 1
        check.healthy_threshold.value = check.unhealthy_threshold.value = 1
        self._config = compile_cluster(message, "", CompileContext(resources=self._store))
        self._flags: dict[HostKey, int] = {}
        self.cluster = Cluster(
            self._config, Runtime({}), lambda: random.getrandbits(64), host_flags=self._flags
        )
        for version in (1, 0):
            self.take_version(version)
            # Healthy all.
            self._flags.update(dict.fromkeys([(one.address.text, 0) for one in self.cluster.hosts], 0))
        self.cluster.flags_changed(self._flags)
        self._loop = uvloop.new_event_loop()
        if sliced:
            self.cluster.services = SimpleNamespace(loop=self._loop, slices=Slices(self._loop.call_soon))
            self.cluster.start()
        # As a control plane brings it to a worker that runs: the first change of health comes after it.
        self.take_version(2)
        self._settle()

    def take_version(self, version: int) -> None:
        self._store.update(self._config.assignment.key, self._versions[version % 2])

    def change_health(self, number: int) -> None:
        """Of the same host in each even and the following odd call: unhealthy, then healthy again."""
        host = self.cluster.hosts[number // 2]
        key = (host.address.text, host.priority)
        self._flags[key] = self._flags.get(key, 0) ^ HealthFlag.FAILED_ACTIVE_HC
        self.cluster.flags_changed([key])

    def measure(self, change: Callable[[int], None]) -> tuple[float, float]:
        """CPU milliseconds of a change, and the longest between two iterations of the loop."""
        longest = spent = 0.0
        for number in range(1, _ROUNDS + 1):
            began = time.process_time()
            self._loop.call_soon(change, number)
            longest = max(longest, self._settle())
            spent += time.process_time() - began
        return spent / _ROUNDS * 1000, longest * 1000

    def _settle(self) -> float:
        """Run until nothing is left to do; the longest seconds of CPU between two iterations of the loop."""
        longest = 0.0
        calm = 0
        last = time.process_time()

        def look() -> None:
            nonlocal longest, calm, last
            self.cluster.choose_host(1)
            now = time.process_time()
            longest = max(longest, now - last)
            calm = calm + 1 if now - last < _IDLE else 0
            last = now
            if calm < _CALM or self.cluster.updating:
                self._loop.call_soon(look)
            else:
                self._loop.stop()

        self._loop.call_soon(look)
        self._loop.run_forever()
        return longest

    def close(self) -> None:
        self._loop.close()


def _measure(
    policy: str, versions: list[bytes], change: Callable[[_World, int], None], *, sliced: bool
) -> tuple[float, float]:
    world = _World(policy, versions, sliced=sliced)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # as in a worker
    result = world.measure(lambda number: change(world, number))
    world.close()
    return result


_CHANGES: Final[dict[str, Callable[[_World, int], None]]] = {
    "all endpoints": _World.take_version,
    "health of one": _World.change_health,
}


def figures() -> dict[str, float]:
    """With 10,000 hosts, as a worker has it: the longest stall when one host's health changes, and when all do."""
    versions = [_assignment(10_000, version) for version in (0, 1)]
    found = {}
    for policy in _POLICIES:
        for name, change in _CHANGES.items():
            _, longest = _measure(policy, versions, change, sliced=True)
            found[f"ms_stall_{name.replace(' ', '_')}_{policy.lower()}"] = longest
    return found


def main() -> None:
    """Print a table."""
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    versions = [_assignment(hosts, version) for version in (0, 1)]
    print(f"{hosts} hosts, milliseconds of CPU   at once: all, longest     in slices: all, longest")
    for name, change in _CHANGES.items():
        for policy in _POLICIES:
            at_once = _measure(policy, versions, change, sliced=False)
            sliced = _measure(policy, versions, change, sliced=True)
            what = f"{name}, {policy}"
            print(f"{what:32} {at_once[0]:12.1f} {at_once[1]:8.1f} {sliced[0]:21.1f} {sliced[1]:8.1f}")


if __name__ == "__main__":
    main()
