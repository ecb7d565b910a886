"""An xDS client that remembers: what was accepted is kept on disk, and stands in for a silent control plane.

It sits between the tables and the client proper. Resources of the snapshot reach a table as an update like any
other, so they pass the same checks; what the control plane then sends replaces them, and what it no longer has is
removed. A section of the snapshot (one type of one source) is used when the stream of its source has failed, or
`ANSWER_SECONDS` after it was asked for, and only until the first answer. Files are not kept: they are there.

A delta stream is not resumed from the versions of the snapshot: a server that was set up anew may use the same
versions for other contents, and only a full answer shows it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.discovery.snapshot_file import Section
from proxy.discovery.snapshot_store import SnapshotStore
from xds_client.api import (
    WILDCARD,
    Client,
    Consumer,
    Rejection,
    Resource,
    Status,
    StreamCounters,
    StreamStatus,
    Subscription,
    SubscriptionCounters,
    Update,
)
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.config")

ANSWER_SECONDS: Final = 5.0
"""How long a control plane that is connected, or still connecting, has for its first answer.

A restart then costs seconds rather than the 15 s of Envoy's `initial_fetch_timeout`, and a healthy server that is
merely busy has answered by then.
"""

_LOOK_SECONDS: Final = 0.1

_SETTLE_SECONDS: Final = 5.0
"""A delta server may answer in pieces: what it did not name so long after the last one is taken to be gone."""


@dataclass(frozen=True, slots=True)
class SnapshotUse:
    """`path` is that of the file; `saved` is the Unix second of the last writing by this process, 0 for none.

    `confirmed` is when the control plane last stood by the resources that are in use and that it has not sent
    since; those are in `unconfirmed`, by type. Nothing there means that the snapshot is not in use.
    """

    path: str
    saved: float
    confirmed: float
    unconfirmed: dict[ResourceType, tuple[str, ...]]


class _Part:
    """One section: what is accepted, and what the snapshot still has of it."""

    def __init__(self, kind: ResourceType, source: Any, serialized: bytes, collection: str) -> None:
        self.type = kind
        self.message = source
        self.source = serialized
        self.collection = collection
        self.accepted: dict[str, Resource] = {}
        self.version = ""
        self.answered = False
        self.released = False
        self.confirmed = 0.0
        self.kept: dict[str, Resource] = {}
        self.kept_version = ""
        self.since = 0.0
        #: What came from the snapshot and the server has not sent, by name: what listed it, "" for nothing.
        self.unconfirmed: dict[str, str] = {}

    @property
    def key(self) -> tuple[ResourceType, bytes, str]:
        return self.type, self.source, self.collection

    def kept_for(self, name: str) -> list[Resource]:
        """What the snapshot has for a name that was asked for."""
        if not _lists(self.type, name):
            return [self.kept[name]] if name in self.kept else []
        if name == WILDCARD:
            return list(self.kept.values())
        start = name.removesuffix(WILDCARD).removesuffix("/") + "/"
        return [resource for key, resource in self.kept.items() if key.startswith(start)]

    def note(self, update: Update, rejections: Sequence[Rejection]) -> None:
        """What an update leaves accepted."""
        refused = {rejection.name for rejection in rejections}
        for resource in update.added:
            if resource.name not in refused:
                self.accepted[resource.name] = resource
        for name in update.removed:
            self.accepted.pop(name, None)
        if not refused:
            self.version = update.version

    def section(self, now: float, *, connected: bool) -> Section:
        """What is to be kept. What expires is left out: it must not outlive its time."""
        if self.answered and connected:
            self.confirmed = now
        resources = self.accepted if self.answered else {**self.kept, **self.accepted}
        kept = tuple(one for one in resources.values() if one.ttl is None)
        version = self.version if self.answered else self.version or self.kept_version
        return Section(self.type, self.source, self.collection, version, self.confirmed, kept)


class SurvivingClient:
    """See module; implements `xds_client.api.Client` on top of `client`.

    `ads_config` is the `core.v3.ApiConfigSource` of the bootstrap. `clock` gives Unix seconds.
    `started` tells whether start-up is complete, after which nothing that it needs is asked for any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: Client,
        store: SnapshotStore,
        ads_config: Any,
        clock: Callable[[], float],
        started: Callable[[], bool],
    ) -> None:
        self.loop = loop
        self.store = store
        self._client = client
        self._ads_config = ads_config
        self._clock = clock
        self._parts: dict[tuple[ResourceType, bytes, str], _Part] = {}
        self._watches: list[_Watch] = []
        self._others: dict[tuple[ResourceType, bytes, str], Section] = {}
        self._started = started
        self._loaded = not store.exists
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()
        self._told = False
        store.sections = self._sections

    def subscribe(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
        names: Iterable[str],
        consumer: Consumer,
    ) -> Subscription:
        """See `Client.subscribe`."""
        wanted = list(names)
        if source.WhichOneof("config_source_specifier") not in {"ads", "api_config_source"}:
            return self._client.subscribe(type, source, wanted, consumer)
        collection = next((name for name in wanted if name.endswith(WILDCARD)), "")
        serialized = source.SerializeToString(deterministic=True)
        part = self._parts.get((type, serialized, collection))
        if part is None:
            part = _Part(type, source, serialized, collection)
            part.since = self.loop.time()
            self._parts[part.key] = part
            self._adopt(part)
        watch = _Watch(self, part, consumer, wanted, delta=self._is_delta(source))
        watch.inner = self._client.subscribe(type, source, wanted, watch)
        watch.counters = watch.inner.counters
        self._watches.append(watch)
        self.look_soon(watch)
        return watch

    def pause(self, *types: ResourceType) -> AbstractContextManager[None]:
        """See `Client.pause`."""
        return self._client.pause(*types)

    def status(self) -> Status:
        """See `Client.status`."""
        return self._client.status()

    def streams(self) -> tuple[StreamStatus, ...]:
        """See `Client.streams`."""
        return self._client.streams()

    def stream_status(self, type: ResourceType, source: Any) -> StreamStatus:  # noqa: A002
        """See `Client.stream_status`."""
        return self._client.stream_status(type, source)

    def stream_counters(self) -> dict[str, StreamCounters]:
        """See `Client.stream_counters`."""
        return self._client.stream_counters()

    async def close(self) -> None:
        """End the client, then write what is to be kept."""
        if self._timer is not None:
            self._timer.cancel()
        for watch in self._watches:
            watch.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()
        await self._client.close()

    def use(self) -> SnapshotUse:
        """For admin pages."""
        unconfirmed: dict[ResourceType, tuple[str, ...]] = {}
        confirmed = 0.0
        for part in self._parts.values():
            if part.unconfirmed:
                unconfirmed[part.type] = (*unconfirmed.get(part.type, ()), *part.unconfirmed)
                confirmed = min(confirmed or part.confirmed, part.confirmed)
        return SnapshotUse(self.store.path, self.store.saved, confirmed, unconfirmed)

    # For the watches.

    def connected(self, part: _Part) -> bool:
        """Whether the stream of a section is open."""
        return self._client.stream_status(part.type, part.message).connected

    def forget(self, watch: _Watch) -> None:
        """The watch has ended."""
        if watch in self._watches:
            self._watches.remove(watch)

    def look_soon(self, watch: _Watch) -> None:
        """The watch waits for something that the snapshot may have."""
        if watch.part.answered or (self._loaded and not watch.part.kept):
            return
        if watch.part.released:
            self.deliver(watch)
        elif self._timer is None:
            self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)

    def deliver(self, watch: _Watch, then: Callable[[], None] | None = None) -> None:
        """Give a watch what the snapshot has of what it waits for, then call `then`."""
        self.run(self._deliver(watch, then))

    @property
    def may_load(self) -> bool:
        """Whether the snapshot is still being read."""
        return not self._loaded

    def age(self, part: _Part) -> float:
        """Seconds since the control plane last stood by a section."""
        return self._clock() - part.confirmed

    def run(self, work: Any) -> asyncio.Task[None]:
        """Begin a task; it ends with the client at the latest."""
        task: asyncio.Task[None] = self.loop.create_task(work, name="snapshot")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _is_delta(self, source: Any) -> bool:
        ads = source.WhichOneof("config_source_specifier") == "ads"
        api = self._ads_config if ads else source.api_config_source
        return api is not None and api.api_type in {api.DELTA_GRPC, api.AGGREGATED_DELTA_GRPC}

    def _look(self) -> None:
        """Release the sections whose server has failed or is late."""
        self._timer = None
        waiting = False
        for watch in list(self._watches):
            part = watch.part
            if part.answered or part.released or not watch.waiting or (self._loaded and not part.kept):
                continue
            reason = self._why_silent(part)
            if reason:
                part.released = True
                self._announce(reason)
                for other in self._watches:
                    if other.part is part:
                        self.deliver(other)
            else:
                waiting = True
        if waiting:
            self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)

    def _why_silent(self, part: _Part) -> str:
        stream = self._client.stream_status(part.type, part.message)
        if stream.last_error and not stream.connected:
            return stream.last_error
        return f"no answer in {ANSWER_SECONDS:g} s" if self.loop.time() >= part.since + ANSWER_SECONDS else ""

    def _announce(self, reason: str) -> None:
        if not self._told:
            self._told = True
            logger.warning("the control plane does not answer (%s); looking into %s", reason, self.store.path)

    async def _deliver(self, watch: _Watch, then: Callable[[], None] | None) -> None:
        await self._load()
        await watch.deliver_kept()
        if then is not None:
            then()

    async def _load(self) -> None:
        """Read the snapshot, at most once."""
        async with self._loading:
            if self._loaded:
                return
            self._others = {section.key: section for section in await self.store.read()}
            self._loaded = True
            for part in self._parts.values():
                self._adopt(part)

    def _adopt(self, part: _Part) -> None:
        section = self._others.pop(part.key, None)
        if section is not None and not part.answered:
            part.kept = {resource.name: resource for resource in section.resources}
            part.kept_version = section.version
            part.confirmed = section.confirmed

    async def _sections(self) -> list[Section]:
        # What has not been asked for or answered yet must not be lost by the first writing.
        if not (self._started() and all(part.answered for part in self._parts.values())):
            await self._load()
        self._loaded = True
        now = self._clock()
        result = [
            part.section(now, connected=part.answered and self.connected(part))
            for part in self._parts.values()
        ]
        return [section for section in (*result, *self._others.values()) if section.confirmed]


