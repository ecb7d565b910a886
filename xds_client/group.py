"""One type of one source: brings responses to the subscriptions, keeps the time limits of what is waited for."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import xxhash

from xds_client.api import (
    WILDCARD,
    ClientStatus,
    Consumer,
    RefusedWhole,
    Rejection,
    Resource,
    StreamCounters,
    TypeStatus,
    Update,
)
from xds_client.delta import DeltaState
from xds_client.names import collection_of, is_collection
from xds_client.resource_types import ResourceType
from xds_client.sotw import SotwState
from xds_client.state import Change, TypeState
from xds_client.watches import Watch, Watches

logger = logging.getLogger("xds_client")

_DURATIONS_KEPT: Final = 1000

_TIMER_GRAIN: Final = 0.1
"""Seconds between two rounds of the time limits: thousands of subscriptions have limits close together."""


class Owner(Protocol):
    """What a group needs of its mux."""

    source: str
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    delta: bool
    counters: StreamCounters
    own_stream: bool
    asks: bool

    def note_due(self, group: Group) -> None:
        """A request of the group may be due."""
        ...

    def enqueue(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job in its turn."""
        ...


class Group:
    """One type of a mux: its protocol state, its subscriptions, its timers."""

    def __init__(self, mux: Owner, kind: ResourceType) -> None:
        self.kind = kind
        self.state: TypeState = DeltaState(kind) if mux.delta else SotwState(kind)
        self.watches = Watches(kind)
        self.pauses = 0
        self._mux = mux
        self._applying = False
        self._control_plane = ""
        self._expiries: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def may_send(self) -> bool:
        """Whether a request is due and nothing holds it back."""
        return not self.pauses and not self._applying and self.state.pending

    @property
    def own_stream(self) -> StreamCounters | None:
        """What is counted of the stream, if it is of this type alone."""
        return self._mux.counters if self._mux.own_stream else None

    @property
    def asks(self) -> bool:
        """See `SubscriptionCounters.asks`."""
        return self._mux.asks

    # Subscriptions.

    def subscribe(self, consumer: Consumer, names: Iterable[str], timeout: float) -> Watch:
        """A new subscription; a `timeout` of 0 is none."""
        watch = Watch(self, consumer, timeout or math.inf)
        self.watches.all[watch] = None
        watch.add(names)
        return watch

    def add(self, watch: Watch, names: Sequence[str]) -> None:
        """Ask for further names on behalf of a watch."""
        watch.counters.update_attempt += self.asks
        asked = self.watches.add(watch, names)
        deadline = self._mux.loop.time() + watch.timeout
        watch.waiting.update(dict.fromkeys(names, deadline))
        self.state.change_interest(asked, (), self._mux.clock())
        self._mux.note_due(self)
        self._set_timer(deadline)
        if any(self._cached(name) for name in names):
            self._mux.enqueue(lambda: self._deliver_cached(watch))

    def remove(self, watch: Watch, names: Sequence[str]) -> None:
        """Ask no more for names on behalf of a watch."""
        watch.counters.update_attempt += self.asks
        self.state.change_interest((), self.watches.remove(watch, names), self._mux.clock())
        self._mux.note_due(self)

    def refresh(self, watch: Watch, names: Sequence[str]) -> None:
        """Deliver again what is here, and ask for it once more."""
        watch.waiting.update(dict.fromkeys(names, self._mux.loop.time() + watch.timeout))
        self.state.repeat()
        self._mux.note_due(self)
        self._mux.enqueue(lambda: self._deliver_cached(watch))

    def close(self, watch: Watch) -> None:
        """Forget a watch."""
        self.state.change_interest((), self.watches.remove(watch, list(watch.names)), self._mux.clock())
        self.watches.all.pop(watch, None)
        self._mux.note_due(self)

    def pause(self) -> None:
        """Hold requests back; counted."""
        self.pauses += 1

    def resume(self) -> None:
        """Undo one `pause`."""
        self.pauses -= 1
        self._mux.note_due(self)

    # Responses.

    async def respond(self, response: Any) -> None:
        """Apply one response and owe its answer."""
        self._applying = True
        try:
            change = self.state.receive(response)
            self._control_plane = change.control_plane
            rejections = list(change.rejections)
            delivered: list[tuple[Watch, Update]] = []
            first = change.everything and not self.state.answered
            if not change.problem:
                whole = {watch for watch in self.watches.all if first and WILDCARD in watch.waiting}
                delivered = self._updates(change, whole)
                for watch, update in delivered:
                    refused = await self._apply(watch, update, whole=watch in whole, found=change.rejections)
                    change.refused_whole = change.refused_whole or isinstance(refused, RefusedWhole)
                    rejections += refused
            self._count(change, rejections, delivered)
            self._expire_later(change)
            self.state.conclude(change, rejections, self._mux.clock())
            self._report_absent(change)
            self._catch_up(change)
        finally:
            self._applying = False
            self._mux.note_due(self)

    def _updates(self, change: Change, whole: set[Watch]) -> list[tuple[Watch, Update]]:
        """What each subscription gets of a change; those in `whole` also what was here before.

        A wildcard gets every one, to see the version move.
        """
        added: dict[Watch, list[Resource]] = {}
        removed: dict[Watch, list[str]] = {}
        unchanged = self.watches.named(change.unchanged)
        for resource in change.added:
            for watch in self.watches.wanting(resource.name, resource.aliases):
                added.setdefault(watch, []).append(resource)
        for name in change.removed:
            for watch in self.watches.wanting(name):
                removed.setdefault(watch, []).append(name)
        before = self._untouched(change) if whole else []
        result: list[tuple[Watch, Update]] = []
        for watch in self.watches.all:
            if before and watch in whole:
                added.setdefault(watch, []).extend(before)
            news, gone = added.get(watch, ()), removed.get(watch, ())
            same = unchanged.get(watch, ())
            if news or gone or same or WILDCARD in watch.names:
                update = Update(
                    self.kind,
                    change.version,
                    tuple(news),
                    tuple(gone),
                    change.control_plane,
                    unchanged=tuple(same),
                    further=tuple(change.further) if WILDCARD in watch.names else (),
                    incremental=self._mux.delta,
                )
                result.append((watch, update))
        return result

    def _untouched(self, change: Change) -> list[Resource]:
        touched = {resource.name for resource in change.added}.union(change.removed)
        return [
            record.resource
            for name, record in self.state.records.items()
            if record.resource is not None and name not in touched
        ]

    async def _apply(
        self, watch: Watch, update: Update, *, whole: bool = False, found: Sequence[Rejection] = ()
    ) -> Sequence[Rejection]:
        """Give a watch an update: `whole` if it is all that the wildcard stands for, `found` is wrong anyway."""
        if watch.closed:
            return ()
        watch.settled = True
        awaited = [
            resource.name
            for resource in (update.added if watch.waiting else ())
            if whole or any(key in watch.waiting for key in (resource.name, *resource.aliases))
        ]
        if whole:
            watch.waiting.pop(WILDCARD, None)
        self._delivered(watch, update)
        counters = watch.counters
        counters.update_attempt += 1
        start = time.perf_counter()
        try:
            rejections = await watch.consumer.apply(update)
        except Exception as error:
            logger.exception("%s: applying an update of %s failed", self._mux.source, self.kind.name)
            reason = f"{type(error).__name__}: {error}"
            names = [resource.name for resource in update.added] or list(update.removed) or [WILDCARD]
            return [Rejection(name, reason) for name in names]
        if rejections and awaited:
            # A newcomer that refuses the present form still waits for the one that is in force.
            refused = {rejection.name for rejection in rejections}
            watch.waiting.update(dict.fromkeys(refused.intersection(awaited), math.inf))
        if not rejections and not found:
            counters.update_success += 1
            counters.update_time = int(self._mux.clock() * 1000)
            counters.version_text = update.version
            counters.version = xxhash.xxh64_intdigest(update.version)
            counters.update_durations.append((time.perf_counter() - start) * 1000)
            del counters.update_durations[:-_DURATIONS_KEPT]
        return rejections

    def _delivered(self, watch: Watch, update: Update) -> None:
        waiting = watch.waiting
        for resource in update.added if waiting else ():
            for key in self.watches.keys(resource.name, resource.aliases):
                if key != WILDCARD:
                    waiting.pop(key, None)
        for name in update.removed:
            waiting.pop(name, None)

    def _count(
        self, change: Change, rejections: Sequence[Rejection], delivered: Sequence[tuple[Watch, Update]]
    ) -> None:
        """A NACK counts for every subscription of the type, as in Envoy."""
        if not change.problem and not rejections:
            return
        reason = change.problem or "; ".join(dict.fromkeys(str(one) for one in rejections if not one.along))
        logger.warning(
            "%s: %s update %s rejected: %s", self._mux.source, self.kind.name, change.version, reason
        )
        # By the delta protocol, Envoy counts the attempt to apply an update and its failure as two.
        twice = self._mux.delta and not change.refused_whole
        applied = {watch for watch, _ in delivered}
        for watch in self.watches.all:
            watch.counters.update_rejected += 1
            watch.counters.update_attempt += twice or watch not in applied
            # A refused answer ends waiting too: the next one comes only when the server has changed something.
            if not watch.settled:
                self._fail(watch, f"the first update was rejected: {reason}")

    def _fail(self, watch: Watch, reason: str) -> None:
        watch.settled = True
        if not watch.closed:
            watch.consumer.failed(reason)

    def _report_absent(self, change: Change) -> None:
        for name in (*change.absent, *(name for name, _ in change.errors)):
            for watch in self.watches.wanting(name):
                if watch.waiting.pop(name, None) is not None and not watch.closed:
                    watch.settled = True
                    watch.consumer.missing(name, said=True)

    def _catch_up(self, change: Change) -> None:
        """Deliver to those who came while the change was being applied."""
        if not any(watch.waiting for watch in self.watches.all):
            return
        late = dict.fromkeys(watch for watch in self.watches.all if WILDCARD in watch.waiting)
        here = [(resource.name, resource.aliases) for resource in change.added]
        here += [(name, ()) for name in (*change.unchanged, *change.heartbeats)]
        for name, aliases in here:
            for watch, key in self.watches.wanting(name, aliases).items():
                awaited = key in watch.waiting or name in watch.waiting
                if awaited and self.state.accepted(name) is not None:
                    late[watch] = None
        for watch in late:
            self._mux.enqueue(lambda watch=watch: self._deliver_cached(watch))  # type: ignore[misc]

    def fetch_failed(self, reason: str, *, refused: bool) -> None:
        """A file or a poll gave nothing. What was refused is not waited for; a server may come to answer."""
        for watch in self.watches.all:
            watch.counters.update_attempt += 1
            if refused:
                watch.counters.update_rejected += 1
            else:
                watch.counters.update_failure += 1
            if refused and not watch.settled:
                self._fail(watch, reason)

    # What is here already.

    def _cached(self, name: str) -> bool:
        wire = self.watches.wire_name(name)
        if wire == WILDCARD:
            return self.state.answered and wire in self.state.names
        if is_collection(wire):
            return any(
                record.resource is not None and collection_of(name) == wire
                for name, record in self.state.records.items()
            )
        return self.state.accepted(wire) is not None

    async def _deliver_cached(self, watch: Watch) -> None:
        """Give a watch what it waits for and what is accepted."""
        if watch.closed:
            return
        found: dict[str, Resource] = {}
        for name in watch.waiting:
            if is_collection(self.watches.wire_name(name)):
                for record in self.state.records.values() if self._cached(name) else ():
                    if record.resource is not None and self.watches.wants_it(watch, record.resource):
                        found[record.resource.name] = record.resource
            elif (resource := self.state.accepted(name)) is not None and self.watches.wants_it(
                watch, resource
            ):
                found[name] = resource
        wildcard = any(self._cached(name) for name in watch.waiting if is_collection(name))
        if not found and not wildcard:
            return
        update = Update(
            self.kind, self.state.version, tuple(found.values()), (), self._control_plane, from_cache=True
        )
        rejections = await self._apply(watch, update, whole=WILDCARD in watch.waiting and wildcard)
        for rejection in rejections:
            logger.warning(
                "%s: %s %s: %s", self._mux.source, self.kind.name, rejection.name, rejection.reason
            )

    # Timers.

    def _expire_later(self, change: Change) -> None:
        now = self._mux.loop.time()
        for name, lifetime in change.lifetimes.items():
            if lifetime is None:
                self._expiries.pop(name, None)
            else:
                self._expiries[name] = now + lifetime
                self._set_timer(now + lifetime)
        for name in change.removed:
            self._expiries.pop(name, None)

    def _set_timer(self, when: float) -> None:
        if when == math.inf:
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._mux.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._mux.loop.time()
        expired = [name for name, when in self._expiries.items() if when <= now]
        for name in expired:
            del self._expiries[name]
        if expired:
            self._mux.enqueue(lambda: self._expire(expired))
        for watch in list(self.watches.all):
            self._give_up(watch, now)
        whens = [*self._expiries.values()]
        for watch in self.watches.all:
            whens.extend(watch.waiting.values())
        if whens:
            self._set_timer(max(min(whens), now + _TIMER_GRAIN))

    def _give_up(self, watch: Watch, now: float) -> None:
        late = [name for name, when in watch.waiting.items() if when <= now]
        if not late:
            return
        watch.counters.init_fetch_timeout += 1
        watch.counters.update_attempt += 1
        for name in late:
            # A deadline is met once; what comes later is still delivered.
            watch.waiting[name] = math.inf
            record = self.state.records.get(name)
            if record is not None and record.resource is None:
                record.status = ClientStatus.TIMEOUT
        logger.warning("%s: initial fetch timed out for %s", self._mux.source, self.kind.type_url)
        if not watch.settled:
            self._fail(watch, f"initial fetch timed out for {self.kind.type_url}")
        for name in late:
            if not is_collection(name) and not watch.closed:
                watch.consumer.missing(name)

    async def _expire(self, names: Sequence[str]) -> None:
        """Remove resources whose TTL ran out."""
        gone = [
            name for name in names if name not in self._expiries and self.state.accepted(name) is not None
        ]
        by_watch: dict[Watch, list[str]] = {}
        for name in gone:
            for watch in self.watches.wanting(name):
                by_watch.setdefault(watch, []).append(name)
        for watch, mine in by_watch.items():
            await self._apply(watch, Update(self.kind, "", (), tuple(mine), self._control_plane))
        for name in gone:
            self.state.lose(name, ClientStatus.DOES_NOT_EXIST)

    def stop(self) -> None:
        """End the timers and the subscriptions."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for watch in self.watches.all:
            watch.closed = True

    def status(self) -> TypeStatus:
        """The snapshot for admin pages."""
        state = self.state
        return TypeStatus(
            self.kind,
            self._mux.source,
            state.version,
            state.rejected_version,
            state.rejected_reason,
            self.pauses > 0,
            tuple(record.describe(name) for name, record in state.records.items()),
        )
