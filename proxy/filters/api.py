"""The interfaces of filters and the registry that finds them by configuration type.

A filter is made in two steps, so that a config can be checked in a process that serves no traffic:
`compile(message, path, context)` turns its protobuf message into a frozen config (problems go to the context);
`create(config, services, ...)` makes the live object in a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.config.context import CompileContext


class ListenerFacts(Struct, frozen=True):
    """What a network filter may know of the listener that it serves.

    `stat_prefix` is "listener.0.0.0.0_80." or "listener.<stat_prefix>."; `traffic_direction` is the enum number.
    """

    name: str
    address: str
    stat_prefix: str
    traffic_direction: int = 0
    buffer_limit: int = 1024 * 1024
    bypasses_overload: bool = False


class ConnectionGate(Protocol):
    """A network filter that only decides whether a new connection may go on.

    `reject_delay` is how many seconds a refused connection stays open unanswered before it is closed.
    """

    reject_delay: float

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """False closes the connection without a byte."""


class Undecided(Protocol):
    """A connection that waits for a `DataGate` or `WaitingGate`; see `proxy.downstream`."""

    def on_decided(self, passes: bool) -> None:
        """The gate has decided."""


class Pending(Protocol):
    """A decision that is being made."""

    def cancel(self) -> None:
        """The connection has gone: nobody wants to know any more."""


class DataGate:
    """A network filter that decides whether a connection may go on when its first bytes have come.

    What the client says waits meanwhile; what a server says does not.
    """

    def on_first_data(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        """Decide now (False closes the connection), or tell `waiting` later what has been decided."""
        raise NotImplementedError


class WaitingGate:
    """A network filter that decides about a new connection, perhaps not at once.

    Nothing is read meanwhile, and filters that follow have not heard of the connection.
    """

    def on_connection(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        """Decide now (False closes the connection), or tell `waiting` later what has been decided."""
        raise NotImplementedError


class TerminalFilter(Protocol):
    """The last network filter of a chain: it owns the bytes of a connection."""

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """The protocol to put on the accepted transport; it calls `connection.on_closed()` when lost."""


class NetworkFilterFactory(Struct, frozen=True):
    """How to make one kind of network filter. `create` returns a `ConnectionGate` or a `TerminalFilter`.

    A gate that is `after_handshake` is asked when the TLS handshake is over. One that is `on_data` is a `DataGate`,
    one that `waits` is a `WaitingGate`. A `passive` filter does nothing: it is checked and then left out.
    Connections of a terminal one that `half_closes` end half by half.
    """

    name: str
    type_name: str
    terminal: bool
    compile: Callable[[Any, str, CompileContext], Any]
    create: Callable[[Any, WorkerServices, ListenerFacts], Any]
    after_handshake: bool = False
    on_data: bool = False
    passive: bool = False
    waits: bool = False
    half_closes: bool = False


class FilterStatus(Enum):
    """What an HTTP filter says of the head, data or trailers it was shown. The rules are Envoy's.

    Whatever a filter stops, it goes on by `continue_decoding` or `continue_encoding`, or by saying CONTINUE to
    the data or trailers that follow. A filter that stops the head still sees the data, unless it said STOP_ALL.
    """

    CONTINUE = 0
    #: Later filters wait. Of data nothing is kept: the filter has what it needs, and gives it back later.
    STOP = 1
    #: Of data: kept for later. More than the buffer limit fails the stream: 413, or 500 for a response.
    STOP_AND_BUFFER = 2
    #: Of data: kept for later. More than the buffer limit stops the sender until it is gone.
    STOP_AND_WATERMARK = 3
    #: Of the head: the filter sees nothing more before it continues; what comes is kept as by STOP_AND_BUFFER.
    STOP_ALL_AND_BUFFER = 4
    #: Of the head: the same, kept as by STOP_AND_WATERMARK.
    STOP_ALL_AND_WATERMARK = 5
    #: Of a head that is a whole message: passes, and the filter will inject the body that follows.
    CONTINUE_AND_DONT_END_STREAM = 6


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

    def route_cluster(self) -> Any:
        """The `proxy.upstream.cluster.Cluster` that the route leads to, or None."""

    def route_cluster_name(self) -> str:
        """The name of that cluster, "" if the route leads to none."""

    def missing_route(self) -> tuple[str, str] | None:
        """What of a control plane's may bring a route: see `proxy.config.demands.Demands`."""

    def clear_route_cache(self) -> None:
        """Have the route chosen anew from the head as it is now."""

    def local_reply(
        self,
        status: int,
        body: str,
        details: str,
        flags: int = 0,
        modify: Callable[[HeaderMap], None] | None = None,
        grpc_status: int | None = None,
    ) -> None:
        """Answer from here; the request goes no further.

        From `encode_*` the reply takes the place of the response, if its head has not left, and passes no
        filter; else the stream is reset.
        """