class _Watch:
    """One subscription: the `Consumer` of the client below, and the `Subscription` of whoever is above."""

    inner: Subscription
    counters: SubscriptionCounters

    def __init__(
        self, client: SurvivingClient, part: _Part, consumer: Consumer, names: Iterable[str], *, delta: bool
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
            for name in (*(one.name for one in update.added), *update.removed, *self._lists()):
                self.waiting.pop(name, None)
                part.unconfirmed.pop(name, None)
            if not self.waiting:
                part.kept.clear()
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
        return [name for name in self.waiting if _lists(self.part.type, name)]

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

    def missing(self, name: str) -> None:
        """See `Consumer`. A server that cannot be heard does not say that there is no such resource."""
        if self._may_stand_in(name):
            self._client.deliver(self, lambda: self._still_missing(name))
            return
        self.waiting.pop(name, None)
        self.part.unconfirmed.pop(name, None)
        self.part.accepted.pop(name, None)
        self._consumer.missing(name)

    def _still_missing(self, name: str) -> None:
        if not self._closed and name in self.waiting:
            del self.waiting[name]
            self._consumer.missing(name)

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
                listed_by = name if _lists(part.type, name) else ""
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


def _lists(kind: ResourceType, name: str) -> bool:
    """Whether a name stands for many resources: a wildcard, a collection, the virtual hosts of a route table."""
    return name.endswith(WILDCARD) or (kind is ResourceType.VIRTUAL_HOST and "/" not in name)
