"""From the hosts of a cluster to one host: the priority is drawn by load, then the policy picks.

`Balancer` is what all policies share. What depends on the state of the hosts alone is decided when they
change, so that a pick is a call or two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from proxy.base.runtime import Runtime
from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet, PrioritySet
from proxy.upstream.lb.api import HASHING, ChooseHost, Clock, Defer, Draw, LbConfig, LbPolicy, no_host
from proxy.upstream.lb.priority_load import PriorityLoads, priority_loads
from proxy.upstream.lb.retry_choice import RetryChoice


class Surroundings(NamedTuple):
    """What a balancer needs besides its configuration and the hosts.

    `stats` is the `ClusterStats`. `local` gives the hosts of the local cluster, None if there is no such
    cluster.
    """

    runtime: Runtime
    draw: Draw
    clock: Clock
    stats: Any
    defer: Defer | None = None
    local: Callable[[], HostSet | None] = lambda: None


class Balancer(ABC):
    """One policy over the hosts of a cluster or subset.

    `choose` gives the host for a request of that hash; it is replaced whenever the hosts change. `loads` says
    how the priorities share the traffic; a retry may choose by others (`choose_by`).
    """

    choose: ChooseHost
    loads: PriorityLoads

    def __init__(self, config: LbConfig, around: Surroundings, priorities: PrioritySet) -> None:
        self.config = config
        self.around = around
        self.priorities = priorities
        self._levels: dict[tuple[int, bool], Callable[[int | None, int], Host | None]] = {}

    def prepare(self, priorities: PrioritySet) -> Generator[None, None, None]:
        """Do in small steps what `renew` will need for these hosts, to be called soon."""
        del priorities
        yield from ()

    def renew(self, priorities: PrioritySet) -> None:
        """Take other hosts, or other weights, or the runtime has changed."""
        self.priorities = priorities
        self._decide()

    def health_changed(self, priorities: PrioritySet, host: Host) -> None:
        """Take the same hosts, of which one has changed its health."""
        del host
        self.renew(priorities)

    def choose_by(self, loads: PriorityLoads, request_hash: int | None, attempt: int = 0) -> Host | None:
        """A host when the priorities share the traffic otherwise; `attempt` is 0 or how many were not wanted."""
        drawn = self._drawn(request_hash)
        for degraded in (False, True):
            for priority, share in enumerate(loads.degraded if degraded else loads.healthy):
                if drawn < share:
                    return self.level(priority, degraded)(request_hash, attempt)
                drawn -= share
        return None

    def choose_again(self, request_hash: int | None, retry: RetryChoice) -> Host | None:
        """The host for a retry; see `RetryChoice.first_allowed`."""

        def pick(_attempt: int) -> Host | None:
            loads = retry.loads(self.priorities.sets, self.loads)
            return self.choose(request_hash) if loads is self.loads else self.choose_by(loads, request_hash)

        return retry.first_allowed(pick)

    def level(self, priority: int, degraded: bool) -> Callable[[int | None, int], Host | None]:
        """How to choose within the healthy or the degraded hosts of a priority."""
        found = self._levels.get((priority, degraded))
        if found is None:
            found = self._levels[priority, degraded] = self.make_level(priority, degraded)
        return found

    @abstractmethod
    def make_level(self, priority: int, degraded: bool) -> Callable[[int | None, int], Host | None]:
        """What `level` gives."""

    def fast_level(self, priority: int, degraded: bool) -> ChooseHost:
        """The same for first attempts."""
        level = self.level(priority, degraded)
        return lambda request_hash: level(request_hash, 0)

    def numbers(self) -> dict[str, int]:
        """Gauges of the policy under Envoy's names, without the prefix of the cluster."""
        return {}

    def panic_threshold(self) -> int:
        """The whole percentage in force."""
        key = "upstream.healthy_panic_threshold"
        return min(100, self.around.runtime.integer(key, self.config.panic_threshold))

    def _drawn(self, request_hash: int | None) -> int:
        """From 0 to 99."""
        del request_hash
        return self.around.draw() % 100

    def _decide(self) -> None:
        self._levels.clear()
        self.loads = loads = priority_loads(self.priorities.sets, self.panic_threshold())
        parts: list[tuple[int, ChooseHost]] = []
        bound = 0
        for degraded in (False, True):
            for priority, share in enumerate(loads.degraded if degraded else loads.healthy):
                if share:
                    bound += share
                    parts.append((bound, self.fast_level(priority, degraded)))
        self.choose = parts[0][1] if len(parts) == 1 else self._by_draw(parts)

    def _by_draw(self, parts: list[tuple[int, ChooseHost]]) -> ChooseHost:
        drawn_for = self._drawn

        def choose(request_hash: int | None) -> Host | None:
            drawn = drawn_for(request_hash)
            for bound, choose_there in parts:
                if drawn < bound:
                    return choose_there(request_hash)
            return None

        return choose


def make_balancer(config: LbConfig, around: Surroundings, priorities: PrioritySet) -> Balancer:
    """The balancer of a policy, without subsets."""
    if config.policy in HASHING:
        from proxy.upstream.lb.hash_balancer import HashBalancer  # few clusters hash

        return HashBalancer(config, around, priorities)
    if config.policy is LbPolicy.CLUSTER_PROVIDED:
        return NoBalancer(config, around, priorities)
    from proxy.upstream.lb.zone_aware import ZoneAwareBalancer

    return ZoneAwareBalancer(config, around, priorities)


class NoBalancer(Balancer):
    """That of a cluster whose type chooses."""

    def __init__(self, config: LbConfig, around: Surroundings, priorities: PrioritySet) -> None:
        super().__init__(config, around, priorities)
        self._decide()

    def make_level(self, priority: int, degraded: bool) -> Callable[[int | None, int], Host | None]:
        """See `Balancer`."""
        del priority, degraded
        return lambda request_hash, _attempt: no_host(request_hash)
