"""The TLS handshake of an accepted connection, between the choice of its chain and its terminal filter.

The event loop's own `SSLProtocol` carries handshake and records. It is set up by hand, because the loop's
`start_tls` is a coroutine (a task per connection) and does not let an alert out before it cuts the line.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, TlsInfo
from proxy.connection import openssl
from proxy.connection.tls import DownstreamTls as TlsConfig
from proxy.connection.tls import describe, describe_failed
from proxy.connection.tls_errors import SECRET_MISSING, failure_reason
from proxy.connection.tls_object import CheckedSslObject, TlsContext, ssl_protocol_class
from proxy.connection.tls_stats import SecretStats, SslStats
from proxy.filters.api import ListenerFacts

if TYPE_CHECKING:
    from proxy.connection.tls_half_close import HalfClose

#: Seconds for a handshake when the config sets no bound (Envoy has none then).
DEFAULT_TIMEOUT: Final = 15.0
_SHUTDOWN_TIMEOUT: Final = 1.0

CreateProtocol = Callable[[ConnectionInfo], asyncio.Protocol]


class DownstreamTls:
    """Makes server handshakes for one filter chain."""

    def __init__(
        self,
        config: TlsConfig,
        timeout: float,
        services: WorkerServices,
        facts: ListenerFacts,
        *,
        half_closes: bool = False,
    ) -> None:
        self.config = config
        self.timed = timeout > 0
        self.timeout = timeout if timeout > 0 else DEFAULT_TIMEOUT
        self.loop = services.loop
        self.stats = services.stats.shared(SslStats, f"{facts.stat_prefix}ssl.")
        self._secret_stats = services.stats.shared(
            SecretStats, f"{facts.stat_prefix}server_ssl_socket_factory."
        )
        if services.worker_index == 0:
            self._secret_stats.count(config)
        self.buffer_limit = facts.buffer_limit
        self.half_closes = half_closes and openssl.AVAILABLE
        if self.half_closes:
            from proxy.connection.tls_half_close import half_closing_protocol_class  # HTTP does without

            self._ssl_protocol = half_closing_protocol_class(services.loop)
        else:
            self._ssl_protocol = ssl_protocol_class(services.loop)

    def start(
        self,
        transport: asyncio.Transport,
        connection: ConnectionInfo,
        create_protocol: CreateProtocol,
        on_timeout: Callable[[], None],
    ) -> None:
        """Shake hands on `transport`; the protocol is made and connected when that has succeeded."""
        config = self.config.current()
        if config is None:
            self._secret_stats.downstream_context_secrets_not_ready += 1
            connection.transport_failure_reason = SECRET_MISSING
            transport.set_protocol(_Closing(connection))
            transport.close()
            return
        config.sessions.renew_keys()
        handshake = _Handshake(self, config.context, transport, connection, create_protocol, on_timeout)
        protocol = self._ssl_protocol(
            self.loop, handshake, handshake, handshake, True, None, True, self.timeout, _SHUTDOWN_TIMEOUT
        )
        if self.half_closes:
            protocol.half_close = handshake.use_half_close(self.loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class _Closing(asyncio.Protocol):
    """Reports the end of a connection that is being closed."""

    def __init__(self, connection: ConnectionInfo) -> None:
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self._connection.on_closed()


class _Handshake(asyncio.Protocol):
    """One handshake. It plays three parts towards `SSLProtocol`, to hear of every outcome without a future.

    As the context (`wrap_bio`) it makes an `SSLObject` that reports its failure before the line is cut; as
    the waiter (`cancelled`, `set_result`, `set_exception`) it hears of the end; as the application's protocol
    (`connection_made`, `connection_lost`) it hears of success.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_create_protocol",
        "_error",
        "_half_close",
        "_on_timeout",
        "_ssl_object",
        "_tls",
        "_transport",
    )

    def __init__(
        self,
        tls: DownstreamTls,
        context: TlsContext,
        transport: asyncio.Transport,
        connection: ConnectionInfo,
        create_protocol: CreateProtocol,
        on_timeout: Callable[[], None],
    ) -> None:
        self._tls = tls
        self._context = context
        self._transport: asyncio.Transport | None = transport
        self._connection = connection
        self._create_protocol = create_protocol
        self._on_timeout = on_timeout
        self._error: BaseException | None = None
        self._ssl_object: CheckedSslObject | None = None
        self._half_close: HalfClose | None = None
        connection.tls = TlsInfo()

    def use_half_close(self, loop: asyncio.AbstractEventLoop) -> HalfClose:
        """Let the connection's halves end one by one; to be called before the handshake."""
        from proxy.connection.tls_half_close import HalfClose

        self._half_close = HalfClose(loop)
        return self._half_close

    # -- the context

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        if self._half_close is None:
            made = cast("CheckedSslObject", self._context.wrap_bio(incoming, outgoing, **options))
        else:
            made = self._half_close.wrap(self._context, incoming, outgoing, **options)
        made.on_failure = self._fail
        ranges = self._context.key_log_ranges
        if ranges is not None and not ranges.include(
            self._connection.local_address, self._connection.remote_address
        ):
            openssl.keep_secrets(made)
        self._ssl_object = made
        return made

    def _fail(self, error: ssl.SSLError) -> None:
        """The handshake is lost; its alert goes out with the bytes that are written before this closes."""
        if self._error is None and self._transport is not None:
            self._error = error
            self._tls.loop.call_soon(self._transport.close)

    # -- the waiter

    def cancelled(self) -> bool:
        """See `asyncio.Future.cancelled`."""
        return False

    def set_result(self, result: None) -> None:
        """The handshake succeeded, which `connection_made` has been told, or the line is gone."""
        del result
        self._finish_failed(None)

    def set_exception(self, error: BaseException) -> None:
        """The handshake failed or took too long."""
        self._finish_failed(error)

    def _finish_failed(self, error: BaseException | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        connection = self._connection
        error = self._error or error
        self._error = None
        if isinstance(error, ConnectionAbortedError):
            connection.termination_details = "transport socket timeout was reached"
            if self._tls.timed:
                self._on_timeout()
        self._tls.stats.failed(error)
        if self._ssl_object is not None:
            self._tls.stats.stapled(self._ssl_object.staple_action)
            if error is not None and connection.tls is not None:
                describe_failed(self._ssl_object, connection.tls)
            self._ssl_object = None
        if error is not None:
            connection.transport_failure_reason = failure_reason(error)
        connection.on_closed()

    # -- the application's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand over to the terminal filter."""
        secured = cast("asyncio.Transport", transport)
        self._transport = None
        self._ssl_object = None
        ssl_object = secured.get_extra_info("ssl_object")
        ssl_object.on_failure = None
        connection, tls = self._connection, self._tls
        info = describe(ssl_object, connection.tls)
        reused = bool(ssl_object.session_reused)
        tls.stats.succeeded(info, reused=reused, overlooked=ssl_object.overlooked)
        tls.stats.stapled(ssl_object.staple_action)
        if tls.buffer_limit:
            secured.set_write_buffer_limits(tls.buffer_limit)
        protocol = self._create_protocol(connection)
        if self._half_close is not None:
            self._half_close.transport = secured
        secured.set_protocol(protocol)
        protocol.connection_made(secured)
