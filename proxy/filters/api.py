"""The interfaces of filters and the registry that finds them by configuration type.

A filter is made in two steps, so that a config can be checked in a process that serves no traffic:
`compile(message, path, context)` turns its protobuf message into a frozen config (problems go to the context);
`create(config, services, ...)` makes the live object in a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, StreamInfo
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
    """A network filter that only decides whether a new connection may go on.

    `reject_delay` is how many seconds a refused connection stays open unanswered before it is closed.
    """

    reject_delay: float

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """False closes the connection without a byte."""


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


class FilterStatus(Enum):
    """What an HTTP filter says of the head, data or trailers it was shown."""

    CONTINUE = 0
    #: Later filters wait until `continue_decoding` or `continue_encoding`; data is held, up to the buffer limit.
    STOP = 1


class StreamCallbacks(Protocol):
    """What an HTTP filter may ask of its stream; see `proxy.hcm.stream.Stream`."""

    info: StreamInfo

    @property
    def route(self) -> Any:
        """The matched `proxy.router.Route`, or None."""

    def route_config(self, name: str) -> Any:
        """The most specific compiled `typed_per_filter_config` under `name`, or None."""

    def route_configs(self, name: str) -> tuple[Any, ...]:
        """Those of all levels, the most specific first: cluster weight, route, virtual host, route table."""

    def clear_route_cache(self) -> None:
        """Have the route chosen anew from the head as it is now."""

    def continue_decoding(self) -> None:
        """Resume the filters after one that stopped the request."""

    def continue_encoding(self) -> None:
        """Resume the filters after one that stopped the response."""

    def local_reply(
        self,
        status: int,
        body: str,
        details: str,
        flags: int = 0,
        modify: Callable[[HeaderMap], None] | None = None,
    ) -> None:
        """Answer from here; the request goes no further."""


class HttpFilter:
    """Base of HTTP filters: passes everything on. One object a stream.

    `decode_*` see the request on its way up, in chain order; `encode_*` the response on its way back, in reverse
    order. `on_destroy` is called once, whatever happened. `name` is the name that the filter is configured under.
    """

    name = ""

    def __init__(self, callbacks: StreamCallbacks) -> None:
        self.callbacks = callbacks

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """The request head; may be changed in place."""
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """Request body bytes; gives what to pass on."""
        return FilterStatus.CONTINUE, data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """Request trailers; may be changed in place."""
        return FilterStatus.CONTINUE

    def take_held(self) -> bytes:
        """Body bytes that the filter has kept back, for they go on before the trailers."""
        return b""

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """The response head; may be changed in place."""
        return FilterStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """Response body bytes; gives what to pass on."""
        return FilterStatus.CONTINUE, data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """Response trailers; may be changed in place."""
        return FilterStatus.CONTINUE

    def on_destroy(self) -> None:
        """The stream is over."""


@dataclass(frozen=True, slots=True)
class HttpFilterFactory:
    """How to make one kind of HTTP filter.

    `create(config, services)` gives a function that makes the filter of one stream from its callbacks; None for
    the router, which the connection manager runs itself. `compile_route` compiles a per-route config, a message
    `route_type_name`.
    """

    name: str
    type_name: str
    terminal: bool
    compile: Callable[[Any, str, CompileContext], Any]
    create: Callable[[Any, WorkerServices, str], Callable[[StreamCallbacks], HttpFilter]] | None
    compile_route: Callable[[Any, str, CompileContext], Any] | None = None
    route_type_name: str = ""


_http: dict[str, HttpFilterFactory] = {}
_http_by_route_type: dict[str, HttpFilterFactory] = {}


def register_http_filter(factory: HttpFilterFactory) -> None:
    """Make a filter available under the full name of its config message."""
    _http[factory.type_name] = factory
    if factory.route_type_name:
        _http_by_route_type[factory.route_type_name] = factory


def http_filter_of_route_type(type_name: str) -> HttpFilterFactory | None:
    """The factory whose per-route config is that message."""
    return _http_by_route_type.get(type_name)


def http_filter(type_name: str) -> HttpFilterFactory | None:
    """The factory for a config message such as `envoy.extensions.filters.http.router.v3.Router`."""
    return _http.get(type_name)
