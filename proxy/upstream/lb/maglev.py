"""MAGLEV: a table of fixed size in which hosts take turns to claim places, heavy ones more often.

Source: "Maglev: A Fast and Reliable Software Network Load Balancer", listing 1, with the weights of Envoy's
`MaglevTable`; a key lands on the same host as there.
"""

from __future__ import annotations

from collections.abc import Generator
from operator import itemgetter
from typing import Any

import xxhash

from proxy.upstream.host import Host
from proxy.upstream.lb.api import HashingConfig
from proxy.upstream.lb.hash_weights import STEP, WeightedHosts, free_in_steps, hash_key, sort_in_steps

_MASK = (1 << 64) - 1
#: Places to look at between two pauses.
_PROBES = 4096


class Table:
    """A table over at least one host. `numbers` are its gauges under Envoy's names."""

    __slots__ = ("_hosts", "_size", "numbers")

    def __init__(self, hosts: list[Host], numbers: dict[str, int]) -> None:
        self._hosts = hosts
        self._size = len(hosts)
        self.numbers = numbers

    def pick(self, request_hash: int, attempt: int = 0) -> Host:
        """The host of a hash; each further attempt asks for a hash far away."""
        if attempt:
            request_hash ^= _MASK - attempt + 1
        return self._hosts[request_hash % self._size]

    def retire(self) -> Generator[None, None, None]:
        """Free it in small steps, when nobody picks any more."""
        return free_in_steps(self._hosts)


class _Claim:
    """One host while the table is built: where it looks next, and how much it has had for its weight."""

    __slots__ = ("count", "host", "place", "skip", "target", "weight")

    def __init__(self, key: bytes, host: Host, weight: float, size: int) -> None:
        self.host = host
        self.weight = weight
        self.place = xxhash.xxh64_intdigest(key) % size
        self.skip = xxhash.xxh64_intdigest(key, 1) % (size - 1) + 1
        self.target = 0.0
        self.count = 0


def build_table(members: WeightedHosts, config: HashingConfig) -> Generator[None, None, Table]:
    """Build a table in small steps."""
    size = config.table_size
    heaviest = max(members.weights)
    keyed: list[tuple[bytes, int]] = []
    for index, host in enumerate(members.hosts):
        keyed.append((hash_key(host, config.use_hostname).encode(), index))
        if not index % STEP:
            yield
    claims: list[_Claim] = []
    for key, index in (yield from sort_in_steps(keyed, itemgetter(0))):
        claims.append(_Claim(key, members.hosts[index], members.weights[index], size))
        if not len(claims) % STEP:
            yield
    table: list[Any] = [None] * size
    left = size
    rounds = 0
    probes = 0
    while left:
        rounds += 1
        for claim in claims:
            if rounds * claim.weight < claim.target:
                continue
            claim.target += heaviest
            place, skip = claim.place, claim.skip
            while table[place] is not None:
                place += skip
                if place >= size:
                    place -= size
                probes += 1
                if probes > _PROBES:
                    probes = 0
                    yield
            table[place] = claim.host
            place += skip
            claim.place = place if place < size else place - size
            claim.count += 1
            left -= 1
            if not left:
                break
            if not left % STEP:
                probes = 0
                yield
    yield
    counts = [claim.count for claim in claims]
    numbers = {
        "maglev_lb.min_entries_per_host": min(counts),
        "maglev_lb.max_entries_per_host": max(counts),
    }
    yield from free_in_steps(claims, keyed)
    return Table(table, numbers)
