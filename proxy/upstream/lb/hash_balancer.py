"""RING_HASH and MAGLEV over the priorities of a cluster: the hash decides all, the priority included."""

from __future__ import annotations

from collections.abc import Callable

from proxy.upstream.host import Host
from proxy.upstream.host_set import PrioritySet
from proxy.upstream.lb.api import ChooseHost, LbConfig, LbPolicy
from proxy.upstream.lb.balancer import Balancer, Surroundings
from proxy.upstream.lb.hash_picker import HashPicker
from proxy.upstream.lb.hash_weights import HashGroups, hash_groups
from proxy.upstream.lb.maglev import build_table
from proxy.upstream.lb.priority_load import priority_loads
from proxy.upstream.lb.retry_choice import RetryChoice
from proxy.upstream.lb.ring_hash import build_ring


class HashBalancer(Balancer):
    """One ring or table for each priority. As in Envoy, degraded hosts serve in panic only."""

    def __init__(self, config: LbConfig, around: Surroundings, priorities: PrioritySet) -> None:
        super().__init__(config, around, priorities)
        self._pickers: list[HashPicker] = []
        self.renew(priorities)

    def choose_again(self, request_hash: int | None, retry: RetryChoice) -> Host | None:
        """See `Balancer`. As in Envoy, the priority remains that of the hash."""
        drawn = self.around.draw() if request_hash is None else request_hash
        return retry.first_allowed(lambda attempt: self.choose_by(self.loads, drawn, attempt))

    def make_level(self, priority: int, degraded: bool) -> Callable[[int | None, int], Host | None]:
        """See `Balancer`."""
        del degraded
        pick = self._pickers[priority].pick
        draw = self.around.draw
        stats = self.around.stats
        panic = self.loads.panic[priority]

        def choose(request_hash: int | None, attempt: int) -> Host | None:
            if panic and not attempt:
                stats.lb_healthy_panic += 1
            return pick(draw() if request_hash is None else request_hash, attempt)

        return choose

    def fast_level(self, priority: int, degraded: bool) -> ChooseHost:
        """See `Balancer`."""
        if self.loads.panic[priority]:
            return super().fast_level(priority, degraded)
        pick = self._pickers[priority].pick
        draw = self.around.draw
        return lambda request_hash: pick(draw() if request_hash is None else request_hash)

    def numbers(self) -> dict[str, int]:
        """See `Balancer`."""
        result: dict[str, int] = {}
        if self.config.policy is LbPolicy.RING_HASH:
            for name in ("size", "min_hashes_per_host", "max_hashes_per_host"):
                result[f"ring_hash_lb.{name}"] = 0
        else:
            for name in ("min_entries_per_host", "max_entries_per_host"):
                result[f"maglev_lb.{name}"] = 0
        for picker in self._pickers:
            result.update(picker.numbers)
        return result

    def _drawn(self, request_hash: int | None) -> int:
        return (self.around.draw() if request_hash is None else request_hash) % 100

    def health_changed(self, priorities: PrioritySet, host: Host) -> None:
        """See `Balancer`."""
        del host
        self.priorities = priorities
        self._renew_pickers(HashPicker.health_changed)
        self._decide()

    def renew(self, priorities: PrioritySet) -> None:
        """See `Balancer`."""
        self.priorities = priorities
        self._renew_pickers(HashPicker.renew)
        self._decide()

    def _renew_pickers(self, renew: Callable[[HashPicker, HashGroups], None]) -> None:
        sets = self.priorities.sets
        panic = priority_loads(sets, self.panic_threshold()).panic
        locality_weighted = self.config.locality_weighted
        groups = [hash_groups(one, panic[one.priority], locality_weighted) for one in sets]
        pickers = self._pickers
        del pickers[len(groups) :]
        for picker, one in zip(pickers, groups, strict=False):
            renew(picker, one)
        for one in groups[len(pickers) :]:
            pickers.append(self._picker(one))

    def _picker(self, groups: HashGroups) -> HashPicker:
        hashing = self.config.hashing
        stats = self.around.stats
        build = build_ring if self.config.policy is LbPolicy.RING_HASH else build_table
        return HashPicker(
            lambda hosts: build(hosts, hashing),
            groups,
            self.around.defer,
            hashing.balance_factor,
            lambda: stats.upstream_rq_active,
        )
