"""`envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig` compiled."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.regex import wire_text
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.connection.sockets import make_transparent
from proxy.filters.udp import datagram_limit
from proxy.matching.network_inputs import DATAGRAM_INPUTS
from proxy.matching.tree import MatcherKind, compile_matcher

_DEFAULT_IDLE_TIMEOUT: Final = 60.0


class DatagramEnds(Struct):
    """Where a datagram came from and where to, for matchers."""

    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int


class UdpProxyConfig(Struct, frozen=True):
    """The config of one filter. Times are seconds.

    Either `cluster` is set, or `route` gives the name of a cluster for a datagram, or None. `cluster_names` are all
    that it can give. `hash` makes a host hash of a client's IP. Answers of more than `max_answer_size` bytes are
    dropped. `log_interval` is 0.0 for none. The logs are those of `proxy.access_log.compile`.
    """

    stat_prefix: str
    cluster: str
    route: Callable[[DatagramEnds], str | None] | None
    cluster_names: tuple[str, ...]
    idle_timeout: float
    use_original_src_ip: bool
    per_packet: bool
    hash: Callable[[str], int] | None
    max_answer_size: int
    access_logs: tuple[Any, ...]
    proxy_access_logs: tuple[Any, ...]
    log_interval: float


def compile_udp_proxy(message: Any, path: str, ctx: CompileContext) -> UdpProxyConfig:
    """Compile the message of a filter; problems go to `ctx`."""
    names: list[str] = [message.cluster] if message.cluster else []
    route = None
    if message.HasField("matcher"):

        def name_of(action: Any, at: str, context: CompileContext) -> str | None:
            if action.DESCRIPTOR.full_name != "envoy.extensions.filters.udp.udp_proxy.v3.Route":
                context.problem(at, f"{action.DESCRIPTOR.full_name} is not the Route of a UDP proxy")
                return None
            names.append(action.cluster)
            return str(action.cluster)

        kind: MatcherKind[DatagramEnds, str] = MatcherKind(DATAGRAM_INPUTS, name_of, domains=False)
        route = compile_matcher(message.matcher, f"{path}.matcher", ctx, kind)
    if message.use_original_src_ip and not _may_be_transparent():
        ctx.problem(
            f"{path}.use_original_src_ip",
            "the kernel refuses IP_TRANSPARENT: it needs CAP_NET_ADMIN",
        )
    return UdpProxyConfig(
        stat_prefix=message.stat_prefix,
        cluster=message.cluster,
        route=route,
        cluster_names=tuple(dict.fromkeys(names)),
        idle_timeout=seconds(message, "idle_timeout", _DEFAULT_IDLE_TIMEOUT),
        use_original_src_ip=message.use_original_src_ip,
        per_packet=message.use_per_packet_load_balancing,
        hash=_hash(message.hash_policies[0]) if message.hash_policies else None,
        max_answer_size=datagram_limit(message.upstream_socket_config, prefer_gro=True),
        access_logs=_logs(message.access_log, f"{path}.access_log", ctx),
        proxy_access_logs=_logs(message.proxy_access_log, f"{path}.proxy_access_log", ctx),
        log_interval=seconds(message.access_log_options, "access_log_flush_interval", 0.0),
    )


def _logs(messages: Any, path: str, ctx: CompileContext) -> tuple[Any, ...]:
    if not messages:
        return ()
    from proxy.access_log.compile import compile_access_logs  # many filters have none

    return compile_access_logs(messages, path, ctx)


def _hash(message: Any) -> Callable[[str], int] | None:
    import xxhash  # few filters need it

    match message.WhichOneof("policy_specifier"):
        case "source_ip":
            return lambda ip: xxhash.xxh64_intdigest(ip.encode("latin-1"))
        case "key":
            number = xxhash.xxh64_intdigest(wire_text(message.key).encode("latin-1"))
            return lambda _ip: number
        case _:
            return None


def _may_be_transparent() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            make_transparent(one)
        except OSError:
            return False
    return True
