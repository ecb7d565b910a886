"""Subset load balancing: a request whose metadata names values gets one of the hosts that have these values.

Source: "Load Balancer Subsets" of Envoy's architecture overview. The hosts are grouped when they change; a
subset has a balancer of its own once it is asked for a host.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace

from proxy.upstream.host import Host
from proxy.upstream.host_set import PrioritySet
from proxy.upstream.lb.api import LbConfig, SubsetConfig, SubsetFallback, SubsetSelector
from proxy.upstream.lb.balancer import Balancer, Surroundings, make_balancer
from proxy.upstream.lb.priority_load import priority_loads
from proxy.upstream.lb.retry_choice import RetryChoice

Criteria = Mapping[str, Any]
#: Names and values, sorted by name.
_Key = tuple[tuple[str, Any], ...]

NAMESPACE: Final = "envoy.lb"
_FALLBACK_LIST: Final = "fallback_list"


class _Subset:
    """Some of the hosts. `single` stands for the first of them alone, whatever its health."""

    __slots__ = ("_around", "_balancer", "_config", "_priorities", "hosts", "single")

    def __init__(self, config: LbConfig, around: Surroundings, single: bool = False) -> None:
        self._config = config
        self._around = around
        self._balancer: Balancer | None = None
        self._priorities = PrioritySet()
        self.hosts: set[Host] = set()
        self.single = single

    def renew(self, hosts: set[Host], priorities: PrioritySet) -> None:
        """`priorities` are those of all hosts of the cluster."""
        self.hosts = hosts
        self._priorities = priorities
        if self._balancer is not None:
            self._balancer.renew(self._part())

    def health_changed(self, priorities: PrioritySet, host: Host) -> None:
        """The same hosts, of which one has changed its health."""
        self._priorities = priorities
        if self._balancer is not None and host in self.hosts:
            self._balancer.health_changed(self._balancer.priorities.with_health_of(host), host)

    def choose(self, request_hash: int | None, retry: RetryChoice | None = None) -> Host | None:
        """One of the hosts."""
        if self.single:
            return next(iter(self.hosts), None)
        if self._balancer is None:
            self._balancer = make_balancer(self._config, self._around, self._part())
        if retry is not None:
            return self._balancer.choose_again(request_hash, retry)
        return self._balancer.choose(request_hash)

    def _part(self) -> PrioritySet:
        scale = self._config.subset is not None and self._config.subset.scale_locality_weight
        return self._priorities.subset(self.hosts.__contains__, scale_weights=scale)


class SubsetBalancer(Balancer):
    """See module. `choose` is for requests without criteria."""

    def __init__(self, config: LbConfig, around: Surroundings, priorities: PrioritySet) -> None:
        super().__init__(config, around, priorities)
        assert config.subset is not None
        self._terms: SubsetConfig = config.subset
        aware = config.locality_weighted and self._terms.locality_weight_aware
        self._child = replace(config, locality_weighted=aware)
        self._subsets: dict[_Key, _Subset] = {}
        self._any = _Subset(self._child, around)
        self._default = _Subset(self._child, around)
        self._fallbacks = _selector_fallbacks(self._terms.selectors)
        #: What the metadata of a host says, by host, with the metadata that said so.
        self._known: dict[Host, tuple[Any, dict[str, list[Any]]]] = {}
        self._duplicates = 0
        self._wanted = {key for selector in self._terms.selectors for key in selector.keys}
        self._wanted.update(self._terms.default_subset or ())
        self.choose = self._choose_fallback
        self.renew(priorities)

    def renew(self, priorities: PrioritySet) -> None:
        """See `Balancer`."""
        self.priorities = priorities
        self.loads = priority_loads(priorities.sets, self.panic_threshold())
        self._known = {host: self._facts(host) for host in priorities.hosts}
        default = _fits(self._terms.default_subset or {})
        self._any.renew(set(priorities.hosts), priorities)
        self._default.renew({host for host in priorities.hosts if default(self._known[host][1])}, priorities)
        self._group()

    def health_changed(self, priorities: PrioritySet, host: Host) -> None:
        """See `Balancer`."""
        self.priorities = priorities
        self.loads = priority_loads(priorities.sets, self.panic_threshold())
        for one in (self._any, self._default, *self._subsets.values()):
            one.health_changed(priorities, host)

    def choose_for(
        self, criteria: Criteria | None, request_hash: int | None, retry: RetryChoice | None = None
    ) -> Host | None:
        """The host for a request with these criteria, or for its `retry`; values of criteria are JSON."""
        if criteria is None:
            return self._choose_fallback(request_hash, retry)
        if self._terms.fallback_list and _FALLBACK_LIST in criteria:
            rest = {name: value for name, value in criteria.items() if name != _FALLBACK_LIST}
            alternatives = criteria[_FALLBACK_LIST]
            if not isinstance(alternatives, Sequence) or not alternatives:
                return self._choose(rest, request_hash, retry)
            for alternative in alternatives:
                more = alternative if isinstance(alternative, Mapping) else {}
                host = self._choose({**rest, **more}, request_hash, retry)
                if host is not None:
                    return host
            return None
        return self._choose(criteria, request_hash, retry)

    def make_level(self, priority: int, degraded: bool) -> Callable[[int | None, int], Host | None]:
        """See `Balancer`."""
        del priority, degraded
        return lambda request_hash, _attempt: self._choose_fallback(request_hash)

    def numbers(self) -> dict[str, int]:
        """See `Balancer`."""
        return {"lb_subsets_single_host_per_subset_duplicate": self._duplicates}

    def _choose(self, criteria: Criteria, request_hash: int | None, retry: RetryChoice | None) -> Host | None:
        if self._terms.allow_redundant_keys:
            for selector in self._terms.selectors:
                if all(key in criteria for key in selector.keys):
                    criteria = {key: criteria[key] for key in selector.keys}
                    break
        key = tuple([(name, comparable(criteria[name])) for name in sorted(criteria)])
        found = self._subsets.get(key)
        if found is not None:
            self.around.stats.lb_subsets_selected += 1
            return found.choose(request_hash, retry)
        selector_fallback = self._fallbacks.get(tuple([name for name, _ in key]))
        if selector_fallback is None:
            return self._choose_fallback(request_hash, retry)
        match selector_fallback.fallback:
            case SubsetFallback.ANY_ENDPOINT:
                return self._any.choose(request_hash, retry)
            case SubsetFallback.DEFAULT_SUBSET:
                return self._default.choose(request_hash, retry)
            case SubsetFallback.KEYS_SUBSET:
                fewer = {name: criteria[name] for name in selector_fallback.fallback_keys}
                return self._choose(fewer, request_hash, retry)
            case _:
                return None

    def _choose_fallback(self, request_hash: int | None, retry: RetryChoice | None = None) -> Host | None:
        terms = self._terms
        stats = self.around.stats
        if terms.fallback is SubsetFallback.NO_FALLBACK:
            return None
        fallback = self._any if terms.fallback is SubsetFallback.ANY_ENDPOINT else self._default
        host = fallback.choose(request_hash, retry)
        if host is not None:
            stats.lb_subsets_fallback += 1
        elif terms.panic_mode_any:
            host = self._any.choose(request_hash, retry)
            if host is not None:
                stats.lb_subsets_fallback_panic += 1
        return host

    def _facts(self, host: Host) -> tuple[Any, dict[str, list[Any]]]:
        known = self._known.get(host)
        if known is not None and known[0] is host.metadata:
            return known
        return host.metadata, values_of(host, self._wanted, self._terms.list_as_any)

    def _group(self) -> None:
        groups: dict[_Key, dict[Host, None]] = {}
        single: set[_Key] = set()
        self._duplicates = 0
        for host, (_, values) in self._known.items():
            for selector in self._terms.selectors:
                for key in _keys(selector, values):
                    members = groups.get(key)
                    if members is None:
                        members = groups[key] = {}
                        if selector.single_host:
                            single.add(key)
                    elif key in single:
                        self._duplicates += 1
                        continue
                    members[host] = None
        stats = self.around.stats
        for key in [key for key in self._subsets if key not in groups]:
            del self._subsets[key]
            stats.lb_subsets_removed += 1
            stats.lb_subsets_active -= 1
        for key, members in groups.items():
            subset = self._subsets.get(key)
            if subset is None:
                subset = self._subsets[key] = _Subset(self._child, self.around, key in single)
                stats.lb_subsets_created += 1
                stats.lb_subsets_active += 1
            subset.renew(set(members), self.priorities)


def comparable(value: Any) -> Any:
    """A JSON value as something hashable that is equal for equal values only."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, (list, dict)):
        return ("json", json.dumps(value, sort_keys=True))
    return value


