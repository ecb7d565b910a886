"""What RING_HASH and MAGLEV share: the weights that they give to hosts, and the key that stands for a host."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from heapq import merge
from typing import Any, Final, NamedTuple, TypeVar

from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet

T = TypeVar("T")

#: How much is done between two pauses of what is built in steps.
STEP: Final = 256


class HashGroups(NamedTuple):
    """The hosts of a priority that take part, and the share of the hashes for each group of them."""

    groups: tuple[tuple[Host, ...], ...]
    shares: tuple[float, ...]

    @property
    def hosts(self) -> list[Host]:
        """All of them."""
        return [host for group, share in zip(*self, strict=True) if share for host in group]


class WeightedHosts(NamedTuple):
    """Hosts and their weights, which add up to 1.0."""

    hosts: list[Host]
    weights: list[float]


def hash_groups(level: HostSet, panic: bool, locality_weighted: bool) -> HashGroups:
    """Who takes part of a priority: the healthy hosts, in panic all."""
    if not locality_weighted:
        return HashGroups((level.hosts if panic else level.healthy,), (1.0,))
    places = level.localities
    total = sum(places.weights)
    # Where they weigh nothing together, nobody serves.
    shares = tuple([weight / total if total else 0.0 for weight in places.weights])
    return HashGroups(tuple(places.hosts if panic else places.healthy), shares)


def weigh(groups: HashGroups) -> Generator[None, None, WeightedHosts]:
    """Weigh all hosts, in small steps."""
    result = WeightedHosts([], [])
    for group, share in zip(*groups, strict=True):
        if not share:
            continue
        whole = sum([host.weight for host in group])
        for start in range(0, len(group), STEP * 4):
            part = group[start : start + STEP * 4]
            result.hosts.extend(part)
            result.weights.extend([host.weight * share / whole for host in part])
            yield
    return result


def sort_in_steps(
    items: Sequence[T], key: Callable[[T], Any] | None = None
) -> Generator[None, None, list[T]]:
    """Sort in small steps."""
    parts = []
    for start in range(0, len(items), STEP * 4):
        parts.append(sorted(items[start : start + STEP * 4], key=key))  # type: ignore[type-var, arg-type]
        yield
    if len(parts) == 1:
        return parts[0]
    result: list[T] = []
    ordered: Iterable[T] = merge(*parts, key=key)  # type: ignore[arg-type]
    for item in ordered:
        result.append(item)
        if not len(result) % STEP:
            yield
    return result


def free_in_steps(*lists: list[Any]) -> Generator[None, None, None]:
    """Empty long lists in small steps: to free ten thousand objects takes a while, too."""
    for one in lists:
        while one:
            del one[-STEP * 4 :]
            yield


def hash_key(host: Host, use_hostname: bool) -> str:
    """What is hashed for a host: `hash_key` of its `envoy.lb` metadata, else its host name or address."""
    metadata = host.metadata
    if metadata is not None and "envoy.lb" in metadata.filter_metadata:
        fields = metadata.filter_metadata["envoy.lb"].fields
        key: str = fields["hash_key"].string_value if "hash_key" in fields else ""
        if key:
            return key
    return host.hostname if use_hostname else host.address.text