class FilterDirection(Protocol):
    """The way of the request, or of the response; see `proxy.hcm.filter_path`. `place` counts from the client."""

    limit: int

    def resume(self, place: int) -> None:
        """The filter that had stopped lets go."""

    def add_data(self, place: int, data: bytes, streaming: bool) -> None:
        """See `HttpFilter.add_decoded_data`."""

    def add_trailers(self) -> HeaderMap:
        """See `HttpFilter.add_decoded_trailers`."""

    def inject_data(self, place: int, data: bytes, end_stream: bool) -> None:
        """See `HttpFilter.inject_decoded_data`."""

    def held(self, place: int) -> bytes | None:
        """See `HttpFilter.decoding_buffer`."""

    def replace_held(self, place: int, data: bytes) -> None:
        """See `HttpFilter.replace_decoding_buffer`."""

    def pause_sender(self) -> None:
        """See `HttpFilter.pause_encoding`."""

    def resume_sender(self) -> None:
        """See `HttpFilter.resume_encoding`."""


class FilterChain(Protocol):
    """Both ways of a stream; see `proxy.hcm.filter_manager`."""

    decoding: FilterDirection
    encoding: FilterDirection


class HttpFilter:
    """Base of HTTP filters: passes everything on. One object a stream.

    `decode_*` see the request on its way up, in chain order; `encode_*` the response on its way back, in reverse
    order. The last call of a message has `end_stream`, or is that of the trailers. `on_destroy` is called once,
    whatever happened. `name` is the name that the filter is configured under.

    A filter that has stopped a head may change it (content-length, status) until it lets go.
    """

    name = ""
    #: Whether it passes every request on as it has come: what is known of such requests then holds behind it too.
    leaves_requests = False
    #: Set by the filter manager: the chain, and the place in it, counted from the client.
    chain: FilterChain
    place = 0

    def __init__(self, callbacks: StreamCallbacks) -> None:
        self.callbacks = callbacks

    # -- what a filter hears

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """The request head; may be changed in place."""
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """Request body bytes; gives what to pass on or to keep."""
        return FilterStatus.CONTINUE, data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """Request trailers; may be changed in place."""
        return FilterStatus.CONTINUE

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """The response head; may be changed in place."""
        return FilterStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """Response body bytes; gives what to pass on or to keep."""
        return FilterStatus.CONTINUE, data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """Response trailers; may be changed in place."""
        return FilterStatus.CONTINUE

    def on_destroy(self) -> None:
        """The stream is over."""

    # -- what a filter may do with the request

    def continue_decoding(self) -> None:
        """Let go of what this filter has stopped; without effect once the request is answered."""
        self.chain.decoding.resume(self.place)

    def add_decoded_data(self, data: bytes, *, streaming: bool = False) -> None:
        """Add body bytes behind those that passed this filter.

        From `decode_trailers` they reach the later filters at once, before the trailers, unless this filter has
        stopped. Else they are kept with what this filter holds back; a message that ended with its head gets a
        body that way. Over the buffer limit the sender waits if `streaming`, else the stream fails.
        """
        self.chain.decoding.add_data(self.place, data, streaming)

    def add_decoded_trailers(self) -> HeaderMap:
        """New trailers, to fill; only from within the call that has `end_stream`, and once for a message."""
        return self.chain.decoding.add_trailers()

    def inject_decoded_data(self, data: bytes, end_stream: bool) -> None:
        """Show body bytes to the later filters at any time, past what is held; the head goes before them."""
        self.chain.decoding.inject_data(self.place, data, end_stream)

    def decoding_buffer(self) -> bytes | None:
        """What is kept for this filter, None if it has not kept anything back."""
        return self.chain.decoding.held(self.place)

    def replace_decoding_buffer(self, data: bytes) -> None:
        """Keep this instead of what is kept for this filter."""
        self.chain.decoding.replace_held(self.place, data)

    def set_decoding_limit(self, limit: int) -> None:
        """Let the request's filters together keep `limit` bytes; 0 for no limit."""
        self.chain.decoding.limit = limit

    # -- the same with the response

    def continue_encoding(self) -> None:
        """See `continue_decoding`."""
        self.chain.encoding.resume(self.place)

    def add_encoded_data(self, data: bytes, *, streaming: bool = False) -> None:
        """See `add_decoded_data`."""
        self.chain.encoding.add_data(self.place, data, streaming)

    def add_encoded_trailers(self) -> HeaderMap:
        """See `add_decoded_trailers`."""
        return self.chain.encoding.add_trailers()

    def inject_encoded_data(self, data: bytes, end_stream: bool) -> None:
        """See `inject_decoded_data`."""
        self.chain.encoding.inject_data(self.place, data, end_stream)

    def encoding_buffer(self) -> bytes | None:
        """See `decoding_buffer`."""
        return self.chain.encoding.held(self.place)

    def replace_encoding_buffer(self, data: bytes) -> None:
        """See `replace_decoding_buffer`."""
        self.chain.encoding.replace_held(self.place, data)

    def pause_encoding(self) -> None:
        """Stop the sender of the response, for a filter that holds much itself; each needs a `resume_encoding`."""
        self.chain.encoding.pause_sender()

    def resume_encoding(self) -> None:
        """Undo one `pause_encoding`."""
        self.chain.encoding.resume_sender()

    def set_encoding_limit(self, limit: int) -> None:
        """See `set_decoding_limit`."""
        self.chain.encoding.limit = limit


