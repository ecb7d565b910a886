"""Compiles one filter chain: its network filters, its transport socket, its place in the match."""

from __future__ import annotations

from typing import Any

import xxhash
from msgspec import Struct

from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.filters.api import NetworkFilterFactory
from proxy.filters.discovered import NETWORK, DiscoveredFilter, compile_discovered
from proxy.filters.registry import network_filter

RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
STARTTLS = "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig"
DOWNSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


class NetworkFilterConfig(Struct, frozen=True):
    """A filter to be made, with its compiled config."""

    factory: NetworkFilterFactory
    config: Any


NetworkFilter = NetworkFilterConfig | DiscoveredFilter


class FilterChain(Struct, frozen=True, eq=False):
    """One chain. `number` is its place in `ListenerConfig.chains`.

    The connections of a chain without `filters` are closed at once, as in Envoy.
    `tls` is a `proxy.connection.tls.DownstreamTlsConfig`, or None for plain text.
    `connect_timeout` bounds the TLS handshake in seconds; 0 means that the config sets none. `fingerprint` is equal
    for equal messages.
    """

    number: int
    name: str
    filters: tuple[NetworkFilter, ...]
    tls: Any = None
    connect_timeout: float = 0.0
    metadata: Any = None
    fingerprint: bytes = b""


def compile_filter_chain(message: Any, number: int, path: str, ctx: CompileContext) -> FilterChain:
    """A `listener.v3.FilterChain`."""
    last = len(message.filters) - 1
    filters = [
        _compile_filter(one, f"{path}.filters[{i}]", i == last, ctx) for i, one in enumerate(message.filters)
    ]
    known = [one for one in filters if one is not None]
    if len(known) == len(filters):
        _check_order(message.filters, known, path, ctx)
    return FilterChain(
        number=number,
        name=message.name,
        filters=tuple(known),
        tls=_compile_transport_socket(message, path, ctx),
        connect_timeout=seconds(message, "transport_socket_connect_timeout", 0.0),
        metadata=message.metadata if message.HasField("metadata") else None,
        fingerprint=fingerprint(message),
    )


def fingerprint(message: Any) -> bytes:
    """16 bytes that are equal for equal messages, and for no others."""
    return xxhash.xxh3_128_digest(message.SerializeToString(deterministic=True))


def default_fingerprint(message: Any) -> bytes:
    """That of a default chain: as in Envoy, one that becomes one of the others has ended."""
    return b"default" + fingerprint(message)


def chains_ended(before: Any, after: Any) -> int:
    """How many filter chains one `listener.v3.Listener` has that its next version does not."""
    return len(_fingerprints(before) - _fingerprints(after))


def _fingerprints(message: Any) -> set[bytes]:
    found = set(map(fingerprint, message.filter_chains))
    if message.HasField("default_filter_chain"):
        found.add(default_fingerprint(message.default_filter_chain))
    return found


def _compile_filter(message: Any, path: str, last: bool, ctx: CompileContext) -> NetworkFilter | None:
    if message.WhichOneof("config_type") == "config_discovery":
        return compile_discovered(NETWORK, message, path, last, ctx)
    unpacked = unpack_extension(message, path, ctx)
    if unpacked is None:
        return None
    type_name = unpacked.DESCRIPTOR.full_name
    factory = network_filter(type_name)
    if factory is None:
        ctx.problem(f"{path}.typed_config", f"{type_name} is not a network filter")
        return None
    return NetworkFilterConfig(factory, factory.compile(unpacked, f"{path}.typed_config", ctx))


def _check_order(messages: Any, filters: list[NetworkFilter], path: str, ctx: CompileContext) -> None:
    """Envoy's rule: the last filter is terminal and no other is."""
    last = len(filters) - 1
    for i, one in enumerate(filters):
        if isinstance(one, DiscoveredFilter):
            continue  # checked with its config
        at = f"{path}.filters[{i}]"
        called = f"filter named {messages[i].name} of type {one.factory.name}"
        if one.factory.terminal and i != last:
            ctx.problem(
                at,
                f"terminal {called} must be the last filter in a network filter chain",
            )
        elif i == last and not one.factory.terminal:
            ctx.problem(
                at,
                f"non-terminal {called} is the last filter in a network filter chain",
            )


def _compile_transport_socket(message: Any, path: str, ctx: CompileContext) -> Any:
    if not message.HasField("transport_socket"):
        return None
    at = f"{path}.transport_socket"
    unpacked = unpack_extension(message.transport_socket, at, ctx)
    if unpacked is None:
        return None
    match unpacked.DESCRIPTOR.full_name:
        case name if name == RAW_BUFFER:
            return None
        case name if name == DOWNSTREAM_TLS:
            from proxy.connection.tls import compile_downstream_tls  # costs memory that plain text need not

            return compile_downstream_tls(unpacked, f"{at}.typed_config", ctx)
        case name if name == STARTTLS:
            from proxy.connection.tls import compile_downstream_tls

            # For its problems only: no filter here starts TLS, so the connection stays in clear text.
            compile_downstream_tls(unpacked.tls_socket_config, f"{at}.typed_config.tls_socket_config", ctx)
        case name:
            ctx.problem(f"{at}.typed_config", f"{name} is not a downstream transport socket")
    return None
