"""`envoy.filters.network.rbac`: allows or denies connections by addresses, server name and client certificate.

Envoy decides when the first byte comes. Here it is decided when the connection is complete, its TLS handshake
included: the same facts are known then, and nothing is said to a client that is denied.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.filters.network.rbac_rules import LOG, Rules, compile_rules, with_values

NAMESPACE: Final = "envoy.filters.network.rbac"
_CONTINUOUS: Final = 1


class RbacConfig(Struct, frozen=True):
    """`delay` is how many seconds a denied connection is held before it is closed."""

    stat_prefix: str
    shadow_prefix: str
    rules: Rules | None
    shadow_rules: Rules | None
    delay: float


class RbacStats(StatGroup):
    """`<stat_prefix>.rbac.*`."""

    COUNTERS = ("allowed", "denied")

    allowed: int
    denied: int


class ShadowStats(StatGroup):
    """`<stat_prefix>.rbac.<shadow_rules_stat_prefix>.*`."""

    COUNTERS = ("shadow_allowed", "shadow_denied")

    shadow_allowed: int
    shadow_denied: int


class RbacFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`. Asked when the TLS handshake is over."""

    def __init__(self, config: RbacConfig, stats: RbacStats, shadow_stats: ShadowStats) -> None:
        self._rules = config.rules
        self._shadow_rules = config.shadow_rules
        self._shadow_prefix = config.shadow_prefix
        self._stats = stats
        self._shadow_stats = shadow_stats
        self.reject_delay = config.delay

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Judge by the shadow rules, which only count, then by the rules."""
        if self._shadow_rules is not None:
            self._note_shadow(connection, self._shadow_rules)
        rules = self._rules
        if rules is None:
            return True
        allowed, policy, matched = rules.judge(connection)
        if rules.action == LOG:
            connection.dynamic_metadata = with_values(
                connection.dynamic_metadata, "envoy.common", {"access_log_hint": matched}
            )
        if allowed:
            self._stats.allowed += 1
            return True
        self._stats.denied += 1
        name = "_".join(policy.split()) if policy else "none"
        connection.termination_details = f"rbac_access_denied_matched_policy[{name}]"
        connection.local_close_reason = "rbac_deny_close"
        return False

    def _note_shadow(self, connection: ConnectionInfo, rules: Rules) -> None:
        allowed, policy, _ = rules.judge(connection)
        if allowed:
            self._shadow_stats.shadow_allowed += 1
        else:
            self._shadow_stats.shadow_denied += 1
        prefix = self._shadow_prefix
        values = {f"{prefix}shadow_engine_result": "allowed" if allowed else "denied"}
        if policy:
            values[f"{prefix}shadow_effective_policy_id"] = policy
        connection.dynamic_metadata = with_values(connection.dynamic_metadata, NAMESPACE, values)


def _compile(message: Any, path: str, ctx: CompileContext) -> RbacConfig:
    if not message.stat_prefix:
        ctx.problem(f"{path}.stat_prefix", "value length must be at least 1 characters")
    if message.enforcement_type == _CONTINUOUS:
        ctx.problem(f"{path}.enforcement_type", "CONTINUOUS is not supported")
    return RbacConfig(
        message.stat_prefix,
        message.shadow_rules_stat_prefix,
        _rules(message, "rules", path, ctx),
        _rules(message, "shadow_rules", path, ctx),
        seconds(message, "delay_deny", 0.0),
    )


def _rules(message: Any, name: str, path: str, ctx: CompileContext) -> Rules | None:
    if not message.HasField(name):
        return None
    return compile_rules(getattr(message, name), f"{path}.{name}", ctx)


def _create(config: RbacConfig, services: WorkerServices, listener: ListenerFacts) -> RbacFilter:
    del listener
    prefix = _dotted(config.stat_prefix) + "rbac."
    return RbacFilter(
        config,
        services.stats.shared(RbacStats, prefix),
        services.stats.shared(ShadowStats, prefix + _dotted(config.shadow_prefix)),
    )


def _dotted(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.rbac",
    type_name="envoy.extensions.filters.network.rbac.v3.RBAC",
    terminal=False,
    compile=_compile,
    create=_create,
    after_handshake=True,
)