class GatedMaker(Protocol):
    """What `HttpFilterFactory.create` may give: filters that often let a request pass at once.

    Where it stands before all others, `gate` is asked first, and no filter is made for what passes it.
    """

    def __call__(self, callbacks: StreamCallbacks) -> HttpFilter:
        """The filter of one stream."""

    def gate(self, callbacks: StreamCallbacks, name: str) -> Callable[[StreamCallbacks], HttpFilter] | None:
        """Decide about a request whose head `callbacks.info.request` is, for the filter configured as `name`.

        None lets it pass, and the filter sees nothing of the stream; else what makes a filter that knows what has
        been decided.
        """


class HttpFilterFactory(Struct, frozen=True):
    """How to make one kind of HTTP filter.

    `create(config, services)` gives a function that makes the filter of one stream from its callbacks; None for
    the router, which the connection manager runs itself. `compile_route` compiles a per-route config, a message
    `route_type_name`. A `passive` filter does nothing: it is checked and then left out. `idle` tells of a config
    that it does nothing on routes that have none of their own.
    """

    name: str
    type_name: str
    terminal: bool
    compile: Callable[[Any, str, CompileContext], Any]
    create: Callable[[Any, WorkerServices, str], Callable[[StreamCallbacks], HttpFilter]] | None
    compile_route: Callable[[Any, str, CompileContext], Any] | None = None
    passive: bool = False
    idle: Callable[[Any], bool] | None = None