def values_of(host: Host, wanted: set[str], list_as_any: bool) -> dict[str, list[Any]]:
    """What the metadata of a host says of the keys that are wanted: the values that it fits."""
    metadata = host.metadata
    if metadata is None or NAMESPACE not in metadata.filter_metadata:
        return {}
    found = MessageToDict(metadata.filter_metadata[NAMESPACE])
    values = {}
    for key in wanted & found.keys():
        value = found[key]
        each = value if list_as_any and isinstance(value, list) else [value]
        values[key] = [comparable(one) for one in each]
    return values


def _keys(selector: SubsetSelector, values: Mapping[str, list[Any]]) -> Iterator[_Key]:
    """The subsets of a selector that a host belongs to."""
    if not selector.keys or not all(key in values for key in selector.keys):
        return
    for combination in product(*[values[key] for key in selector.keys]):
        yield tuple(zip(selector.keys, combination, strict=True))


def _fits(labels: Criteria) -> Callable[[Mapping[str, list[Any]]], bool]:
    wanted = [(name, comparable(value)) for name, value in labels.items()]

    def fits(values: Mapping[str, list[Any]]) -> bool:
        return all(value in values.get(name, ()) for name, value in wanted)

    return fits


def _selector_fallbacks(selectors: Sequence[SubsetSelector]) -> dict[tuple[str, ...], SubsetSelector]:
    """The selectors that say what happens to requests that they do not serve, by their keys.

    As in Envoy, one whose keys begin those of an earlier selector is not heard.
    """
    seen: set[tuple[str, ...]] = set()
    result: dict[tuple[str, ...], SubsetSelector] = {}
    for selector in selectors:
        if selector.keys not in seen and selector.fallback is not SubsetFallback.NOT_DEFINED:
            result[selector.keys] = selector
        seen.update(selector.keys[:end] for end in range(1, len(selector.keys) + 1))
    return result
