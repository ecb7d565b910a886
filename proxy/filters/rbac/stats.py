"""What RBAC filters count: decisions, and with `track_per_rule_stats` those of each policy."""

from __future__ import annotations

from proxy.base.stats import StatGroup, StatRegistry
from proxy.filters.rbac.verdict import Verdict


class RbacStats(StatGroup):
    """`<stat_prefix>.rbac.<rules_stat_prefix>.*`."""

    COUNTERS = ("allowed", "denied")

    allowed: int
    denied: int


class ShadowStats(StatGroup):
    """`<stat_prefix>.rbac.<shadow_rules_stat_prefix>.*`."""

    COUNTERS = ("shadow_allowed", "shadow_denied")

    shadow_allowed: int
    shadow_denied: int


class PolicyStats(StatGroup):
    """`<prefix of the rules>.policy.*`: a counter for each policy and outcome, from the first on, as in Envoy."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._counts: dict[tuple[str, str], int] = {}

    def count(self, policy: str, outcome: str) -> None:
        """Count one decision by the policy of that name."""
        key = (policy, outcome)
        self._counts[key] = self._counts.get(key, 0) + 1

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {
            f"{self.prefix}{_shown(policy)}.{outcome}": number
            for (policy, outcome), number in self._counts.items()
        }


class DecisionStats:
    """The counters of one filter; `prefix` ends with "rbac."."""

    def __init__(self, registry: StatRegistry, prefix: str, rules_prefix: str, shadow_prefix: str) -> None:
        of_rules = prefix + dotted(rules_prefix)
        of_shadow = prefix + dotted(shadow_prefix)
        self._rules = registry.shared(RbacStats, of_rules)
        self._shadow = registry.shared(ShadowStats, of_shadow)
        self._policies = registry.shared(PolicyStats, f"{of_rules}policy.")
        self._shadow_policies = registry.shared(PolicyStats, f"{of_shadow}policy.")

    def count(self, verdict: Verdict, *, of_policy: bool = False) -> None:
        """Count what the rules said, also for the policy that decided if `of_policy`."""
        if verdict.allowed:
            self._rules.allowed += 1
        else:
            self._rules.denied += 1
        if of_policy and verdict.policy:
            self._policies.count(verdict.policy, verdict.result)

    def count_shadow(self, verdict: Verdict, *, of_policy: bool = False) -> None:
        """The same of the shadow rules."""
        if verdict.allowed:
            self._shadow.shadow_allowed += 1
        else:
            self._shadow.shadow_denied += 1
        if of_policy and verdict.policy:
            self._shadow_policies.count(verdict.policy, f"shadow_{verdict.result}")


def dotted(prefix: str) -> str:
    """As it stands in the middle of a name."""
    return prefix if not prefix or prefix.endswith(".") else prefix + "."


def _shown(text: str) -> str:
    """Wire text as names of counters show it."""
    return text if text.isascii() else text.encode("latin-1").decode(errors="replace")
