"""RING_HASH: each host has places on a ring, in proportion to its weight; a hash belongs to the next place.

The layout is that of Envoy (`RingHashLoadBalancer::Ring`, after ketama), so a key lands on the same host.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Generator
from operator import itemgetter

import xxhash

from proxy.upstream.host import Host
from proxy.upstream.lb.api import HashingConfig
from proxy.upstream.lb.hash_weights import STEP, WeightedHosts, free_in_steps, hash_key, sort_in_steps
from proxy.upstream.lb.murmur import murmur_hash2


class Ring:
    """A ring over at least one host. `numbers` are its gauges under Envoy's names."""

    __slots__ = ("_hashes", "_hosts", "numbers")

    def __init__(self, hashes: list[int], hosts: list[Host], numbers: dict[str, int]) -> None:
        self._hashes = hashes
        self._hosts = hosts
        self.numbers = numbers

    def pick(self, request_hash: int, attempt: int = 0) -> Host:
        """The host of a hash; each further attempt looks one place on."""
        place = bisect_left(self._hashes, request_hash) + attempt
        hosts = self._hosts
        return hosts[place] if place < len(hosts) else hosts[place % len(hosts)]

    def retire(self) -> Generator[None, None, None]:
        """Free it in small steps, when nobody picks any more."""
        return free_in_steps(self._hashes, self._hosts)


def build_ring(members: WeightedHosts, config: HashingConfig) -> Generator[None, None, Ring]:
    """Build a ring in small steps."""
    digest: Callable[[bytes], int] = murmur_hash2 if config.murmur else xxhash.xxh64_intdigest
    least = min(members.weights)
    # The lightest host has a whole number of places.
    scale = min(
        math.ceil(least * config.minimum_ring_size) / least,
        float(config.maximum_ring_size),
    )
    size = math.ceil(scale)
    places: list[tuple[int, Host]] = []
    fewest, most = size, 0
    target = 0.0
    for host, weight in zip(members.hosts, members.weights, strict=True):
        target += scale * weight
        key = hash_key(host, config.use_hostname).encode() + b"_"
        count = 0
        while len(places) < target:
            places.append((digest(key + b"%d" % count), host))
            count += 1
            if not len(places) % STEP:
                yield
        fewest, most = min(count, fewest), max(count, most)
    places = yield from sort_in_steps(places, itemgetter(0))
    hashes: list[int] = []
    hosts: list[Host] = []
    for start in range(0, len(places), STEP * 4):
        part = places[start : start + STEP * 4]
        hashes += [number for number, _ in part]
        hosts += [host for _, host in part]
        yield
    del part
    yield from free_in_steps(places)
    prefix = "ring_hash_lb."
    numbers = {
        f"{prefix}size": size,
        f"{prefix}min_hashes_per_host": fewest,
        f"{prefix}max_hashes_per_host": most,
    }
    return Ring(hashes, hosts, numbers)
