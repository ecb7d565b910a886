"""Opening one connection to a host: socket options, bind address, time limit, TLS."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import Any, Final

from proxy.base.address import Address, from_socket_name
from proxy.base.stream_info import ConnectionInfo
from proxy.codec.proxy_protocol import ProxyData
from proxy.connection.tls_errors import SECRET_MISSING, failure_reason
from proxy.connection.upstream_source import UpstreamSource
from proxy.upstream.cluster_config import BindConfig, ClusterConfig, KeepaliveConfig
from proxy.upstream.host import Host

#: linux/in.h; the socket module has no name for it.
_IP_FREEBIND: Final = 15


class ConnectError(Exception):
    """No connection. `timeout` tells a time limit from a refusal; `reason` is in Envoy's words."""

    def __init__(self, reason: str, *, timeout: bool = False, local: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timeout = timeout
        self.local = local


def reason_of(error: OSError) -> str:
    """`delayed connect error: Connection refused`, as Envoy's transport failure reason."""
    if isinstance(error, ssl.SSLError):
        return failure_reason(error) or f"TLS_error:|{error.reason or error}:TLS_error_end"
    text = os.strerror(error.errno) if error.errno else str(error)
    return f"delayed connect error: {text}"


async def open_connection(
    loop: asyncio.AbstractEventLoop,
    host: Host,
    config: ClusterConfig,
    protocol: asyncio.Protocol,
    tls: Any,
    client: ConnectionInfo | None = None,
    proxied: ProxyData | None = None,
    source: UpstreamSource | None = None,
    *,
    half_closes: bool = False,
) -> socket.socket | None:
    """Connect `protocol` to `host`; gives the socket, which belongs to the transport. Raises `ConnectError`.

    `tls` is what `compile_upstream_tls` made, None for plain text. `client` is the connection that the new one is
    for, if for one only; `proxied` is what a header of the PROXY protocol tells of it. `source` takes the place of
    the cluster's bind address. With `half_closes` a connection of TLS, too, ends half by half.
    There is no socket where `host` is an internal listener.

    The time limit is the cluster's `connect_timeout`, TLS handshake included.
    """
    try:
        async with asyncio.timeout(config.connect_timeout):
            return await _open(loop, host, config, protocol, tls, client, proxied, source, half_closes)
    except TimeoutError:
        raise ConnectError("", timeout=True) from None
    except OSError as error:
        raise ConnectError(reason_of(error), local=error.errno in _LOCAL_ERRORS) from error


def _context_of(tls: Any, sock: socket.socket) -> Any:
    if tls.context.key_log_ranges is None:
        return tls.context
    from proxy.connection.tls_key_log import RangedContext  # few clusters need it

    ends = from_socket_name(sock.getsockname()), from_socket_name(sock.getpeername())
    return RangedContext(tls.context, *ends)


def _half_closing() -> Any:
    from proxy.connection import openssl  # HTTP does without

    if not openssl.AVAILABLE:
        return None
    from proxy.connection.tls_half_close import connect_half_closing

    return connect_half_closing


#: Failures on this side of the wire: no descriptor, no port, no route to bind.
_LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EACCES})


async def _open(
    loop: asyncio.AbstractEventLoop,
    host: Host,
    config: ClusterConfig,
    protocol: asyncio.Protocol,
    tls: Any,
    client: ConnectionInfo | None,
    proxied: ProxyData | None,
    source: UpstreamSource | None,
    half_closes: bool,
) -> socket.socket | None:
    if tls is not None:
        tls = tls.current()
        if tls is None:
            raise ConnectError(SECRET_MISSING)
    if host.address.listener_name:
        from proxy.upstream.pool.internal import open_internal  # few clusters need it

        await open_internal(loop, host, config, protocol, tls, client)
        return None
    sock = await _dial(loop, host, config, source)
    try:
        header = config.proxy_header_of(host.metadata)
        if header is not None:
            ends = from_socket_name(sock.getsockname()), from_socket_name(sock.getpeername())
            await loop.sock_sendall(sock, header.render(proxied, *ends, host.metadata))
        if tls is None:
            await loop.create_connection(lambda: protocol, sock=sock)
        elif half_closes and (half_closing := _half_closing()) is not None:
            name = tls.server_name(host.hostname)
            context = _context_of(tls, sock)
            await half_closing(loop, sock, protocol, context, name, config.connect_timeout)
        else:
            await loop.create_connection(
                lambda: protocol,
                sock=sock,
                ssl=_context_of(tls, sock),
                server_hostname=tls.server_name(host.hostname),
                ssl_handshake_timeout=config.connect_timeout,
            )
    except BaseException:
        sock.close()
        raise
    return sock


async def _dial(
    loop: asyncio.AbstractEventLoop, host: Host, config: ClusterConfig, source: UpstreamSource | None
) -> socket.socket:
    async def connect(address: Address) -> socket.socket:
        sock = _make_socket(address, config, source)
        try:
            await loop.sock_connect(sock, address.sockaddr)
        except BaseException:
            sock.close()
            raise
        return sock

    if not host.more_addresses:
        return await connect(host.address)
    from proxy.upstream.pool.happy_eyeballs import connect_first, in_turn  # few hosts need it

    async def connect_also(address: Address) -> socket.socket:
        # The pool has counted one connection; Envoy counts each.
        if address is not host.address:
            host.cluster.stats.upstream_cx_total += 1
        return await connect(address)

    addresses = in_turn(
        (host.address, *host.more_addresses), config.first_address_family, config.first_address_count
    )
    return await connect_first(addresses, connect_also)


def _make_socket(address: Address, config: ClusterConfig, source: UpstreamSource | None) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _apply_keepalive(sock, config.keepalive)
            _apply_bind(sock, config.bind, source)
    except BaseException:
        sock.close()
        raise
    return sock


def _apply_keepalive(sock: socket.socket, keepalive: KeepaliveConfig | None) -> None:
    if keepalive is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, keepalive.probes),
        (socket.TCP_KEEPIDLE, keepalive.time),
        (socket.TCP_KEEPINTVL, keepalive.interval),
    ):
        if value is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _apply_bind(sock: socket.socket, bind: BindConfig | None, source: UpstreamSource | None) -> None:
    if bind is not None:
        if bind.freebind:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        for option in bind.socket_options:
            sock.setsockopt(option.level, option.name, option.value)
    if source is not None:
        source.apply(sock)
    elif bind is not None and bind.source is not None:
        sock.bind(bind.source.sockaddr)
