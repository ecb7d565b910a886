"""A client of the discovery protocols on top of another one, which answers what is not its own concern."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from xds_client.api import (
    Client,
    Consumer,
    Status,
    StreamCounters,
    StreamStatus,
    Subscription,
    TypeStatus,
)
from xds_client.resource_types import ResourceType


class ForwardingClient(ABC):
    """Implements `xds_client.api.Client` but for its subscriptions."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @abstractmethod
    def subscribe(
        self,
        type: ResourceType,  # noqa: A002 - the word of the protocol
        source: Any,
        names: Iterable[str],
        consumer: Consumer,
    ) -> Subscription:
        """See `Client.subscribe`."""

    def pause(self, *types: ResourceType) -> AbstractContextManager[None]:
        """See `Client.pause`."""
        return self._client.pause(*types)

    def status(self) -> Status:
        """See `Client.status`."""
        return self._client.status()

    def streams(self) -> tuple[StreamStatus, ...]:
        """See `Client.streams`."""
        return self._client.streams()

    def types(self) -> tuple[TypeStatus, ...]:
        """See `Client.types`."""
        return self._client.types()

    def stream_status(self, type: ResourceType, source: Any) -> StreamStatus:  # noqa: A002
        """See `Client.stream_status`."""
        return self._client.stream_status(type, source)

    def stream_counters(self) -> dict[str, StreamCounters]:
        """See `Client.stream_counters`."""
        return self._client.stream_counters()

    async def close(self) -> None:
        """See `Client.close`."""
        await self._client.close()
