"""Connecting to an internal listener of this worker instead of to a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from proxy.base.address import INTERNAL_CLIENT
from proxy.base.stream_info import ONCE, ConnectionInfo
from proxy.connection.internal_transport import InternalTransport, transport_pair
from proxy.upstream.pool.connect import ConnectError

if TYPE_CHECKING:
    from proxy.base.services import WorkerServices
    from proxy.upstream.cluster_config import ClusterConfig
    from proxy.upstream.host import Host

_SHUTDOWN_TIMEOUT: Final = 1.0


async def open_internal(
    loop: asyncio.AbstractEventLoop,
    host: Host,
    config: ClusterConfig,
    protocol: asyncio.Protocol,
    tls: Any,
    client: ConnectionInfo | None,
) -> None:
    """Connect `protocol` to the internal listener that `host` names. Raises `ConnectError` and `OSError`.

    `tls` is an `UpstreamTlsConfig` with its secrets, None for plain text. `client` is the connection that the new
    one is for, if for one only: its shared filter state goes along.
    """
    transport = _dial(loop, host, config, client)
    if tls is None:
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return
    try:
        await _shake_hands(
            loop, transport, protocol, tls, tls.server_name(host.hostname), config.connect_timeout
        )
    except BaseException:
        transport.abort()
        raise


def _dial(
    loop: asyncio.AbstractEventLoop, host: Host, config: ClusterConfig, client: ConnectionInfo | None
) -> InternalTransport:
    """The near end of a connection that the listener has been given the far end of."""
    services: WorkerServices | None = host.cluster.services
    directory = None if services is None else services.internal_listeners
    listener = None if directory is None else directory.find_internal(host.address.listener_name)
    if services is None or listener is None:
        raise ConnectError(f"immediate connect error: Invalid argument|remote address:{host.address}")
    near, far = transport_pair(loop, services.internal_buffer_bytes, INTERNAL_CLIENT, host.address)
    metadata: Mapping[str, Mapping[str, Any]] = {}
    state: Mapping[str, Any] = {}
    sharing: Mapping[str, int] = {}
    passthrough = config.passthrough_of(host.metadata)
    if passthrough is not None:
        metadata = passthrough.collect(host.metadata, config.metadata, host.cluster.internal_stats)
        if client is not None and client.state_sharing:
            state, sharing = client.shared_state(), _still_shared(client.state_sharing)
    listener.accept_internal(far, host.address, metadata, state, sharing)
    return near


def _still_shared(sharing: Mapping[str, int]) -> Mapping[str, int]:
    """Of objects that have been shared with a connection, those that its own connections get too."""
    return {key: how for key, how in sharing.items() if how != ONCE}


async def _shake_hands(
    loop: asyncio.AbstractEventLoop,
    transport: InternalTransport,
    protocol: asyncio.Protocol,
    tls: Any,
    server_name: str | None,
    handshake_timeout: float,
) -> None:
    from proxy.connection.tls_object import ssl_protocol_class  # needs ssl, which plain text does not

    context = tls.context
    if context.key_log_ranges is not None:
        from proxy.connection.tls_key_log import RangedContext  # few clusters need it

        context = RangedContext(context, None, None)
    waiter = loop.create_future()
    secured = ssl_protocol_class(loop)(
        loop, protocol, context, waiter, False, server_name, True, handshake_timeout, _SHUTDOWN_TIMEOUT
    )
    transport.set_protocol(secured)
    secured.connection_made(transport)
    await waiter
