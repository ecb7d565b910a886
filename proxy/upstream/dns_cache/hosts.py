"""The hosts of one DNS cache, as a state machine: the caller brings the time, the queries and their answers.

A host is resolved when it is first asked for, again when its time to live is over, and forgotten when nobody has
asked for it within `host_ttl`. Once it has an address it keeps it until another comes: a failure takes nothing
away.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from proxy.base.address import Address
from proxy.upstream.discovery.schedule import Answer, BackOff
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.names import HostName, host_name
from proxy.upstream.dns_cache.stats import DnsCacheStats
from proxy.upstream.lb.api import Draw


class Load(Enum):
    """What the cache says of a host that a request wants."""

    #: It was asked for; `CachedHost.address` is None if there is no address.
    IN_CACHE = 0
    #: The first answer is still to come.
    LOADING = 1
    #: There are `max_hosts` others.
    OVERFLOW = 2
    #: As many requests as may wait are waiting.
    PENDING_OVERFLOW = 3


class CachedHost:
    """One name and port.

    `address` is None until a query gave one. `resolved` turns True with the first answer, whatever it says;
    `reason` says what was wrong with the last one. `query` counts queries, so that a late answer is known as one;
    `asking` is whether one is open. `wake_at` is when the query times out, or else when to resolve again.
    """

    __slots__ = (
        "address",
        "asking",
        "backoff",
        "host",
        "last_used",
        "query",
        "reason",
        "resolved",
        "wake_at",
    )

    def __init__(self, host: HostName, backoff: BackOff, now: float) -> None:
        self.host = host
        self.backoff = backoff
        self.last_used = now
        self.address: Address | None = None
        self.resolved = False
        self.reason = ""
        self.query = 0
        self.asking = False
        self.wake_at = now


class CachedHosts:
    """All hosts of one cache. Times are seconds of one monotonic clock; `draw` is a `Draw`.

    When it is `wake_at`, the caller asks in this order: `settle_timeouts`, `forget_unused`, `due`.
    """

    def __init__(self, config: DnsCacheConfig, stats: DnsCacheStats, draw: Draw, now: float) -> None:
        self.config = config
        self.stats = stats
        self._draw = draw
        self._hosts: dict[str, CachedHost] = {}
        for name, port in config.preresolve:
            self._add(host_name(name, port), now)

    def load(self, host: HostName, now: float) -> tuple[Load, CachedHost | None]:
        """Look up a host for a request; one that is new is due at once. No host comes with `OVERFLOW`."""
        known = self._hosts.get(host.key)
        if known is None:
            if len(self._hosts) >= self.config.max_hosts:
                self.stats.host_overflow += 1
                return Load.OVERFLOW, None
            known = self._add(host, now)
        known.last_used = now
        return Load.IN_CACHE if known.resolved else Load.LOADING, known

    def due(self, now: float) -> Iterator[CachedHost]:
        """Hosts to resolve now, each with its `query` begun."""
        for known in list(self._hosts.values()):
            if known.asking or known.wake_at > now:
                continue
            known.asking = True
            known.query += 1
            known.wake_at = now + self.config.query_timeout if self.config.query_timeout else float("inf")
            self.stats.dns_query_attempt += 1
            yield known

    def forget_unused(self, now: float) -> list[CachedHost]:
        """Forget the hosts that would be resolved again but that nobody uses; gives them, for everybody to hear."""
        stale = [
            known
            for known in self._hosts.values()
            if not known.asking and known.wake_at <= now and now - known.last_used > self.config.host_ttl
        ]
        for known in stale:
            del self._hosts[known.host.key]
        self.stats.host_removed += len(stale)
        self.stats.num_hosts = len(self._hosts)
        return stale

    def settle_timeouts(self, now: float) -> list[CachedHost]:
        """Fail the queries that took too long; gives the hosts of which everybody must hear."""
        late = [known for known in self._hosts.values() if known.asking and known.wake_at <= now]
        self.stats.dns_query_timeout += len(late)
        failed = Answer(False, reason="resolve_timeout")
        return [known for known in late if self.answered(known.host.key, known.query, failed, now)]

    def answered(self, key: str, query: int, answer: Answer, now: float) -> bool:
        """Take the answer to a query; whether everybody must hear of it. One that comes too late is dropped."""
        known = self._hosts.get(key)
        if known is None or not known.asking or known.query != query:
            return False
        known.asking = False
        known.reason = answer.details or answer.reason
        first, known.resolved = not known.resolved, True
        if not answer.complete:
            self.stats.dns_query_failure += 1
            known.wake_at = now + known.backoff.delay(self._draw)
            return first
        self.stats.dns_query_success += 1
        known.backoff.reset()
        if answer.addresses:
            known.wake_at = now + max(float(answer.ttl), self.config.min_refresh_rate)
        else:
            known.wake_at = now + self.config.dns.refresh_rate
        return self._take_address(known, answer) or first

    def wake_at(self) -> float | None:
        """When there is something to do next; None without hosts."""
        return min((known.wake_at for known in self._hosts.values()), default=None)

    def get(self, key: str) -> CachedHost | None:
        """The host of that key; unlike `load`, this is no use of it."""
        return self._hosts.get(key)

    def known(self) -> Iterator[CachedHost]:
        """The hosts that have an answer, whatever it says."""
        return (known for known in self._hosts.values() if known.resolved)

    def _take_address(self, known: CachedHost, answer: Answer) -> bool:
        if not answer.addresses:
            return False
        address = Address(answer.addresses[0], known.host.port)
        if address == known.address:
            return False
        known.address = address
        self.stats.host_address_changed += 1
        return True

    def _add(self, host: HostName, now: float) -> CachedHost:
        known = self._hosts[host.key] = CachedHost(host, BackOff(self.config.dns), now)
        self.stats.host_added += 1
        self.stats.num_hosts = len(self._hosts)
        return known
