"""One subscription of a client that remembers: what the server and the snapshot bring goes through here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from proxy.discovery.kept_part import Part, lists
from xds_client.api import (
    WILDCARD,
    Consumer,
    Rejection,
    Resource,
    Subscription,
    SubscriptionCounters,
    Update,
)

if TYPE_CHECKING:
    from proxy.discovery.surviving_client import SurvivingClient

logger = logging.getLogger("outrider.config")

_SETTLE_SECONDS: Final = 5.0
"""A delta server may answer in pieces: what it did not name so long after the last one is taken to be gone."""


class Watch:
    """One subscription: the `Consumer` of the client below, and the `Subscription` of whoever is above."""

    inner: Subscription
    counters: SubscriptionCounters

    def __init__(
        self, client: SurvivingClient, part: Part, consumer: Consumer, names: Iterable[str], *, delta: bool
    ) -> None:
        self.part = part
        self.waiting: dict[str, None] = dict.fromkeys(names)
        self._client = client
        self._consumer = consumer
        self._delta = delta
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # As a subscription.

    def add(self, names: Iterable[str]) -> None:
        """See `Subscription`."""
        added = list(names)
        self.waiting.update(dict.fromkeys(added))
        self.inner.add(added)
        self._client.look_soon(self)

    def remove(self, names: Iterable[str]) -> None:
        """See `Subscription`."""
        gone = list(names)
        self.inner.remove(gone)
        part = self.part
        for name in gone:
            self.waiting.pop(name, None)
            part.unconfirmed.pop(name, None)
            part.kept.pop(name, None)
            if part.accepted.pop(name, None) is not None:
                self._client.store.note_change()

    def refresh(self, names: Iterable[str]) -> None:
        """See `Subscription`."""
        self.inner.refresh(names)

    def close(self) -> None:
        """See `Subscription`."""
        if not self._closed:
            self.stop()
            self._client.forget(self)
            self.inner.close()

    def stop(self) -> None:
        """Nothing is delivered any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # As a consumer.

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`. The first whole answer also removes what the snapshot had and the server has not."""
        part = self.part
        async with self._turn:
            part.answered = True
            self._client.heard(part)
            for name in (*(one.name for one in update.added), *update.removed, *self._lists()):
                self.waiting.pop(name, None)
                part.unconfirmed.pop(name, None)
            self._client.let_go(part)
            gone: list[str] = []
            if any(part.unconfirmed.values()):
                if self._delta:
                    self._settle_later()
                else:
                    gone = self._take_unlisted()
                    update = replace(update, removed=(*update.removed, *gone))
            rejections = await self._pass_on(update)
            if rejections:
                # It may have been refused whole: then the next answer removes them.
                part.unconfirmed.update(dict.fromkeys(gone, WILDCARD))
            return rejections

    def _lists(self) -> list[str]:
        return [name for name in self.waiting if lists(self.part.type, name)]

    def _take_unlisted(self) -> list[str]:
        """What came from the snapshot as part of a list, and is in no answer."""
        unconfirmed = self.part.unconfirmed
        gone = [name for name, listed_by in unconfirmed.items() if listed_by]
        for name in gone:
            del unconfirmed[name]
        return gone

    async def _pass_on(self, update: Update) -> Sequence[Rejection]:
        rejections = await self._consumer.apply(update)
        self.part.note(update, rejections)
        self._client.store.note_change()
        return rejections

    def missing(self, name: str, *, said: bool = False) -> None:
        """See `Consumer`. A server that cannot be heard does not say that there is no such resource."""
        if not said and name in self.part.unconfirmed:
            return  # what came from the snapshot goes on
        if self._may_stand_in(name):
            self._client.deliver(self, lambda: self._still_missing(name, said=said))
            return
        self.waiting.pop(name, None)
        self.part.unconfirmed.pop(name, None)
        self.part.accepted.pop(name, None)
        self._consumer.missing(name, said=said)

    def _still_missing(self, name: str, *, said: bool) -> None:
        if not self._closed and name in self.waiting:
            del self.waiting[name]
            self._consumer.missing(name, said=said)

    def failed(self, reason: str) -> None:
        """See `Consumer`. It is told of it only if the snapshot does not help."""
        if self.part.answered or not (self.part.kept or self._client.may_load):
            self._consumer.failed(reason)
            return
        self._client.deliver(self, lambda: self._after_failure(reason))

    def _after_failure(self, reason: str) -> None:
        if not self._closed and (self.waiting or not self.part.unconfirmed):
            self._consumer.failed(reason)

    def _may_stand_in(self, name: str) -> bool:
        part = self.part
        if part.answered and self._client.connected(part):
            return False
        return name in part.kept or self._client.may_load

    async def deliver_kept(self) -> None:
        """Give the consumer what the snapshot has of what is waited for."""
        part = self.part
        async with self._turn:
            if self._closed:
                return
            found: dict[str, tuple[Resource, str]] = {}
            for name in list(self.waiting):
                listed_by = name if lists(part.type, name) else ""
                resources = part.kept_for(name)
                found.update((resource.name, (resource, listed_by)) for resource in resources)
                if resources:
                    del self.waiting[name]
            if not found:
                return
            for name in found:
                part.kept.pop(name, None)
            added = tuple(resource for resource, _ in found.values())
            update = Update(part.type, part.kept_version, added, (), from_cache=True)
            rejections = await self._consumer.apply(update)
            part.note(update, rejections)
            refused = {rejection.name for rejection in rejections}
            part.unconfirmed.update(
                (name, listed_by) for name, (_, listed_by) in found.items() if name not in refused
            )
            logger.info(
                "%d resource(s) of type %s come from the snapshot, of %.0f s ago",
                len(found) - len(refused),
                part.type.name.lower(),
                self._client.age(part),
            )

    def _settle_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._client.loop.call_later(_SETTLE_SECONDS, self._on_settled)

    def _on_settled(self) -> None:
        self._timer = None
        if not any(self.part.unconfirmed.values()):
            return
        if self._client.connected(self.part):
            self._client.run(self._remove_unconfirmed())
        else:
            self._settle_later()

    async def _remove_unconfirmed(self) -> None:
        part = self.part
        async with self._turn:
            gone = tuple(self._take_unlisted())
            if gone and not self._closed:
                await self._pass_on(Update(part.type, part.version, (), gone))
