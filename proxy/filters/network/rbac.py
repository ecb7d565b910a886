"""`envoy.filters.network.rbac`: allows or denies connections by addresses, server name and client certificate.

Envoy decides when the first byte comes. Here it is decided when the connection is complete, its TLS handshake
included: the same facts are known then, and nothing is said to a client that is denied.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from proxy.base.metadata import with_values
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.filters.rbac.engine import compile_engine
from proxy.filters.rbac.stats import DecisionStats, dotted
from proxy.filters.rbac.verdict import COMMON_NAMESPACE, HINT, Judge, Verdict

NAMESPACE: Final = "envoy.filters.network.rbac"
_CONTINUOUS: Final = 1


class RbacConfig(Struct, frozen=True):
    """`delay` is how many seconds a denied connection is held before it is closed."""

    stat_prefix: str
    shadow_prefix: str
    rules: Judge | None
    shadow_rules: Judge | None
    delay: float


class RbacFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`. Asked when the TLS handshake is over."""

    def __init__(self, config: RbacConfig, stats: DecisionStats) -> None:
        self._rules = config.rules
        self._shadow_rules = config.shadow_rules
        self._shadow_prefix = config.shadow_prefix
        self._stats = stats
        self.reject_delay = config.delay

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Judge by the shadow rules, which only count, then by the rules."""
        info = StreamInfo(connection, connection.start_time)
        if self._shadow_rules is not None:
            self._note_shadow(connection, self._shadow_rules(info))
        if self._rules is None:
            return True
        verdict = self._rules(info)
        self._stats.count(verdict)
        if verdict.hint is not None:
            connection.dynamic_metadata = with_values(
                connection.dynamic_metadata, COMMON_NAMESPACE, {HINT: verdict.hint}
            )
        if verdict.allowed:
            return True
        connection.termination_details = f"rbac_access_denied_matched_policy[{verdict.label}]"
        connection.local_close_reason = "rbac_deny_close"
        return False

    def _note_shadow(self, connection: ConnectionInfo, verdict: Verdict) -> None:
        self._stats.count_shadow(verdict)
        values = verdict.told(self._shadow_prefix, "shadow")
        connection.dynamic_metadata = with_values(connection.dynamic_metadata, NAMESPACE, values)


def _compile(message: Any, path: str, ctx: CompileContext) -> RbacConfig:
    if not message.stat_prefix:
        ctx.problem(f"{path}.stat_prefix", "value length must be at least 1 characters")
    if message.enforcement_type == _CONTINUOUS:
        ctx.problem(f"{path}.enforcement_type", "CONTINUOUS is not supported")
    return RbacConfig(
        message.stat_prefix,
        message.shadow_rules_stat_prefix,
        compile_engine(message, "rules", "matcher", path, ctx, http=False),
        compile_engine(message, "shadow_rules", "shadow_matcher", path, ctx, http=False),
        seconds(message, "delay_deny", 0.0),
    )


def _create(config: RbacConfig, services: WorkerServices, listener: ListenerFacts) -> RbacFilter:
    del listener
    prefix = f"{dotted(config.stat_prefix)}rbac."
    return RbacFilter(config, DecisionStats(services.stats, prefix, "", config.shadow_prefix))


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.rbac",
    type_name="envoy.extensions.filters.network.rbac.v3.RBAC",
    terminal=False,
    compile=_compile,
    create=_create,
    after_handshake=True,
)
