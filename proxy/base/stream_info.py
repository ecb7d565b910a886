"""Facts of one connection and of one stream, for access logs, header formatters and matchers.

Times are seconds of the monotonic clock (`loop.time()`); 0.0 means "has not happened". `WallClock` turns them
into wall time. Defaults are class attributes, so that creating a `StreamInfo` writes only what differs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.base.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxy.base.headers import HeaderMap
    from proxy.base.messages import RequestHead, ResponseHead
    from proxy.connection.upstream_source import UpstreamSource


#: Why a connection ends whose original destination is the proxy itself.
LOOP: Final = "loop"
#: Shared by all connections that carry none; nobody changes it.
_NOTHING: Final[dict[str, Any]] = {}
#: The key in the filter state of a stream for what its TLS connection upstream offers by ALPN: protocol → names.
APPLICATION_PROTOCOLS: Final = "envoy.network.application_protocols"
#: How an object of the filter state is shared with upstream connections: with the next one, or with those behind it
#: too. The numbers are those of `FilterStateValue.SharedWithUpstream`.
ONCE: Final = 1
TRANSITIVE: Final = 2
#: Values of `StreamInfo.access_log_type` for entries about one try of a request, which sends nothing downstream.
OF_TRIES: Final = frozenset({"UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd"})


class GradualDrain:
    """True more and more often: of `seconds`, the share that has passed, and always from then on.

    Clocks and `draw` (an integer from 0 to 2**64-1) as Envoy's drain manager uses them: whole seconds count.
    """

    __slots__ = ("_clock", "_draw", "_end", "_seconds")

    def __init__(self, seconds: int, clock: Callable[[], float], draw: Callable[[], int]) -> None:
        self._clock = clock
        self._draw = draw
        self._seconds = seconds
        self._end = clock() + seconds

    def __bool__(self) -> bool:
        left = self._end - self._clock()
        return left <= 0 or self._seconds - int(left) > self._draw() % self._seconds


class DrainState:
    """Whether work has to end; one object per listener and one for the whole worker.

    Each response asks `draining` anew: with `GradualDrain` some connections are told to end and others go on.
    """

    __slots__ = ("draining",)

    def __init__(self) -> None:
        self.draining: bool | GradualDrain = False


class TlsInfo:
    """What a finished TLS handshake established; "" where it established nothing."""

    version = ""
    cipher = ""
    group = ""  # of the key agreement
    alpn = ""
    sni = ""
    session_id = ""
    peer_certificate_der = b""
    #: Whether that certificate was found good by what is asked of it; False in a resumed session, as in Envoy.
    peer_certificate_validated = False
    local_certificate_der = b""
    #: The validated chain, the peer's certificate first; empty if nothing was validated.
    peer_chain_der: tuple[bytes, ...] = ()


class ConnectionInfo:
    """One accepted downstream connection.

    `remote_address` and `local_address` are what filters see (PROXY protocol or original destination may have
    changed them); `direct_*` are those of the socket. `id` is unique in the worker. The terminal protocol calls
    `on_closed` once from its `connection_lost`.
    """

    requested_application_protocols: tuple[str, ...] = ()  # of a ClientHello that a listener filter has read
    ja3_fingerprint = ""  # of that ClientHello, if the filter was told to compute it
    ja4_fingerprint = ""
    local_address_restored = False  # `local_address` is the destination from before a redirect
    destination_is_proxy = False  # that destination is this proxy: going there would loop

    # Defaults on the class, so that an accepted connection writes only what differs.
    tls: TlsInfo | None = None
    requested_server_name = ""
    transport_protocol = "raw_buffer"
    termination_details: str | None = None
    response_code_details: str | None = None  # of the filter that closed the connection
    response_flags = 0  # of ResponseFlag; those of the listener's access log
    transport_failure_reason: str | None = None
    filter_chain_name = ""
    close_type = "Normal"  # or "LocalReset", "RemoteReset"
    local_close_reason: str | None = None
    handshake_complete = 0.0
    listener_metadata: Any = None  # envoy.config.core.v3.Metadata
    filter_chain_metadata: Any = None
    listener_name = ""
    listener_address = ""
    dynamic_metadata: Mapping[str, Mapping[str, Any]] = _NOTHING  # replaced whole, never changed
    filter_state: Mapping[str, Any] = _NOTHING
    state_sharing: Mapping[str, int] = _NOTHING  # of those objects that are shared: ONCE or TRANSITIVE
    buffer_limit = 1024 * 1024
    upstream_source: UpstreamSource | None = None  # what connections to hosts come from, if not this machine
    rate_limiter: Any = None  # proxy.ratelimit.local.LocalRateLimiter of this connection alone
    early_upstream: Any = None  # proxy.tcp_proxy.early.EarlyUpstream, for the session to take over
    _close_callbacks: list[Callable[[], None]] | None = None

    def __init__(
        self, connection_id: int, remote: Address, local: Address, start_time: float, drain: DrainState
    ) -> None:
        self.id = connection_id
        self.remote_address = self.direct_remote_address = remote
        self.local_address = self.direct_local_address = local
        self.start_time = start_time
        self.drain = drain

    def shared_state(self) -> dict[str, Any]:
        """The objects of the filter state that an upstream connection gets."""
        return {key: self.filter_state[key] for key in self.state_sharing}

    @property
    def on_close(self) -> list[Callable[[], None]]:
        """What must happen when the connection has gone; append to it."""
        if self._close_callbacks is None:
            self._close_callbacks = []
        return self._close_callbacks

    def on_closed(self) -> None:
        """Run what must happen when the connection has gone: gauges, limits, the listener's access log."""
        callbacks, self._close_callbacks = self._close_callbacks, None
        for callback in callbacks or ():
            callback()


