"""The hosts of a cluster by priority, health and locality, as Envoy's `HostSetImpl` sorts them.

The sets are immutable. A change of one host's health makes new lists of its priority only, and without
looking at every host; a list in which nothing changed stays the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final

from msgspec import Struct

from proxy.upstream.host import Host, Locality

Hosts = tuple[Host, ...]

#: So many hosts are looked at between two pauses.
_STEP: Final = 512


class AssignmentPolicy(Struct, frozen=True):
    """What a `ClusterLoadAssignment` says of all its endpoints.

    `overprovisioning_factor` is in percent. `drop_overload` is the share of requests to refuse, 0.0 to 1.0, and
    `drop_category` what load reports call them.
    """

    overprovisioning_factor: int = 140
    weighted_priority_health: bool = False
    drop_overload: float = 0.0
    drop_category: str = ""


_DEFAULT_POLICY: Final = AssignmentPolicy()


class Localities:
    """Hosts of one priority by locality, the own locality first if it has hosts, then in their order.

    All sequences have one entry for each locality. `weights` are those of the localities; `local` tells
    whether the first one is the own.
    """

    __slots__ = ("degraded", "excluded", "healthy", "hosts", "local", "names", "weights")

    def __init__(self, hosts: Hosts, own: Locality | None) -> None:
        groups: dict[Locality, list[Host]] = {}
        for host in hosts:
            groups.setdefault(host.locality, []).append(host)
        self.names = sorted(groups, key=lambda name: (name != own, name))
        self.local = own is not None and own in groups
        members = [groups[name] for name in self.names]
        self.hosts: list[Hosts] = [tuple(group) for group in members]
        self.healthy: list[Hosts] = [tuple([host for host in group if host.healthy]) for group in members]
        self.degraded: list[Hosts] = [tuple([host for host in group if host.degraded]) for group in members]
        self.excluded: list[Hosts] = [tuple([host for host in group if host.excluded]) for group in members]
        self.weights = [group[0].locality_weight for group in members]

    @classmethod
    def in_steps(cls, hosts: Hosts, own: Locality | None) -> Generator[None, None, Localities]:
        """The same, made in small steps."""
        groups: dict[Locality, tuple[list[Host], list[Host], list[Host], list[Host]]] = {}
        for start in range(0, len(hosts), _STEP):
            for host in hosts[start : start + _STEP]:
                everyone, healthy, degraded, excluded = groups.setdefault(host.locality, ([], [], [], []))
                everyone.append(host)
                if host.healthy:
                    healthy.append(host)
                if host.degraded:
                    degraded.append(host)
                if host.excluded:
                    excluded.append(host)
            yield
        made = cls.__new__(cls)
        made.names = sorted(groups, key=lambda name: (name != own, name))
        made.local = own is not None and own in groups
        members = [groups[name] for name in made.names]
        made.hosts, made.healthy, made.degraded, made.excluded = [
            [tuple(group[kind]) for group in members] for kind in range(4)
        ]
        made.weights = [group[0].locality_weight for group in made.hosts]
        return made

    def with_health_of(self, host: Host) -> Localities:
        """The same after the health of one of the hosts has changed."""
        made = Localities.__new__(Localities)
        made.names, made.local, made.hosts, made.weights = self.names, self.local, self.hosts, self.weights
        place = self.names.index(host.locality)
        order = self.hosts[place]
        for kind in ("healthy", "degraded", "excluded"):
            groups: list[Hosts] = list(getattr(self, kind))
            groups[place] = _placed(groups[place], order, host, getattr(host, kind))
            setattr(made, kind, groups)
        return made


class HostSet:
    """The hosts of one priority. Draining hosts are `excluded`: they count neither for nor against availability."""

    __slots__ = (
        "_localities",
        "degraded",
        "excluded",
        "healthy",
        "hosts",
        "own_locality",
        "policy",
        "priority",
    )

    def __init__(
        self,
        hosts: Sequence[Host],
        priority: int = 0,
        policy: AssignmentPolicy = _DEFAULT_POLICY,
        own_locality: Locality | None = None,
    ) -> None:
        self.hosts: Hosts = tuple(hosts)
        self.priority = priority
        self.policy = policy
        self.own_locality = own_locality
        self.healthy: Hosts = tuple([host for host in hosts if host.healthy])
        self.degraded: Hosts = tuple([host for host in hosts if host.degraded])
        self.excluded: Hosts = tuple([host for host in hosts if host.excluded])
        self._localities: Localities | None = None

    @classmethod
    def in_steps(
        cls,
        hosts: Sequence[Host],
        priority: int,
        policy: AssignmentPolicy,
        own_locality: Locality | None,
        *,
        by_locality: bool,
    ) -> Generator[None, None, HostSet]:
        """The same, made in small steps; `by_locality` sorts the localities, too."""
        made = cls.__new__(cls)
        made.hosts = tuple(hosts)
        made.priority = priority
        made.policy = policy
        made.own_locality = own_locality
        made._localities = None
        healthy: list[Host] = []
        degraded: list[Host] = []
        excluded: list[Host] = []
        for start in range(0, len(hosts), _STEP):
            part = hosts[start : start + _STEP]
            healthy += [host for host in part if host.healthy]
            degraded += [host for host in part if host.degraded]
            excluded += [host for host in part if host.excluded]
            yield
        made.healthy, made.degraded, made.excluded = tuple(healthy), tuple(degraded), tuple(excluded)
        if by_locality:
            made._localities = yield from Localities.in_steps(made.hosts, own_locality)
        return made

    @property
    def sorted_by_locality(self) -> bool:
        """Whether anybody has asked for the localities."""
        return self._localities is not None

    @property
    def localities(self) -> Localities:
        """The same hosts by locality; sorted when first asked for."""
        if self._localities is None:
            self._localities = Localities(self.hosts, self.own_locality)
        return self._localities

    def with_health_of(self, host: Host) -> HostSet:
        """The set after the health of one of its hosts has changed."""
        made = HostSet.__new__(HostSet)
        made.hosts = self.hosts
        made.priority = self.priority
        made.policy = self.policy
        made.own_locality = self.own_locality
        made.healthy = _placed(self.healthy, self.hosts, host, host.healthy)
        made.degraded = _placed(self.degraded, self.hosts, host, host.degraded)
        made.excluded = _placed(self.excluded, self.hosts, host, host.excluded)
        made._localities = None if self._localities is None else self._localities.with_health_of(host)
        return made

    def subset(self, member: Callable[[Host], bool], *, scale_weights: bool = False) -> HostSet:
        """The hosts that `member` holds for; localities may weigh less by the share that is left of them."""
        made = HostSet(
            [host for host in self.hosts if member(host)], self.priority, self.policy, self.own_locality
        )
        if scale_weights:
            whole = dict(zip(self.localities.names, self.localities.hosts, strict=True))
            part = made.localities
            part.weights = [
                int(weight * len(hosts) / len(whole[name]) + 0.5)
                for weight, hosts, name in zip(part.weights, part.hosts, part.names, strict=True)
            ]
        return made


class PrioritySet:
    """All hosts of a cluster: `hosts` in the order given, `sets` one for each priority from 0 on, at least one."""

    __slots__ = ("hosts", "sets")

    def __init__(
        self,
        hosts: Iterable[Host] = (),
        policy: AssignmentPolicy = _DEFAULT_POLICY,
        own_locality: Locality | None = None,
    ) -> None:
        self.hosts: Hosts = tuple(hosts)
        levels: list[list[Host]] = [[]]
        for host in self.hosts:
            while len(levels) <= host.priority:
                levels.append([])
            levels[host.priority].append(host)
        self.sets: tuple[HostSet, ...] = tuple(
            [HostSet(level, priority, policy, own_locality) for priority, level in enumerate(levels)]
        )

    @classmethod
    def in_steps(
        cls,
        hosts: Sequence[Host],
        policy: AssignmentPolicy,
        own_locality: Locality | None,
        before: PrioritySet,
    ) -> Generator[None, None, PrioritySet]:
        """The same, made in small steps; what was asked for of the set `before` is ready."""
        made = cls.__new__(cls)
        made.hosts = tuple(hosts)
        levels: list[list[Host]] = [[]]
        for start in range(0, len(hosts), _STEP):
            for host in hosts[start : start + _STEP]:
                while len(levels) <= host.priority:
                    levels.append([])
                levels[host.priority].append(host)
            yield
        sets: list[HostSet] = []
        for priority, level in enumerate(levels):
            by_locality = priority < len(before.sets) and before.sets[priority].sorted_by_locality
            one = yield from HostSet.in_steps(level, priority, policy, own_locality, by_locality=by_locality)
            sets.append(one)
        made.sets = tuple(sets)
        return made

    def with_health_of(self, host: Host) -> PrioritySet:
        """The set after the health of one of its hosts has changed."""
        return self._with(
            self.hosts,
            [one.with_health_of(host) if one.priority == host.priority else one for one in self.sets],
        )

    def subset(self, member: Callable[[Host], bool], *, scale_weights: bool = False) -> PrioritySet:
        """The hosts that `member` holds for, in as many priorities; see `HostSet.subset`."""
        sets = [one.subset(member, scale_weights=scale_weights) for one in self.sets]
        return self._with(tuple([host for one in sets for host in one.hosts]), sets)

    def count(self, kind: str) -> int:
        """How many hosts are `healthy`, `degraded` or `excluded`."""
        return sum(len(getattr(one, kind)) for one in self.sets)

    def _with(self, hosts: Hosts, sets: Sequence[HostSet]) -> PrioritySet:
        made = PrioritySet.__new__(PrioritySet)
        made.hosts = hosts
        made.sets = tuple(sets)
        return made


def _placed(members: Hosts, order: Hosts, host: Host, belongs: bool) -> Hosts:
    """`members` with or without the host, at its place in `order`."""
    present = host in members
    if present == belongs:
        return members
    if present:
        return tuple([one for one in members if one is not host])
    place = 0
    count = len(members)
    for one in order:
        if one is host:
            break
        if place < count and members[place] is one:
            place += 1
    return (*members[:place], host, *members[place:])
