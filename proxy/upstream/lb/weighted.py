"""What ROUND_ROBIN and LEAST_REQUEST share: equal weights are picked without a schedule, different ones by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence

from proxy.upstream.host import Host
from proxy.upstream.lb.api import Draw, weights_equal
from proxy.upstream.lb.edf import EdfScheduler
from proxy.upstream.lb.slow_start import SlowStart


class WeightedPicker(ABC):
    """A `Picker`. `whole` tells whether the weights that count are those of the hosts as they are."""

    pick: Callable[[int | None], Host]

    def __init__(
        self, hosts: Sequence[Host], draw: Draw, slow_start: SlowStart | None, *, whole: bool
    ) -> None:
        self._draw = draw
        self._slow_start = slow_start
        self._whole = whole
        self._drawn: int | None = None
        self._schedule: EdfScheduler[Host] | None = None
        #: The schedule of a list that is about to come.
        self._prepared: tuple[Sequence[Host], EdfScheduler[Host]] | None = None
        self.renew(hosts)

    def prepare(self, hosts: Sequence[Host]) -> Generator[None, None, None]:
        """Make the schedule that `renew` will need for this list, in small steps."""
        if len(hosts) > 1 and not weights_equal(hosts) and self._slow_start is None:
            picks = self.seed % sum([host.weight for host in hosts])
            schedule = yield from EdfScheduler.in_steps(hosts, self._weight(), picks, whole=self._whole)
            self._prepared = (hosts, schedule)

    def renew(self, hosts: Sequence[Host]) -> None:
        """See `Picker`."""
        self.hosts = hosts
        slow = self._slow_start
        if slow is not None:
            slow.note(hosts)
        starting = slow is not None and slow.active
        self._schedule = None
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is hosts:
            self._schedule = prepared[1]
            self.pick = self._schedule.pick
        elif len(hosts) == 1:
            only = hosts[0]
            self.pick = lambda _hash: only
        elif weights_equal(hosts) and not starting:
            self.pick = self.unweighted(hosts)
        else:
            picks = self.seed % sum([host.weight for host in hosts])
            whole = self._whole and not starting
            self._schedule = EdfScheduler(hosts, self._weight(), picks, whole=whole)
            self.pick = self._schedule.pick

    def health_changed(self, hosts: Sequence[Host], host: Host) -> None:
        """See `Picker`."""
        if self._slow_start is not None or self._schedule is None or len(hosts) == 1:
            self.renew(hosts)
            return
        if len(hosts) < len(self.hosts):
            self._schedule.remove(host)
        elif self._weight_fits(host):
            self._schedule.add(host)
        else:
            self.renew(hosts)
            return
        self.hosts = hosts

    @property
    def seed(self) -> int:
        """Where to begin; drawn once."""
        if self._drawn is None:
            self._drawn = self._draw()
        return self._drawn

    def _weight_fits(self, host: Host) -> bool:
        # Time runs in steps that the weights of the first hosts divide.
        return any(one.weight == host.weight for one in self.hosts)

    def _weight(self) -> Callable[[Host], float]:
        weight_of = self.weight_of
        slow = self._slow_start
        if slow is None:
            return weight_of

        def weight(host: Host) -> float:
            return slow.scaled(weight_of(host), host) if slow.active else weight_of(host)

        return weight

    @abstractmethod
    def unweighted(self, hosts: Sequence[Host]) -> Callable[[int | None], Host]:
        """How to pick from hosts of equal weight."""

    @abstractmethod
    def weight_of(self, host: Host) -> float:
        """What counts for a host in the schedule."""
