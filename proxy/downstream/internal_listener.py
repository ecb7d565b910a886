"""Listeners without a socket, which take the connections that the same worker makes to them."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.address import InternalAddress
from proxy.config.context import CompileContext
from proxy.connection.sockets import ListenAddress

#: What only means something to a socket; Envoy refuses these.
_OF_SOCKETS: Final = (
    "connection_balance_config",
    "enable_mptcp",
    "enable_reuse_port",
    "freebind",
    "tcp_backlog_size",
    "tcp_fast_open_queue_length",
    "transparent",
)


def is_internal(message: Any) -> bool:
    """Whether a `Listener` is internal."""
    return bool(message.HasField("internal_listener"))


def compile_internal_address(message: Any, path: str, ctx: CompileContext) -> ListenAddress:
    """Where an internal listener is found; what it must not have goes to `ctx`."""
    for name in ("address", "additional_addresses"):
        if message.HasField(name) if name == "address" else message.additional_addresses:
            ctx.problem(
                f"{path}.{name}", "address should not be used when an internal listener config is provided"
            )
    for name in _OF_SOCKETS:
        present = message.enable_mptcp if name == "enable_mptcp" else message.HasField(name)
        if present:
            ctx.problem(f"{path}.{name}", "an internal listener has no socket that this could hold for")
    if message.socket_options:
        ctx.problem(f"{path}.socket_options", "an internal listener does not support socket options")
    return ListenAddress(InternalAddress(message.name))
