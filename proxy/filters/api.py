"""The interfaces of filters and the registry that finds them by configuration type.

A filter is made in two steps, so that a config can be checked in a process that serves no traffic:
`compile(message, path, context)` turns its protobuf message into a frozen config (problems go to the context);
`create(config, services, ...)` makes the live object in a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext


@dataclass(frozen=True, slots=True)
class ListenerFacts:
    """What a network filter may know of the listener that it serves.

    `stat_prefix` is "listener.0.0.0.0_80." or "listener.<stat_prefix>."; `traffic_direction` is the enum number.
    """

    name: str
    address: str
    stat_prefix: str
    traffic_direction: int = 0
    buffer_limit: int = 1024 * 1024


class ConnectionGate(Protocol):
    """A network filter that only decides whether a new connection may go on."""

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """False closes the connection at once, without a byte."""


class TerminalFilter(Protocol):
    """The last network filter of a chain: it owns the bytes of a connection."""

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """The protocol to put on the accepted transport; it calls `connection.on_closed()` when lost."""


@dataclass(frozen=True, slots=True)
class NetworkFilterFactory:
    """How to make one kind of network filter. `create` returns a `ConnectionGate` or a `TerminalFilter`."""

    name: str
    type_name: str
    terminal: bool
    compile: Callable[[Any, str, CompileContext], Any]
    create: Callable[[Any, WorkerServices, ListenerFacts], Any]


_network: dict[str, NetworkFilterFactory] = {}


def register_network_filter(factory: NetworkFilterFactory) -> None:
    """Make a filter available under the full name of its config message."""
    _network[factory.type_name] = factory


def network_filter(type_name: str) -> NetworkFilterFactory | None:
    """The factory for a config message such as `envoy.extensions.filters.network.echo.v3.Echo`."""
    return _network.get(type_name)
