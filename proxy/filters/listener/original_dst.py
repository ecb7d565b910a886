"""`envoy.filters.listener.original_dst`: where a connection was going before the kernel redirected it here."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxy.base.address import Address, parse_ip_port
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.connection.original_destination import original_destination
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import Decision, ListenerFilterFactory

#: Names in the filter state of a connection to an internal listener: addresses to take for its own.
LOCAL_KEY: Final = "envoy.filters.listener.original_dst.local_ip"
REMOTE_KEY: Final = "envoy.filters.listener.original_dst.remote_ip"
_NAMESPACE: Final = "envoy.filters.listener.original_dst"


class OriginalDstFilter:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`."""

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Decision:
        """Set the local address to the destination that the client asked for, if the kernel knows it."""
        if connection.direct_local_address.listener_name:
            _restore_passed_on(connection)
        elif not connection.direct_local_address.path:
            found = original_destination(transport.get_extra_info("socket"), connection.direct_local_address)
            if found is not None:
                connection.local_address = found
                connection.local_address_restored = True
        return Decision.CONTINUE


def _restore_passed_on(connection: ConnectionInfo) -> None:
    """Take what a connection to an internal listener was told of the one that it is for."""
    given = connection.dynamic_metadata.get(_NAMESPACE, {}).get("local")
    state = connection.filter_state
    found = parse_ip_port(given) if isinstance(given, str) else state.get(LOCAL_KEY)
    if isinstance(found, Address):
        connection.local_address = found
        connection.local_address_restored = True
    source = state.get(REMOTE_KEY)
    if isinstance(source, Address):
        connection.remote_address = source


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
