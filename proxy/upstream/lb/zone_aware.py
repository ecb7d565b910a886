"""The policies that pick from lists: ROUND_ROBIN, LEAST_REQUEST and RANDOM, over priorities and localities.

Which list a request picks from follows Envoy's `ZoneAwareLoadBalancerBase::hostSourceToUse`: all hosts in
panic, those of a locality drawn by weight, those of a zone near by, or all that are healthy (or degraded).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet, PrioritySet
from proxy.upstream.lb.api import ChooseHost, LbConfig, LbPolicy, Picker, no_host
from proxy.upstream.lb.balancer import Balancer, Surroundings
from proxy.upstream.lb.edf import EdfScheduler
from proxy.upstream.lb.least_request import LeastRequest
from proxy.upstream.lb.priority_load import in_panic
from proxy.upstream.lb.random_pick import RandomPick
from proxy.upstream.lb.round_robin import RoundRobin
from proxy.upstream.lb.slow_start import SlowStart
from proxy.upstream.lb.zone_routing import ZoneRoute, choose_zone, zone_route

if TYPE_CHECKING:
    from proxy.upstream.host_set import Hosts


class Source(Enum):
    """Which hosts of a priority."""

    ALL = "hosts"
    HEALTHY = "healthy"
    DEGRADED = "degraded"


#: Priority, which hosts, and the index of the locality (-1 for all of them).
_Key = tuple[int, Source, int]


class ZoneAwareBalancer(Balancer):
    """See module. A `Picker` is made when its list is first picked from, and kept while there is such a list."""

    def __init__(self, config: LbConfig, around: Surroundings, priorities: PrioritySet) -> None:
        super().__init__(config, around, priorities)
        self._pickers: dict[_Key, Picker] = {}
        slow = config.slow_start
        self._slow_start = None if slow is None else SlowStart(slow, around.runtime, around.clock)
        self._localities: dict[tuple[int, bool], Callable[[], int] | None] = {}
        self._zones: ZoneRoute | None = None
        self._seed: int | None = None
        self.renew(priorities)

    def prepare(self, priorities: PrioritySet) -> Generator[None, None, None]:
        """See `Balancer`."""
        for key, picker in list(self._pickers.items()):
            hosts = _hosts(priorities, key)
            if hosts:
                yield from picker.prepare(hosts)

    def renew(self, priorities: PrioritySet) -> None:
        """See `Balancer`."""
        self.priorities = priorities
        if self._slow_start is not None:
            self._slow_start.note(priorities.hosts)
        for key, picker in list(self._pickers.items()):
            hosts = _hosts(self.priorities, key)
            if hosts:
                picker.renew(hosts)
            else:
                del self._pickers[key]
        self._decide()

    def health_changed(self, priorities: PrioritySet, host: Host) -> None:
        """See `Balancer`."""
        self.priorities = priorities
        for key, picker in list(self._pickers.items()):
            hosts = _hosts(self.priorities, key)
            if not hosts:
                del self._pickers[key]
            elif hosts is not picker.hosts:
                picker.health_changed(hosts, host)
        self._decide()

    def make_level(self, priority: int, degraded: bool) -> Callable[[int | None, int], Host | None]:
        """See `Balancer`."""
        choose = self.fast_level(priority, degraded)
        return lambda request_hash, _attempt: choose(request_hash)

    def fast_level(self, priority: int, degraded: bool) -> ChooseHost:
        """See `Balancer`."""
        config = self.config
        if self.loads.panic[priority]:
            failing = config.zone_aware.fail_traffic_on_panic
            return self._in_panic(no_host if failing else self._pick((priority, Source.ALL, -1)))
        source = Source.DEGRADED if degraded else Source.HEALTHY
        if config.locality_weighted:
            choose_locality = self._locality_schedule(priority, degraded)
            if choose_locality is not None:
                return self._by_locality(priority, source, choose_locality)
        anywhere = self._pick((priority, source, -1))
        if priority or self._zones is None:
            return anywhere
        return self._by_zone(self._zones, source, anywhere)

    def _decide(self) -> None:
        self._localities.clear()
        self._zones = None
        local = self.around.local()
        if local is not None:
            stats = self.around.stats
            stats.lb_recalculate_zone_structures += 1
            zones = self.config.zone_aware
            runtime = self.around.runtime
            least = runtime.integer("upstream.zone_routing.min_cluster_size", zones.min_cluster_size)
            key = "upstream.zone_routing.force_local_zone.min_size"
            force = runtime.integer(key, 0) or zones.force_local
            self._zones = zone_route(self.priorities.sets[0], local, least, force, zones.by_weight, stats)
        super()._decide()

    def _pick(self, key: _Key) -> ChooseHost:
        hosts = _hosts(self.priorities, key)
        if not hosts:
            return no_host
        picker = self._pickers.get(key)
        if picker is None:
            picker = self._pickers[key] = self._picker(hosts)
        return picker.pick

    def _picker(self, hosts: Sequence[Host]) -> Picker:
        config = self.config
        draw = self.around.draw
        match config.policy:
            case LbPolicy.LEAST_REQUEST:
                runtime = self.around.runtime
                return LeastRequest(
                    hosts,
                    draw,
                    self._slow_start,
                    config.choice_count,
                    lambda: config.bias(runtime),
                    config.full_scan,
                )
            case LbPolicy.RANDOM:
                return RandomPick(hosts, draw)
            case _:
                return RoundRobin(hosts, draw, self._slow_start)

    def _in_panic(self, choose: ChooseHost) -> ChooseHost:
        stats = self.around.stats

        def choose_in_panic(request_hash: int | None) -> Host | None:
            stats.lb_healthy_panic += 1
            return choose(request_hash)

        return choose_in_panic

    def _locality_schedule(self, priority: int, degraded: bool) -> Callable[[], int] | None:
        """How to draw a locality by its weight and how many of its hosts serve; None if none weighs anything."""
        key = (priority, degraded)
        if key not in self._localities:
            self._localities[key] = self._make_locality_schedule(*key)
        return self._localities[key]

    def _make_locality_schedule(self, priority: int, degraded: bool) -> Callable[[], int] | None:
        level = self.priorities.sets[priority]
        if not (level.degraded if degraded else level.healthy):
            return None
        places = level.localities
        factor = level.policy.overprovisioning_factor / 100.0
        weights: dict[int, float] = {}
        for place, serving in enumerate(places.degraded if degraded else places.healthy):
            counted = len(places.hosts[place]) - len(places.excluded[place])
            if counted and places.weights[place] and serving:
                weights[place] = places.weights[place] * min(1.0, factor * len(serving) / counted)
        if not weights:
            return None
        if self._seed is None:
            self._seed = self.around.draw()
        picks = self._seed % (int(sum(weights.values())) + 1)
        return EdfScheduler(list(weights), weights.__getitem__, picks).pick

    def _by_locality(self, priority: int, source: Source, choose_locality: Callable[[], int]) -> ChooseHost:
        count = len(self.priorities.sets[priority].localities.names)
        picks = [self._pick((priority, source, place)) for place in range(count)]

        def choose(request_hash: int | None) -> Host | None:
            return picks[choose_locality()](request_hash)

        return choose

    def _by_zone(self, route: ZoneRoute, source: Source, anywhere: ChooseHost) -> ChooseHost:
        zones = self.config.zone_aware
        count = len(self.priorities.sets[0].localities.names)
        picks = [self._pick((0, source, place)) for place in range(count)]
        around = self.around
        runtime, draw, stats = around.runtime, around.draw, around.stats
        local = around.local()
        local_panic = local is not None and in_panic(local, self.panic_threshold())

        def choose(request_hash: int | None) -> Host | None:
            if not runtime.feature_enabled("upstream.zone_routing.enabled", zones.routing_enabled, 100, draw):
                return anywhere(request_hash)
            if local_panic:
                stats.lb_local_cluster_not_ok += 1
                return None if zones.fail_traffic_on_panic else anywhere(request_hash)
            return picks[choose_zone(route, draw, stats)](request_hash)

        return choose


def _hosts(priorities: PrioritySet, key: _Key) -> Hosts:
    priority, source, place = key
    sets = priorities.sets
    if priority >= len(sets):
        return ()
    one: HostSet = sets[priority]
    if place < 0:
        found: Hosts = getattr(one, source.value)
        return found
    groups: list[Hosts] = getattr(one.localities, source.value)
    return groups[place] if place < len(groups) else ()
