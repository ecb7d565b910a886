"""The types of one source: takes responses and hands changes to the subscriptions, says which request is due.

Everything that reaches consumers goes through one queue, so they see changes in the order of the stream and never
two at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from xds_client.api import StreamCounters
from xds_client.group import Group
from xds_client.resource_types import ResourceType, resource_type

logger = logging.getLogger("xds_client")


class Mux:
    """See module. `wake` is called when a request may be due, on every turn of events that can make one so."""

    def __init__(
        self,
        source: str,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        *,
        delta: bool,
        asks: bool = True,
    ) -> None:
        self.source = source
        self.loop = loop
        self.clock = clock
        self.delta = delta
        #: See `SubscriptionCounters.asks`.
        self.asks = asks
        self.counters = StreamCounters()
        #: Whether it is a stream, of one type.
        self.own_stream = False
        self.wake: Callable[[], None] = lambda: None
        self.groups: dict[ResourceType, Group] = {}
        self._due: dict[ResourceType, None] = {}
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._stream = 0
        self._room: asyncio.Event = asyncio.Event()
        self._connected = False

    def group(self, kind: ResourceType, pauses: int = 0) -> Group:
        """The group of a type, made at its first use, with that many pauses in force."""
        group = self.groups.get(kind)
        if group is None:
            group = self.groups[kind] = Group(self, kind)
            group.pauses = pauses
            if self._connected:
                group.state.start_stream()
        return group

    def connected(self) -> None:
        """A stream begins: every type is asked for again."""
        self._stream += 1
        self._connected = True
        self._due.clear()
        for group in self.groups.values():
            group.state.start_stream()
            self.note_due(group)

    def disconnected(self) -> None:
        """The stream, or the attempt to open one, failed."""
        self._stream += 1
        self._connected = False
        self._due.clear()
        for group in self.groups.values():
            for watch in group.watches.all:
                watch.counters.update_failure += 1
                watch.counters.update_attempt += 1

    def note_due(self, group: Group) -> None:
        """Queue a type if it has a request that may leave now."""
        if self._connected and group.may_send:
            self._due[group.kind] = None
            self.wake()

    def failed(self, reason: str, *, refused: bool) -> None:
        """What has no stream could not be read, or was refused as a whole."""
        for group in self.groups.values():
            group.fetch_failed(reason, refused=refused)

    def received_for_all(self, response: Any) -> None:
        """A response came that is for the one type of this source, whatever type it names."""
        for group in self.groups.values():
            self.enqueue(lambda group=group: group.respond(response))  # type: ignore[misc]

    @property
    def due(self) -> int:
        """How many types have a request to send."""
        return len(self._due)

    def next_request(self) -> Any:
        """The next request to send, without a node, or None."""
        while self._due:
            kind = next(iter(self._due))
            del self._due[kind]
            group = self.groups[kind]
            if not group.may_send:
                continue
            request = group.state.request()
            self.note_due(group)
            return request
        return None

    def received(self, response: Any) -> None:
        """A response of the present stream came."""
        if response.control_plane.identifier:
            self.counters.identifier = response.control_plane.identifier
        kind = resource_type(response.type_url)
        # As in Envoy, one that comes by another name than it was asked for by is of no type that is known.
        group = None if kind is None or kind.type_url != response.type_url else self.groups.get(kind)
        if group is None:
            logger.warning(
                "%s: ignoring the message for type URL %s as it has no current subscribers",
                self.source,
                response.type_url,
            )
            return
        stream = self._stream
        target = group

        async def respond() -> None:
            # What an ended stream still had to say comes again on the next one.
            if stream == self._stream:
                await target.respond(response)

        self.enqueue(respond)

    def enqueue(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job after those that are queued."""
        self._jobs.append(job)
        if self._worker is None:
            self._worker = self.loop.create_task(self._work(), name=f"xds_client {self.source}")

    async def room(self, limit: int) -> None:
        """Wait until fewer than `limit` jobs are queued."""
        while len(self._jobs) >= limit:
            self._room.clear()
            await self._room.wait()

    async def _work(self) -> None:
        try:
            while self._jobs:
                job = self._jobs.popleft()
                self._room.set()
                try:
                    await job()
                except Exception:
                    logger.exception("%s: a consumer failed", self.source)
        finally:
            self._worker = None

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or being applied."""
        return self._worker is None

    async def close(self) -> None:
        """Stop delivering."""
        self._jobs.clear()
        for group in self.groups.values():
            group.stop()
        worker = self._worker
        if worker is not None and worker is not asyncio.current_task():
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
