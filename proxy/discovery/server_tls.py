"""TLS to a control plane: the transport socket of its cluster in the bootstrap, compiled as that of any cluster."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.errors import ConfigError
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.connection.tls_secrets import SecretStore
from xds_client.api import ServerTls

_TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_PLAIN: Final = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


def server_tls(cluster: Any, node: Any, secrets: SecretStore) -> ServerTls | None:
    """How to speak TLS to the hosts of a `cluster.v3.Cluster`, None for plain text.

    Raises `ConfigError` for a socket that cannot be used, among them one whose secret has not come.
    """
    if not cluster.HasField("transport_socket") or not cluster.transport_socket.HasField("typed_config"):
        return None
    # Only control planes behind TLS pay for importing it.
    from proxy.connection.tls import compile_upstream_tls

    path = "transport_socket.typed_config"
    ctx = CompileContext(node=node, secrets=secrets, eager=True)
    message = unpack(cluster.transport_socket.typed_config, path, ctx)
    if message is not None and message.DESCRIPTOR.full_name == _PLAIN:
        return None
    if message is not None and message.DESCRIPTOR.full_name != _TLS:
        ctx.problem(
            path, f"{message.DESCRIPTOR.full_name} does not lead to a control plane; use TLS or plain text"
        )
    if ctx.problems or message is None:
        raise ConfigError(ctx.problems)
    made = compile_upstream_tls(message, path, ctx, ("h2",)).current()
    if ctx.problems:
        raise ConfigError(ctx.problems)
    if made is None:
        raise ConfigError(
            f"{path}: a secret of the cluster {cluster.name!r} of the control plane has not come"
        )
    return made
