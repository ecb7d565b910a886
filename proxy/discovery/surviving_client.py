"""An xDS client that remembers: what was accepted is kept on disk, and stands in for a silent control plane.

It sits between the tables and the client proper. Resources of the snapshot reach a table as an update like any
other, so they pass the same checks; what the control plane then sends replaces them, and what it no longer has is
removed. A section of the snapshot (one type of one source) is used when the stream of its source has failed, or its
server is silent for longer than `Patience` has it, and only until the first answer; in a start, a name that this
answer leaves out is taken from the snapshot too. Files are not kept: they are there.

A delta stream is not resumed from the versions of the snapshot: a server that was set up anew may use the same
versions for other contents, and only a full answer shows it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from proxy.discovery.forwarding_client import ForwardingClient
from proxy.discovery.kept_part import Part
from proxy.discovery.patience import ANSWER_SECONDS, Patience
from proxy.discovery.snapshot_file import Section
from proxy.discovery.snapshot_store import SnapshotStore
from proxy.discovery.surviving_watch import Watch
from xds_client.api import (
    Client,
    Consumer,
    Subscription,
)
from xds_client.names import is_collection
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.config")

_LOOK_SECONDS: Final = 0.1


class SnapshotUse(Struct, frozen=True):
    """`path` is that of the file; `saved` is the Unix second of the last writing by this process, 0 for none.

    `confirmed` is when the control plane last stood by the resources that are in use and that it has not sent
    since; those are in `unconfirmed`, by type. Nothing there means that the snapshot is not in use.
    """

    path: str
    saved: float
    confirmed: float
    unconfirmed: dict[ResourceType, tuple[str, ...]]


class SurvivingClient(ForwardingClient):
    """See module.

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
        super().__init__(client)
        self.loop = loop
        self.store = store
        self._ads_config = ads_config
        self._clock = clock
        self._parts: dict[tuple[ResourceType, bytes, str], Part] = {}
        self._watches: list[Watch] = []
        self._others: dict[tuple[ResourceType, bytes, str], Section] = {}
        self._started = started
        self._patience = Patience()
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
        collection = next((name for name in wanted if is_collection(name)), "")
        serialized = source.SerializeToString(deterministic=True)
        part = self._parts.get((type, serialized, collection))
        if part is None:
            part = Part(type, source, serialized, collection, self._server_of(source))
            part.since = self.loop.time()
            self._patience.begin(part.since)
            self._parts[part.key] = part
            self._adopt(part)
        watch = Watch(self, part, consumer, wanted, delta=self._is_delta(source))
        watch.inner = self._client.subscribe(type, source, wanted, watch)
        watch.counters = watch.inner.counters
        self._watches.append(watch)
        self.look_soon(watch)
        return watch

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
        await super().close()

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

    def connected(self, part: Part) -> bool:
        """Whether the stream of a section is open."""
        return self._client.stream_status(part.type, part.message).connected

    def forget(self, watch: Watch) -> None:
        """The watch has ended."""
        if watch in self._watches:
            self._watches.remove(watch)

    def heard(self, part: Part) -> None:
        """The server of a section has answered."""
        self._patience.heard(part.server)

    def let_go(self, part: Part) -> None:
        """Forget what the snapshot has of a section that is answered and that nobody waits for."""
        if part.kept and not self._is_awaited(part):
            part.kept.clear()

    def look_soon(self, watch: Watch) -> None:
        """The watch waits for something that the snapshot may have."""
        if not self._may_help(watch):
            return
        if watch.part.released:
            self.deliver(watch)
        elif self._timer is None:
            self._timer = self.loop.call_later(0, self._look)

    def deliver(self, watch: Watch, then: Callable[[], None] | None = None) -> None:
        """Give a watch what the snapshot has of what it waits for, then call `then`."""
        self.run(self._deliver(watch, then))

    @property
    def may_load(self) -> bool:
        """Whether the snapshot is still being read."""
        return not self._loaded

    def age(self, part: Part) -> float:
        """Seconds since the control plane last stood by a section."""
        return self._clock() - part.confirmed

    def run(self, work: Any) -> asyncio.Task[None]:
        """Begin a task; it ends with the client at the latest."""
        task: asyncio.Task[None] = self.loop.create_task(work, name="snapshot")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _api(self, source: Any) -> Any:
        """The `core.v3.ApiConfigSource` of a config source, None for ADS without one."""
        ads = source.WhichOneof("config_source_specifier") == "ads"
        return self._ads_config if ads else source.api_config_source

    def _is_delta(self, source: Any) -> bool:
        api = self._api(source)
        return api is not None and api.api_type in {api.DELTA_GRPC, api.AGGREGATED_DELTA_GRPC}

    def _server_of(self, source: Any) -> str:
        """What the config calls the server of a source: streams of several types may lead to one."""
        api = self._api(source)
        for service in () if api is None else api.grpc_services:
            return str(service.envoy_grpc.cluster_name or service.google_grpc.target_uri)
        return "" if api is None else ",".join(api.cluster_names)

    def _may_help(self, watch: Watch) -> bool:
        """Whether the snapshot may have something that a watch waits for.

        Once its server has answered, it may for what the answer leaves out, and only in order to start.
        """
        part = watch.part
        if not watch.waiting or (part.answered and self._started()):
            return False
        return not self._loaded or (
            any(map(part.kept_for, watch.waiting)) if part.answered else bool(part.kept)
        )

    def _look(self) -> None:
        """Release the sections whose server has failed or is late."""
        self._timer = None
        waiting = False
        for watch in list(self._watches):
            part = watch.part
            if not self._may_help(watch) or (part.released and not part.answered):
                continue
            reason = self._why_silent(part)
            if reason and part.answered:
                self.deliver(watch)
            elif reason:
                part.released = True
                self._announce(reason)
                for other in self._watches:
                    if other.part is part:
                        self.deliver(other)
            waiting = waiting or not reason
        if waiting:
            self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)

    def _why_silent(self, part: Part) -> str:
        stream = self._client.stream_status(part.type, part.message)
        if stream.last_error and not stream.connected:
            return stream.last_error
        late = self._patience.ended(part.server, part.since, self.loop.time(), starting=not self._started())
        return f"no answer in {ANSWER_SECONDS:g} s" if late else ""

    def _announce(self, reason: str) -> None:
        if not self._told:
            self._told = True
            logger.warning("the control plane does not answer (%s); looking into %s", reason, self.store.path)

    async def _deliver(self, watch: Watch, then: Callable[[], None] | None) -> None:
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

    def _adopt(self, part: Part) -> None:
        section = self._others.pop(part.key, None)
        if section is not None and (not part.answered or self._is_awaited(part)):
            part.kept = {one.name: one for one in section.resources if one.name not in part.accepted}
            part.kept_version = section.version
            part.confirmed = max(part.confirmed, section.confirmed)

    def _is_awaited(self, part: Part) -> bool:
        return any(watch.part is part and watch.waiting for watch in self._watches)

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
