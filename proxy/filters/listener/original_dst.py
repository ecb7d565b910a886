"""`envoy.filters.listener.original_dst`: where a connection was going before the kernel redirected it here."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.connection.original_destination import original_destination
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import Decision, ListenerFilterFactory


class OriginalDstFilter:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`."""

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Decision:
        """Set the local address to the destination that the client asked for, if the kernel knows it."""
        if not connection.direct_local_address.path:
            found = original_destination(transport.get_extra_info("socket"), connection.direct_local_address)
            if found is not None:
                connection.local_address = found
                connection.local_address_restored = True
        return Decision.CONTINUE


def _compile(message: Any, path: str, ctx: CompileContext) -> None:
    del message, path, ctx  # the message has no field


def _create(config: None, services: WorkerServices, listener: ListenerFacts) -> OriginalDstFilter:
    del config, services, listener
    return OriginalDstFilter()


FACTORY = ListenerFilterFactory(
    name="envoy.filters.listener.original_dst",
    type_name="envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    compile=_compile,
    create=_create,
)
