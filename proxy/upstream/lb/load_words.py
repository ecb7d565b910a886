"""What changed about where the requests of a cluster go, in words for the event log."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.priority_load import PriorityLoads


def load_changes(
    before: PriorityLoads, after: PriorityLoads, sets: Sequence[HostSet], threshold: int
) -> list[tuple[str, str]]:
    """(what, why) of each priority that entered or left panic, and of a failover; `sets` are those of `after`.

    Nothing where the number of priorities is another: then the configuration has changed, and not their health.
    """
    if len(before.panic) != len(after.panic):
        return []
    told = []
    for priority, (was, is_now) in enumerate(zip(before.panic, after.panic, strict=True)):
        if was != is_now:
            hosts = sets[priority]
            counted = len(hosts.hosts) - len(hosts.excluded)
            state = f"priority {priority}: {len(hosts.healthy)} of {counted} hosts healthy"
            told.append(
                (
                    "panic_entered",
                    f"{state}, healthy_panic_threshold is {threshold} %; all of them get requests",
                )
                if is_now
                else ("panic_left", f"{state}; these alone get requests")
            )
    then, now = _shares(before), _shares(after)
    if len(now) > 1 and now != then and after.panic == before.panic:
        told.append(("failover", f"priorities get {_listed(now)} of the requests, before {_listed(then)}"))
    return told


def _shares(loads: PriorityLoads) -> list[int]:
    return [healthy + degraded for healthy, degraded in zip(loads.healthy, loads.degraded, strict=True)]


def _listed(shares: Sequence[int]) -> str:
    return ", ".join(f"{share} %" for share in shares)
