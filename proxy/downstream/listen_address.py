"""Compiles where a listener listens: its addresses and the options of their sockets."""

from __future__ import annotations

import ipaddress
from typing import Any

from proxy.base.address import Address
from proxy.config.context import CompileContext
from proxy.connection.sockets import DEFAULT_BACKLOG, LISTENING, PREBIND, ListenAddress, SocketOption
from proxy.downstream.internal_listener import compile_internal_address, is_internal

_UDP = 1
_PATH_BYTES = 107  # sizeof(sockaddr_un.sun_path) less the terminating NUL


def compile_listen_addresses(message: Any, path: str, ctx: CompileContext) -> tuple[ListenAddress, ...]:
    """`address` and `additional_addresses` of a `Listener`, in this order.

    The socket options of an additional address replace those of the listener, if it has any.
    """
    if is_internal(message):
        return (compile_internal_address(message, path, ctx),)
    udp = is_udp(message)
    options = compile_socket_options(message.socket_options, f"{path}.socket_options", ctx, udp=udp)
    if not message.HasField("address"):
        ctx.problem(f"{path}.address", "an address is required")
        return ()
    places = [(message.address, f"{path}.address", options)]
    for i, more in enumerate(message.additional_addresses):
        at = f"{path}.additional_addresses[{i}]"
        own = options
        if more.HasField("socket_options"):
            own = compile_socket_options(
                more.socket_options.socket_options, f"{at}.socket_options.socket_options", ctx, udp=udp
            )
        if _names_udp(more.address) != udp:
            ctx.problem(
                f"{at}.address",
                "has different socket type: a listener has the same socket type for all its addresses",
            )
        places.append((more.address, f"{at}.address", own))
    compiled = [_compile_one(message, *place, ctx) for place in places]
    return tuple(one for one in compiled if one is not None)


def is_udp(message: Any) -> bool:
    """Whether a `Listener` takes datagrams."""
    return _names_udp(message.address)


def _names_udp(address: Any) -> bool:
    return bool(address.socket_address.protocol == _UDP)


def compile_address(message: Any, path: str, ctx: CompileContext, *, udp: bool = False) -> Address | None:
    """A `core.v3.Address` that names an IP or unix socket, of datagrams only with `udp`; problems go to `ctx`."""
    match message.WhichOneof("address"):
        case "socket_address":
            if message.socket_address.protocol == _UDP and not udp:
                ctx.problem(f"{path}.socket_address.protocol", "UDP is not supported here")
            return _compile_ip(message.socket_address, f"{path}.socket_address", ctx)
        case "pipe":
            where = message.pipe.path
            if not where:
                ctx.problem(f"{path}.pipe.path", "value length must be at least 1 characters")
                return None
            if len(where.encode()) > _PATH_BYTES:
                ctx.problem(f"{path}.pipe.path", f"longer than the system's {_PATH_BYTES} bytes")
                return None
            return Address(path=where)
        case "envoy_internal_address":
            reason = "use internal_listener field instead of address for internal listeners"
            ctx.problem(f"{path}.envoy_internal_address", reason)
        case _:
            ctx.problem(path, "one of socket_address, pipe is required")
    return None


def _compile_ip(message: Any, path: str, ctx: CompileContext) -> Address | None:
    if message.resolver_name:
        ctx.problem(f"{path}.resolver_name", "custom resolvers are not supported")
    if message.network_namespace_filepath:
        ctx.problem(f"{path}.network_namespace_filepath", "network namespaces are not supported")
    match message.WhichOneof("port_specifier"):
        case "named_port":
            ctx.problem(f"{path}.named_port", "named ports are not supported: use port_value")
            return None
        case None:
            ctx.problem(path, "port_value is required")
            return None
    if message.port_value > 65535:
        ctx.problem(f"{path}.port_value", "value must be less than or equal to 65535")
        return None
    text = message.address
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        ctx.problem(f"{path}.address", f"malformed IP address: {text}")
        return None
    return Address(str(ip), message.port_value)


def _compile_one(
    listener: Any, message: Any, path: str, options: tuple[SocketOption, ...], ctx: CompileContext
) -> ListenAddress | None:
    address = compile_address(message, path, ctx, udp=is_udp(listener))
    if address is None:
        return None
    compat = not address.path and message.socket_address.ipv4_compat
    if compat and not _may_be_compat(address):
        ctx.problem(
            f"{path}.socket_address.ipv4_compat",
            f"only IPv6 address '::' or a valid IPv4-mapped IPv6 address can set ipv4_compat: {address}",
        )
    return ListenAddress(
        address=address,
        mode=message.pipe.mode if address.path else 0,
        ipv4_compat=compat,
        reuse_port=_reuse_port(listener),
        freebind=listener.freebind.value,
        transparent=listener.transparent.value,
        backlog=listener.tcp_backlog_size.value if listener.HasField("tcp_backlog_size") else DEFAULT_BACKLOG,
        fast_open_queue=listener.tcp_fast_open_queue_length.value,
        options=options,
        udp=is_udp(listener),
    )


def _reuse_port(listener: Any) -> bool:
    """On unless turned off; the deprecated `reuse_port` cannot turn it off, as in Envoy."""
    return bool(listener.enable_reuse_port.value) if listener.HasField("enable_reuse_port") else True


def _may_be_compat(address: Address) -> bool:
    ip = ipaddress.ip_address(address.ip)
    return isinstance(ip, ipaddress.IPv6Address) and (ip.is_unspecified or ip.ipv4_mapped is not None)


def compile_socket_options(
    messages: Any, path: str, ctx: CompileContext, *, udp: bool = False
) -> tuple[SocketOption, ...]:
    """Compile those of a list of `core.v3.SocketOption` that are for this kind of socket; problems go to `ctx`."""
    return tuple(
        _compile_option(message, f"{path}[{i}]", ctx)
        for i, message in enumerate(messages)
        if not _for_others_only(message, udp)
    )


def _for_others_only(message: Any, udp: bool) -> bool:
    wanted, other = ("datagram", "stream") if udp else ("stream", "datagram")
    return bool(message.type.HasField(other) and not message.type.HasField(wanted))


def _compile_option(message: Any, path: str, ctx: CompileContext) -> SocketOption:
    value: int | bytes = 0
    match message.WhichOneof("value"):
        case "int_value":
            if not -(2**31) <= message.int_value < 2**31:
                ctx.problem(f"{path}.int_value", "does not fit into 32 bits")
            value = int(message.int_value)
        case "buf_value":
            value = message.buf_value
        case _:
            ctx.problem(path, "one of int_value, buf_value is required")
    if not PREBIND <= message.state <= LISTENING:
        ctx.problem(f"{path}.state", "value must be one of the defined enum values")
    return SocketOption(message.level, message.name, value, message.state, message.description)
