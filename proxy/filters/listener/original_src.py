"""`envoy.filters.listener.original_src`: hosts see the client's address as the source of their connections."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.connection.upstream_source import UpstreamSource
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import Decision, ListenerFilterFactory


class OriginalSrcFilter:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`. `mark` is 0 for none."""

    def __init__(self, mark: int) -> None:
        self._mark = mark

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Decision:
        """Note the client's address, as earlier filters may have set it, for connections to hosts."""
        del transport
        client = connection.remote_address
        if client.ip:
            connection.upstream_source = UpstreamSource(client.ip, self._mark)
        return Decision.CONTINUE


def _compile(message: Any, path: str, ctx: CompileContext) -> int:
    del path, ctx
    return int(message.mark)


def _create(config: int, services: WorkerServices, listener: ListenerFacts) -> OriginalSrcFilter:
    del services, listener
    return OriginalSrcFilter(config)


FACTORY = ListenerFilterFactory(
    name="envoy.filters.listener.original_src",
    type_name="envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
    compile=_compile,
    create=_create,
)
