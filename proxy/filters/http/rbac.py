"""`envoy.filters.http.rbac`: allows or denies requests by what they ask for and whom they come from.

Source: envoy.extensions.filters.http.rbac.v3 and Envoy's documentation of the filter. Shadow rules only count, and
tell in dynamic metadata what they would have done. The config of the most specific level of the route counts, as a
whole; the counters are those of the filter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.base.metadata import with_values
from proxy.base.services import WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.rbac.engine import compile_engine
from proxy.filters.rbac.stats import DecisionStats
from proxy.filters.rbac.verdict import COMMON_NAMESPACE, HINT, Judge, Verdict

#: Under which namespace a decision is told, whatever the filter is called.
NAMESPACE: Final = "envoy.filters.http.rbac"

_ALLOWED: Final = Verdict(True, "")


class RbacConfig(Struct, frozen=True):
    """Of the filter, or of a route. Without `rules` everything is allowed.

    `told` keeps what is told of a pair of verdicts, by the prefixes of its keys: as many as there are policies.
    """

    rules: Judge | None = None
    shadow_rules: Judge | None = None
    rules_prefix: str = ""
    shadow_prefix: str = ""
    counts_policies: bool = False
    told: dict[tuple[str, str, Verdict | None, Verdict | None], dict[str, Any]] = {}

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self.rules is None and self.shadow_rules is None


class RbacFilter(HttpFilter):
    """One request, which may have been judged."""

    leaves_requests = True

    def __init__(self, callbacks: StreamCallbacks, owner: Rbac, verdict: Verdict | None = None) -> None:
        super().__init__(callbacks)
        self._owner = owner
        self._verdict = verdict

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        verdict = self._verdict or self._owner.decide(self.callbacks, self.name)
        if verdict.allowed:
            return FilterStatus.CONTINUE
        self.callbacks.local_reply(
            403, "RBAC: access denied", f"rbac_access_denied_matched_policy[{verdict.label}]"
        )
        return FilterStatus.STOP


class Rbac:
    """Decides for the filters of one configuration; a `GatedMaker`."""

    def __init__(self, config: RbacConfig, stats: DecisionStats) -> None:
        self._config = config
        self._stats = stats

    def __call__(self, callbacks: StreamCallbacks) -> HttpFilter:
        """See `GatedMaker`."""
        return RbacFilter(callbacks, self)

    def gate(self, callbacks: StreamCallbacks, name: str) -> Callable[[StreamCallbacks], HttpFilter] | None:
        """See `GatedMaker`."""
        verdict = self.decide(callbacks, name)
        return None if verdict.allowed else lambda callbacks: RbacFilter(callbacks, self, verdict)

    def decide(self, callbacks: StreamCallbacks, name: str) -> Verdict:
        """Judge a request, count it, and note in its metadata what came of it."""
        config: RbacConfig = callbacks.route_config(name) or self._config
        rules, shadow_rules = config.rules, config.shadow_rules
        if rules is None and shadow_rules is None:
            return _ALLOWED
        info = callbacks.info
        info.route = callbacks.route
        shadow = verdict = None
        if shadow_rules is not None:
            shadow = shadow_rules(info)
            self._stats.count_shadow(shadow, of_policy=config.counts_policies)
        if rules is not None:
            verdict = rules(info)
            self._stats.count(verdict, of_policy=config.counts_policies)
        self._tell(info, config, verdict, shadow)
        return verdict or _ALLOWED

    def _tell(
        self, info: StreamInfo, config: RbacConfig, verdict: Verdict | None, shadow: Verdict | None
    ) -> None:
        rules_prefix = config.rules_prefix or self._config.rules_prefix
        shadow_prefix = config.shadow_prefix or self._config.shadow_prefix
        key = (rules_prefix, shadow_prefix, verdict, shadow)
        told = config.told.get(key)
        if told is None:
            told = config.told[key] = {
                **({} if shadow is None else shadow.told(shadow_prefix, "shadow")),
                **({} if verdict is None else verdict.told(rules_prefix, "enforced")),
            }
        known = info.dynamic_metadata
        metadata = with_values(known, NAMESPACE, told) if known else {NAMESPACE: told}
        if verdict is not None and verdict.hint is not None:
            metadata = with_values(metadata, COMMON_NAMESPACE, {HINT: verdict.hint})
        info.dynamic_metadata = metadata


def _compile(message: Any, path: str, ctx: CompileContext) -> RbacConfig:
    return RbacConfig(
        compile_engine(message, "rules", "matcher", path, ctx, http=True),
        compile_engine(message, "shadow_rules", "shadow_matcher", path, ctx, http=True),
        message.rules_stat_prefix,
        message.shadow_rules_stat_prefix,
        message.track_per_rule_stats,
    )


def _compile_route(message: Any, path: str, ctx: CompileContext) -> RbacConfig:
    return _compile(message.rbac, f"{path}.rbac", ctx) if message.HasField("rbac") else RbacConfig()


def _create(config: RbacConfig, services: WorkerServices, stat_prefix: str) -> Rbac:
    stats = DecisionStats(services.stats, f"{stat_prefix}rbac.", config.rules_prefix, config.shadow_prefix)
    return Rbac(config, stats)


FACTORY = HttpFilterFactory(
    name=NAMESPACE,
    type_name="envoy.extensions.filters.http.rbac.v3.RBAC",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
    idle=lambda config: config.idle,
)
