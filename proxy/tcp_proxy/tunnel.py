"""The other kind of `upstream`: a request on a connection of an HTTP pool, whose bodies are the session's bytes.

The head goes out when the pool gives a connection. Only an answer that accepts makes this `connected`; any other,
like every failure until then, is a failed attempt, of which the session may make several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.codec.proxy_protocol import ProxyData
from proxy.router.upstream_head import SingleHead
from proxy.tcp_proxy.tunnel_config import HEADERS_KEY, METADATA_NAMESPACE, TRAILERS_KEY, TunnelConfig
from proxy.tcp_proxy.upstream import DialFailure
from proxy.upstream.cluster_config import UpstreamProtocol
from proxy.upstream.pool.api import OutgoingHead, PoolFailure, ResetReason

if TYPE_CHECKING:
    from proxy.tcp_proxy.tunnel_session import TunnelSession
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host

_FAILURES: Final = {
    PoolFailure.OVERFLOW: DialFailure.LOCAL,
    PoolFailure.LOCAL_CONNECT: DialFailure.LOCAL,
    PoolFailure.REMOTE_CONNECT: DialFailure.REMOTE,
    PoolFailure.TIMEOUT: DialFailure.TIMEOUT,
}
_HTTP2: Final = frozenset({UpstreamProtocol.HTTP2, UpstreamProtocol.AUTO})
_OK: Final = 200
_REDIRECTS: Final = 300


class TunnelUpstream:
    """See module; a `PoolRequest`, and for its session what an `Upstream` is. Times are monotonic seconds."""

    __slots__ = (
        "_config",
        "_connection",
        "_counted",
        "_finished_writing",
        "_pool",
        "cluster",
        "connect_started_at",
        "connected",
        "connected_at",
        "finished",
        "head",
        "header_bytes_sent",
        "host",
        "last_connection",
        "method",
        "preamble",
        "request_id",
        "session",
        "stats",
        "upgrading",
        "wire_bytes_received",
        "wire_bytes_sent",
        "write_down",
    )

    head: OutgoingHead

    def __init__(self, session: TunnelSession, cluster: Cluster, host: Host) -> None:
        self.session: TunnelSession | None = session
        self.cluster = cluster
        self.stats = cluster.stats
        self.host = host
        self.connected = False
        self.finished = False
        self.connect_started_at = self.connected_at = 0.0
        self.write_down: Any = None
        self.last_connection: Any = None
        config = session.owner.config.tunnel
        assert config is not None
        self._config: TunnelConfig = config
        self._connection: Any = None
        self._pool: Any = None
        self._counted = False
        self._finished_writing = False
        self.method = config.method
        self.preamble = self.request_id = b""
        self.upgrading = ""
        self.wire_bytes_received = self.wire_bytes_sent = self.header_bytes_sent = 0

    # -- the attempt

    def dial(self) -> None:
        """Ask the host's pool for a connection; the session hears of the outcome, perhaps before this returns."""
        session = self.session
        assert session is not None
        self.connect_started_at = session.now()
        self._pool = pool = session.owner.pool(self.cluster, self.host)
        connection = pool.take(self)
        if connection is None:
            pool.wait(self)
        else:
            self.on_pool_ready(connection)

    def time_out(self) -> None:
        """The pool keeps the time."""

    def on_pool_ready(self, connection: Any) -> None:
        """See `PoolRequest`: ask for the tunnel."""
        session = self.session
        if session is None:
            connection.release()
            return
        if not self.cluster.breakers[0].requests.try_acquire():
            self.stats.upstream_rq_pending_overflow += 1
            self.cluster.breakers[0].refused("requests")
            connection.release()
            self._failed(DialFailure.LOCAL)
            return
        self._counted = True
        self.stats.upstream_rq_total += 1
        self.stats.upstream_rq_active += 1
        self.host.stats.rq_total += 1
        self.host.stats.rq_active += 1
        self._connection = self.last_connection = connection
        self.head = self._make_head(session)
        connection.carries_bytes = True
        connection.send_head(b"", False)

    @property
    def proxied(self) -> ProxyData | None:
        """See `PoolRequest`."""
        return None if self.session is None else self.session.proxied

    def _make_head(self, session: TunnelSession) -> SingleHead:
        config = self._config
        client = session.connection
        info = StreamInfo(client, client.start_time)
        info.upstream_cluster = session.cluster
        info.upstream_host = self.host
        request_id = ""
        if config.request_id is not None:
            request_id = session.owner.new_request_id()
            known = client.dynamic_metadata.get(METADATA_NAMESPACE, {})
            named = {**known, config.request_id[1]: request_id}
            client.dynamic_metadata = {**client.dynamic_metadata, METADATA_NAMESPACE: named}
        scheme = "https" if self.cluster.config.transport_of(self.host.metadata) is not None else "http"
        head = config.head(info, scheme, request_id)
        return SingleHead(head, end_stream=False, upgrade=not config.path)

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:
        """See `PoolRequest`."""
        self._failed(_FAILURES[failure], detail, None if failure is PoolFailure.OVERFLOW else self.host)

    def _failed(self, failure: DialFailure, reason: str = "", host: Host | None = None) -> None:
        self._end()
        session, self.session = self.session, None
        if session is not None:
            session.on_dial_failed(host, failure, reason)

    def _end(self) -> None:
        self._connection = None
        if self._counted:
            self._counted = False
            self.cluster.breakers[0].requests.release()
            self.stats.upstream_rq_active -= 1
            self.host.stats.rq_active -= 1

    def on_stale(self) -> bool:
        """See `PoolRequest`: what a tunnel has carried is not to be had again."""
        return False

    # -- the host's side

    def on_informational(self, response: ParsedResponse) -> None:
        """See `PoolRequest`."""

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `PoolRequest`: the tunnel is open if the host says so."""
        session = self.session
        if session is None:
            return
        if self._config.propagates_headers:
            fields = [(":status", str(response.head.status)), *response.head.headers.fields()]
            session.tell(HEADERS_KEY, fields)
        status = response.head.status
        accepted = status == _OK if self._speaks_http2() else _OK <= status < _REDIRECTS
        if not accepted or (end_stream and not body):
            # After the end of a response, a connection of HTTP/1 sees to itself.
            if not end_stream or self._speaks_http2():
                self._connection.abandon()
            self._failed(DialFailure.REMOTE, f"tunnel_response:{status}", self.host)
            return
        self.connected = True
        self.connected_at = session.now()
        session.on_connected(self)
        if body:
            self.on_response_data(body, end_stream)

    def _speaks_http2(self) -> bool:
        return self.cluster.config.protocol in _HTTP2

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """See `PoolRequest`: pass it on to the client."""
        session = self.session
        if session is None or not self.connected:
            return
        if data:
            size = len(data)
            session.last_active = session.now()
            session.bytes_sent += size
            session.stats.downstream_cx_tx_bytes_total += size
            self.write_down(data)
        if end_stream:
            self.finished = True
            session.on_upstream_finished()
            if self.session is not None and not self._speaks_http2():
                self.on_reset(ResetReason.CONNECTION_TERMINATION, "")

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """See `PoolRequest`."""
        session = self.session
        if session is not None and self._config.propagates_trailers:
            session.tell(TRAILERS_KEY, list(trailers.fields()))
        self.on_response_data(b"", True)

    def on_reset(self, reason: ResetReason, detail: str) -> None:
        """See `PoolRequest`."""
        del detail
        if not self.connected:
            self._failed(DialFailure.REMOTE, host=self.host)
            return
        self._end()
        session, self.session = self.session, None
        if session is not None:
            session.on_upstream_lost(reason is ResetReason.REMOTE_RESET)

    def on_write_paused(self) -> None:
        """See `PoolRequest`: the host does not read."""
        if self.session is not None:
            self.session.pause_reading()

    def on_write_resumed(self) -> None:
        """See `PoolRequest`: the host reads again."""
        if self.session is not None:
            self.session.resume_reading()

    # -- the session's side

    @property
    def unsent(self) -> int:
        """What leaves a tunnel does not count against idleness, as in Envoy."""
        return 0

    def stop_relays(self) -> None:
        """There are none."""

    def write(self, data: bytes) -> None:
        """Send bytes of the client's."""
        if self._connection is not None:
            self._connection.send_data(data, False)

    def finish(self) -> None:
        """The client will say no more. HTTP/1 has no word for that but to close."""
        if self._connection is not None and not self._finished_writing:
            self._finished_writing = True
            self._connection.send_data(b"", True)

    def leave(self, *, reset: bool = False, both_finished: bool = False) -> None:
        """The session is over; a tunnel that has not come to its end on both sides is reset."""
        del reset
        session, self.session = self.session, None
        connection = self._connection
        if session is not None and connection is not None and not self.connected:
            session.flags |= ResponseFlag.UPSTREAM_CONNECTION_FAILURE
        if connection is None:
            if self._pool is not None and not self.connected:
                self._pool.cancel(self)
        elif not both_finished:
            connection.abandon()
        self._end()

    def pause_reading(self) -> None:
        """The client does not read as fast as the host writes."""
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """The client reads again."""
        if self._connection is not None:
            self._connection.resume_reading()

    def describe(self, info: StreamInfo) -> None:
        """Note in `info` which connection carried the session."""
        if self.last_connection is not None:
            self.last_connection.describe(info)
            info.upstream_protocol = None
        info.upstream_pool_requested = self.connect_started_at
        info.upstream_pool_ready = self.connected_at
