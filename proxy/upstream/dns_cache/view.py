"""DNS caches as a worker sees them: what the controller has told, and who waits to be told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, Protocol

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.hosts import Load
from proxy.upstream.dns_cache.names import HostName

logger = logging.getLogger("outrider.upstream")

#: Key, name, port, IP address ("" if there is none), reason: what the controller tells of one host.
Told = tuple[str, str, int, str, str]

_SHARED_KEY: Final = "dns_caches"
#: The controller hears of the use of a host as often as this in the time after which it forgets unused ones.
_REPORTS_PER_TTL: Final = 8


class KnownHost:
    """A host that has been resolved, with or without success.

    `address` is None if there is none, and then `reason` says why. Its use need not be told before `report_at`.
    """

    __slots__ = ("address", "host", "reason", "report_at")

    def __init__(self, host: HostName) -> None:
        self.host = host
        self.address: Address | None = None
        self.reason = ""
        self.report_at = 0.0


class Waiter(Protocol):
    """Who waits for a host."""

    def on_dns_loaded(self, known: KnownHost | None) -> None:
        """The first answer has come; None if the cache has no place for the host."""


class HostListener(Protocol):
    """Who keeps a list of all hosts that have an address."""

    def on_dns_host(self, known: KnownHost) -> None:
        """A host has an address, or another one."""

    def on_dns_forgotten(self, key: str) -> None:
        """A host has gone, which may never have had an address."""


class DnsCacheUseStats(StatGroup):
    """`dns_cache.<name>.*`, as far as workers count."""

    COUNTERS: ClassVar = ("dns_rq_pending_overflow", "host_overflow")
    SHARED: ClassVar = frozenset({"circuit_breakers.rq_pending_open"})

    dns_rq_pending_overflow: int
    host_overflow: int
    view: DnsCacheView

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        pending = self.view.pending
        left = self.view.limit - pending
        breaker = f"{self.prefix}circuit_breakers."
        return {
            f"{breaker}rq_pending_open": int(pending > 0 and left <= 0),
            f"{breaker}rq_pending_remaining": left,
        }


class DnsCacheView:
    """One cache. `send` gives the controller a message; `known` are the hosts that it has told of, by key.

    `limit` is how many requests of this worker may wait at once, `pending` how many do.
    """

    def __init__(
        self,
        config: DnsCacheConfig,
        services: WorkerServices,
        send: Callable[[tuple[Any, ...]], object],
        known: dict[str, KnownHost],
    ) -> None:
        self.config = config
        self.known = known
        self.limit = -(-config.max_pending_requests // services.workers)
        self.pending = 0
        self.listeners: dict[HostListener, None] = {}
        self.stats = services.stats.shared(DnsCacheUseStats, f"dns_cache.{config.name}.")
        self.stats.view = self
        self._services = services
        self._send = send
        self._now = services.loop.time
        self._waiting: dict[str, dict[Waiter, None]] = {}

    def load(self, host: HostName, waiter: Waiter) -> tuple[Load, KnownHost | None]:
        """Look up a host; `waiter` hears of it later if it is `LOADING`, unless it leaves before."""
        if self.pending >= self.limit:
            self.stats.dns_rq_pending_overflow += 1
            watch = self._services.breaker_watch
            if watch is not None:
                watch.refused(self, "pending_requests")
            return Load.PENDING_OVERFLOW, None
        known = self.known.get(host.key)
        if known is not None:
            return Load.IN_CACHE, known
        if not self._ask(host):
            return Load.OVERFLOW, None
        self._waiting[host.key][waiter] = None
        self.pending += 1
        return Load.LOADING, None

    # -- see `Breakers`; there is but one kind

    def breaker_key(self, kind: str) -> tuple[str, str, str]:
        """What the limit is called."""
        return (self.config.name, "", kind)

    def why_refused(self, kind: str) -> str:
        """The limit, and how many wait, in words."""
        share = "" if self._services.workers == 1 else f", {self.limit} of them in each worker"
        return f"max_{kind} is {self.config.max_pending_requests}{share}, and {self.pending} are in use"

    def has_room(self, kind: str) -> bool:
        """Whether one more might wait now."""
        del kind
        return self.pending < self.limit

    def prepare(self, host: HostName) -> None:
        """Have a host resolved for those who come later."""
        if host.key not in self.known:
            self._ask(host)

    def leave(self, key: str, waiter: Waiter) -> None:
        """That waiter waits no longer; it need not be waiting."""
        waiting = self._waiting.get(key)
        if waiting is not None and waiter in waiting:
            del waiting[waiter]
            self.pending -= 1

    def touch(self, known: KnownHost) -> None:
        """The host is used: the controller must not forget it."""
        now = self._now()
        if now >= known.report_at:
            known.report_at = now + self.config.host_ttl / _REPORTS_PER_TTL
            self._send(("resolve", self.config.serialized, *known.host, False))

    def on_resolved(self, known: KnownHost) -> None:
        """The controller has told of a host, which is among `known`."""
        if known.address is not None:
            for listener in list(self.listeners):
                listener.on_dns_host(known)
        self._release(known.host.key, known)

    def on_overflow(self, key: str) -> None:
        """The controller has no place for a host."""
        self._release(key, None)

    def on_forgotten(self, key: str) -> None:
        """A host has gone."""
        for listener in list(self.listeners):
            listener.on_dns_forgotten(key)

    def _ask(self, host: HostName) -> bool:
        if host.key not in self._waiting:
            if len(self.known) >= self.config.max_hosts:
                self.stats.host_overflow += 1
                return False
            self._waiting[host.key] = {}
            self._send(("resolve", self.config.serialized, *host, True))
        return True

    def _release(self, key: str, known: KnownHost | None) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting:
            self.pending -= len(waiting)
            for waiter in waiting:
                waiter.on_dns_loaded(known)


class DnsCacheViews:
    """All caches of one worker. `send` gives the controller a message."""

    def __init__(self, services: WorkerServices, send: Callable[[tuple[Any, ...]], object]) -> None:
        self._services = services
        self._send = send
        self._views: dict[str, DnsCacheView] = {}
        self._known: dict[str, dict[str, KnownHost]] = {}
        services.shared[_SHARED_KEY] = self

    def view(self, config: DnsCacheConfig) -> DnsCacheView:
        """The cache of that config."""
        view = self._views.get(config.name)
        if view is None:
            known = self._known.setdefault(config.name, {})
            view = self._views[config.name] = DnsCacheView(config, self._services, self._send, known)
        elif view.config.serialized != config.serialized:
            # Both came from a control plane before either was in use.
            logger.error("DNS cache %s is configured in two ways; the first is in force", config.name)
        return view

    def resolved(self, name: str, told: Iterable[Told]) -> None:
        """The controller tells of hosts of the cache of that name."""
        hosts = self._known.setdefault(name, {})
        view = self._views.get(name)
        for key, host_name, port, ip, reason in told:
            known = hosts.get(key)
            if known is None:
                known = hosts[key] = KnownHost(HostName(key, host_name, port))
            known.address = Address(ip, port) if ip else None
            known.reason = reason
            if view is not None:
                view.on_resolved(known)

    def overflow(self, name: str, key: str) -> None:
        """The controller has no place for that host."""
        view = self._views.get(name)
        if view is not None:
            view.on_overflow(key)

    def forgotten(self, name: str, key: str) -> None:
        """The controller knows a host no longer."""
        if self._known.get(name, {}).pop(key, None) is not None:
            view = self._views.get(name)
            if view is not None:
                view.on_forgotten(key)


def view_of(config: DnsCacheConfig, services: WorkerServices) -> DnsCacheView:
    """The worker's view of the cache of that config."""
    views: DnsCacheViews = services.shared[_SHARED_KEY]
    return views.view(config)
