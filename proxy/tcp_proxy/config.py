"""`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy` compiled."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from msgspec import Struct, field

from proxy.base.regex import wire_text
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.tcp_proxy.on_demand import OnDemandConfig, compile_on_demand
from proxy.tcp_proxy.tunnel_config import TunnelConfig, compile_tunnel

#: A name in `ConnectionInfo.filter_state`: the cluster of this connection (a str) instead of the configured one.
CLUSTER_KEY: Final = "envoy.tcp_proxy.cluster"
#: The same for the idle timeout, in milliseconds.
IDLE_TIMEOUT_KEY: Final = "envoy.tcp_proxy.per_connection_idle_timeout_ms"

_DEFAULT_IDLE_TIMEOUT: Final = 3600.0
#: `UpstreamConnectMode`
_IMMEDIATE, _ON_DATA = 0, 1

Hash = Callable[[ConnectionInfo], int | None]


class WeightedNames(Struct, frozen=True):
    """Cluster names, and for each the sum of the weights up to and including its own."""

    names: tuple[str, ...]
    bounds: tuple[int, ...]

    def pick(self, number: int) -> str:
        """The name for a draw from 0 to 2**64-1."""
        return self.names[bisect_right(self.bounds, number % self.bounds[-1])]


class TcpProxyConfig(Struct, frozen=True):
    """The config of one filter. Times are seconds, 0.0 for none.

    Either `cluster` or `weighted` is set. `max_duration_jitter` is a fraction of `max_duration` that may be added
    to it. `access_logs` are those of `proxy.access_log.compile`. `backoff` is (base, limit) of the wait between two
    attempts, None for no wait. `early_limit` is how many bytes are taken of a client before there is a host, None
    for no limit but the listener's; with `waits_for_data` no host is looked for before there are any.
    `tlvs` are types with what gives the value, for a header of the PROXY protocol. `on_demand` says where to
    ask for a cluster that is unknown, None for nowhere. `metadata_match` has what is asked of the hosts of a
    cluster with subsets (`envoy.lb` as JSON values), by the name of the cluster.
    """

    stat_prefix: str
    cluster: str
    weighted: WeightedNames | None
    idle_timeout: float
    max_attempts: int
    max_duration: float
    max_duration_jitter: float
    access_logs: tuple[Any, ...]
    log_interval: float
    logs_connected: bool
    hash: Hash | None
    tunnel: TunnelConfig | None
    backoff: tuple[float, float] | None
    early_limit: int | None
    waits_for_data: bool
    tlvs: tuple[tuple[int, Callable[[StreamInfo], bytes]], ...]
    on_demand: OnDemandConfig | None
    metadata_match: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def cluster_for(self, connection: ConnectionInfo, draw: Callable[[], int]) -> str:
        """The name of the cluster of one connection; weighted clusters cannot be overridden, as in Envoy."""
        if self.weighted is not None:
            return self.weighted.pick(draw())
        return str(connection.filter_state.get(CLUSTER_KEY) or self.cluster)

    def idle_timeout_for(self, connection: ConnectionInfo) -> float:
        """The idle timeout of one connection."""
        own = connection.filter_state.get(IDLE_TIMEOUT_KEY)
        return self.idle_timeout if own is None else int(own) / 1000


def compile_tcp_proxy(message: Any, path: str, ctx: CompileContext) -> TcpProxyConfig:
    """Compile the message of a filter; problems go to `ctx`."""
    access_logs: tuple[Any, ...] = ()
    if message.access_log:
        from proxy.access_log.compile import compile_access_logs  # many filters have none

        access_logs = compile_access_logs(message.access_log, f"{path}.access_log", ctx)
    options = message.access_log_options
    old_way = not message.HasField("access_log_options")
    source = message if old_way else options
    return TcpProxyConfig(
        stat_prefix=message.stat_prefix,
        cluster=message.cluster,
        weighted=_weighted(message.weighted_clusters) if message.HasField("weighted_clusters") else None,
        idle_timeout=seconds(message, "idle_timeout", _DEFAULT_IDLE_TIMEOUT),
        max_attempts=message.max_connect_attempts.value if message.HasField("max_connect_attempts") else 1,
        max_duration=seconds(message, "max_downstream_connection_duration", 0.0),
        max_duration_jitter=message.max_downstream_connection_duration_jitter_percentage.value / 100,
        access_logs=access_logs,
        log_interval=seconds(source, "access_log_flush_interval", 0.0),
        logs_connected=source.flush_access_log_on_connected,
        hash=_hash(message.hash_policy[0]) if message.hash_policy else None,
        tunnel=compile_tunnel(message.tunneling_config, f"{path}.tunneling_config", ctx)
        if message.HasField("tunneling_config")
        else None,
        backoff=_backoff(message.backoff_options, f"{path}.backoff_options", ctx)
        if message.HasField("backoff_options")
        else None,
        early_limit=_early_limit(message, path, ctx),
        # Without one, a listener's TLS handshake is over before a filter hears of the connection.
        waits_for_data=message.upstream_connect_mode == _ON_DATA,
        tlvs=_tlvs(message.proxy_protocol_tlvs, f"{path}.proxy_protocol_tlvs", ctx),
        on_demand=compile_on_demand(message.on_demand, f"{path}.on_demand", ctx)
        if message.HasField("on_demand")
        else None,
        metadata_match=_metadata_match(message, path, ctx),
    )


def _metadata_match(message: Any, path: str, ctx: CompileContext) -> dict[str, Mapping[str, Any]]:
    own = _criteria(message)
    found = {message.cluster: own} if message.cluster else {}
    for index, entry in enumerate(message.weighted_clusters.clusters):
        criteria = {**own, **_criteria(entry)}
        if found.setdefault(entry.name, criteria) != criteria:
            reason = "a cluster that is listed twice must have the same metadata_match"
            ctx.problem(f"{path}.weighted_clusters.clusters[{index}].metadata_match", reason)
    return {name: criteria for name, criteria in found.items() if criteria}


def _criteria(message: Any) -> dict[str, Any]:
    metadata = message.metadata_match.filter_metadata
    return dict(MessageToDict(metadata["envoy.lb"])) if "envoy.lb" in metadata else {}


def _tlvs(
    entries: Any, path: str, ctx: CompileContext
) -> tuple[tuple[int, Callable[[StreamInfo], bytes]], ...]:
    """Constant ones first, as Envoy sends them."""
    constant: list[tuple[int, Callable[[StreamInfo], bytes]]] = []
    rendered: list[tuple[int, Callable[[StreamInfo], bytes]]] = []
    for index, entry in enumerate(entries):
        if bool(entry.value) == entry.HasField("format_string"):
            reason = "Invalid TLV configuration: only one of 'value' or 'format_string' may be set."
            ctx.problem(f"{path}[{index}]", reason)
        elif entry.value:
            constant.append((entry.type & 255, _giving(entry.value)))
        else:
            rendered.append((entry.type & 255, _rendering(entry.format_string, f"{path}[{index}]", ctx)))
    return (*constant, *rendered)


def _giving(value: bytes) -> Callable[[StreamInfo], bytes]:
    return lambda _info: value


def _rendering(message: Any, path: str, ctx: CompileContext) -> Callable[[StreamInfo], bytes]:
    from proxy.formatter.body_format import compile_substitution  # few filters need it

    text = compile_substitution(message, f"{path}.format_string", ctx)
    return lambda info: text.render(info).encode("latin-1")


def _backoff(message: Any, path: str, ctx: CompileContext) -> tuple[float, float]:
    base = seconds(message, "base_interval", 0.0)
    limit = seconds(message, "max_interval", base * 10)
    if limit < base:
        ctx.problem(
            f"{path}.max_interval", "max_backoff_interval must be greater or equal to base_backoff_interval"
        )
    return base, limit


def _early_limit(message: Any, path: str, ctx: CompileContext) -> int | None:
    if message.HasField("max_early_data_bytes"):
        return int(message.max_early_data_bytes.value)
    if message.upstream_connect_mode != _IMMEDIATE:
        reason = "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE"
        ctx.problem(f"{path}.max_early_data_bytes", reason)
    return None


def _weighted(message: Any) -> WeightedNames | None:
    if not message.clusters or not all(entry.weight for entry in message.clusters):
        return None  # the check of the message has said so
    return WeightedNames(
        tuple(entry.name for entry in message.clusters),
        tuple(accumulate(entry.weight for entry in message.clusters)),
    )


def _hash(message: Any) -> Hash | None:
    import xxhash  # few filters need it

    def hash_text(text: str) -> int:
        return xxhash.xxh64_intdigest(text.encode("latin-1"))

    match message.WhichOneof("policy_specifier"):
        case "source_ip":
            return lambda connection: hash_text(connection.remote_address.ip)
        case "filter_state":
            key = message.filter_state.key

            def of_state(connection: ConnectionInfo) -> int | None:
                value = connection.filter_state.get(key)
                return None if value is None else hash_text(wire_text(str(value)))

            return of_state
        case _:
            return None
