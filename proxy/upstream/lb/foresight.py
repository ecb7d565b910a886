"""Hosts that are chosen before the requests that get them, so that connections can be made ahead.

What has been chosen ahead waits in order, and the next requests get it: the order is that of the policy either
way. Envoy, too, foresees no host of LEAST_REQUEST (unless weights differ, and it follows a schedule), of policies
that hash, and of subsets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from proxy.upstream.host import Host
from proxy.upstream.lb.api import ChooseHost, LbConfig, LbPolicy, weights_equal

#: Connections that one request may bring about, as in Envoy.
MOST_AT_ONCE: Final = 3

_IN_ORDER: Final = frozenset(
    {LbPolicy.ROUND_ROBIN, LbPolicy.RANDOM, LbPolicy.CLIENT_SIDE_WEIGHTED_ROUND_ROBIN}
)


def lacks_connections(pending: int, active: int, provided: int, ratio: float, coming: int = 0) -> bool:
    """Whether `provided` streams are too few for `ratio` times those that wait, run and are about to come.

    `provided` is what the connections carry and can carry more, those on their way included.
    """
    return (pending + active + coming) * ratio > provided


class Foresight:
    """See module. `stats` is the `ClusterStats`.

    `pools` are those of the cluster that make connections ahead, None where each connection carries one stream at a
    time, so that the numbers of the cluster tell all.
    """

    def __init__(self, config: LbConfig, ratio: float, stats: Any, *, single: bool) -> None:
        self._config = config
        self._ratio = ratio
        self._stats = stats
        self._ahead: deque[Host] = deque()
        self._choose: ChooseHost = lambda _hash: None
        self._most = 0
        #: Whether a request has been given its host since the last look ahead.
        self._chosen = False
        self.pools: set[Any] | None = None if single else set()

    def around(self, choose: ChooseHost, hosts: tuple[Host, ...], healthy: int) -> ChooseHost:
        """`choose` of the present hosts, but those chosen ahead come first."""
        self._choose = choose
        self._most = healthy
        config = self._config
        scheduled = config.policy is LbPolicy.LEAST_REQUEST and not weights_equal(hosts)
        if config.subset is not None or not (scheduled or config.policy in _IN_ORDER):
            self._most = 0
        present = set(hosts)
        self._ahead = deque(host for host in self._ahead if host in present and host.healthy)
        return self._next

    def _next(self, request_hash: int | None) -> Host | None:
        self._chosen = True
        return self._ahead.popleft() if self._ahead else self._choose(request_hash)

    def _peek(self) -> Host | None:
        # No more than one for each healthy host, as in Envoy.
        if len(self._ahead) >= self._most:
            return None
        host = self._choose(None)
        if host is not None:
            self._ahead.append(host)
        return host

    def look_ahead(self, connect: Callable[[Host, float], bool]) -> None:
        """A request is about to take its connection: have some made for those after it.

        `connect` makes one to a host if its pool lacks any, and says whether more may be made.
        """
        if not self._chosen:
            return  # whoever chose the host does not choose by this
        self._chosen = False
        ratio = self._ratio
        for _ in range(MOST_AT_ONCE):
            if not lacks_connections(*self._load(), ratio, 1):
                return
            host = self._peek()
            if host is None or not connect(host, ratio):
                return

    def _load(self) -> tuple[int, int, int]:
        stats = self._stats
        if self.pools is None:
            return stats.upstream_rq_pending_active, stats.upstream_rq_active, stats.upstream_cx_active
        pending = active = provided = 0
        for pool in self.pools:
            waiting, running, free = pool.load()
            pending += waiting
            active += running
            provided += running + free
        return pending, active, provided