def own_connection(ip: str) -> ConnectionInfo:
    """Stands for the client of requests that the proxy makes itself, at its own address."""
    nowhere = Address(ip, 0)
    return ConnectionInfo(0, nowhere, nowhere, 0.0, DrainState())


class WantedHost(NamedTuple):
    """The host that a request is to go to, by its address as text; `strict`: to no other."""

    address: str
    strict: bool


class StreamInfo:
    """One request and its response, or one TCP connection (then `request` is None)."""

    connection: ConnectionInfo
    request: RequestHead | None = None
    response: ResponseHead | None = None
    response_trailers: HeaderMap | None = None
    request_trailers: HeaderMap | None = None
    local_reply_body: str = ""

    protocol: str | None = None
    request_id: str | None = None
    remote_address: Address | None = None  # after XFF; None means the connection's
    scheme: str = ""

    start_time: float = 0.0
    request_headers_complete: float = 0.0
    request_complete: float = 0.0  # all of the request is there for the router
    request_received: float = (
        0.0  # last byte of it read from downstream, where filters have held it back since
    )
    response_first_byte_sent: float = 0.0
    response_complete: float = 0.0  # last byte of the response written downstream
    upstream_pool_requested: float = 0.0
    upstream_pool_ready: float = 0.0
    upstream_connect_start: float = 0.0
    upstream_connect_complete: float = 0.0
    upstream_handshake_complete: float = 0.0
    upstream_first_byte_sent: float = 0.0
    upstream_last_byte_sent: float = 0.0
    upstream_first_byte_received: float = 0.0
    upstream_first_body_byte_received: float = 0.0
    upstream_last_byte_received: float = 0.0

    bytes_received: int = 0  # request body
    bytes_sent: int = 0  # response body
    upstream_wire_bytes_sent: int = 0
    upstream_wire_bytes_received: int = 0
    upstream_header_bytes_sent: int = 0
    upstream_header_bytes_received: int = 0
    downstream_wire_bytes_sent: int = 0
    downstream_wire_bytes_received: int = 0
    downstream_header_bytes_sent: int = 0
    downstream_header_bytes_received: int = 0

    response_code: int = 0
    response_code_details: str | None = None
    connection_termination_details: str | None = None
    flags: int = 0  # of ResponseFlag
    attempt_count: int = 0  # upstream tries

    route_name: str = ""
    virtual_host_name: str = ""
    virtual_cluster_name: str | None = None
    upstream_cluster: Any = None  # proxy.upstream.cluster.Cluster
    upstream_host: Any = None  # proxy.upstream.host.Host
    wanted_host: WantedHost | None = None  # a filter's choice, before the load balancer's
    named_hosts: Iterator[str] | None = None  # what `override_host` has not tried yet
    upstream_connection: Any = None  # proxy.upstream.pool.api.UpstreamConnection
    upstream_local_address: Address | None = None
    upstream_remote_address: Address | None = None
    upstream_connection_id: int | None = None
    upstream_protocol: str | None = None
    upstream_tls: TlsInfo | None = None
    upstream_transport_failure_reason: str | None = None
    upstream_close_type: str = "Normal"
    upstream_local_close_reason: str | None = None
    attempted_hosts: tuple[Any, ...] = ()  # of every try; empty if there was at most one
    attempted_connection_ids: tuple[int, ...] = ()
    upstream_request_head: RequestHead | None = None
    metadata_match: Mapping[str, Any] | None = None  # what the route asks of hosts: JSON values of `envoy.lb`
    #: Shared by streams that differ in nothing but times, connections and generated ids: the same request (without
    #: a body) from the same IP by the same route to the same host, and the same whole response. None if unknown.
    kept_key: tuple[Any, ...] | None = None

    route: Any = None  # proxy.router.route.Route, if a filter that looks at it has asked
    route_metadata: Any = None  # envoy.config.core.v3.Metadata of the route
    virtual_host_metadata: Any = None
    access_log_type: str = "NotSet"  # envoy.data.accesslog.v3.AccessLogType without its punctuation
    custom_flags: str = ""
    trace_id: str | None = None
    span_id: str | None = None
    health_check: bool = False
    traced: bool = False
    dynamic_metadata: dict[str, dict[str, Any]] | None = None
    filter_state: dict[str, Any] | None = None
    compressors: Any = None  # proxy.filters.http.compressor.ChainState

    def __init__(self, connection: ConnectionInfo, start_time: float) -> None:
        self.connection = connection
        self.start_time = start_time
        # Written late in every request: cheap only if the interpreter knows them from the start.
        self.response = None
        self.upstream_last_byte_received = 0.0
        self.response_first_byte_sent = 0.0
        self.response_complete = 0.0
        self.bytes_sent = 0

    @property
    def last_byte_received(self) -> float:
        """When the last byte of the request was read from downstream."""
        return self.request_received or self.request_complete

    @property
    def own_metadata(self) -> Mapping[str, Mapping[str, Any]]:
        """The dynamic metadata of the stream. A connection's are its own; a request does not have them."""
        if self.dynamic_metadata or self.request is not None:
            return self.dynamic_metadata or _NOTHING
        return self.connection.dynamic_metadata

    def state_object(self, key: str) -> Any:
        """The object of that key in the filter state or, if it has none, in that of the connection; else None."""
        own = None if self.filter_state is None else self.filter_state.get(key)
        return self.connection.filter_state.get(key) if own is None else own

    def downstream_address(self) -> Address:
        """The client's address: after XFF for a request, else the connection's."""
        return self.remote_address or self.connection.remote_address


class WallClock:
    """Turns monotonic seconds into seconds since the epoch.

    The offset is taken anew at most once a second, so that a clock that is set does not skew the log for ever.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._taken = -1.0
        self._offset = 0.0

    def at(self, moment: float) -> float:
        """Seconds since the epoch at the monotonic `moment`."""
        if moment - self._taken > 1.0:
            self._taken = self._monotonic()
            self._offset = self._wall() - self._taken
        return moment + self._offset
