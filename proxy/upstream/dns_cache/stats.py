"""`dns_cache.<name>.*`, under the names of Envoy."""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stats import StatGroup


class DnsCacheStats(StatGroup):
    """What a cache asks for, learns and holds."""

    COUNTERS: ClassVar = (
        "cache_load",
        "dns_address_filter_out",
        "dns_query_attempt",
        "dns_query_failure",
        "dns_query_success",
        "dns_query_timeout",
        "dns_rq_pending_overflow",
        "host_added",
        "host_address_changed",
        "host_overflow",
        "host_removed",
    )
    GAUGES: ClassVar = ("num_hosts",)

    cache_load: int
    dns_address_filter_out: int
    dns_query_attempt: int
    dns_query_failure: int
    dns_query_success: int
    dns_query_timeout: int
    dns_rq_pending_overflow: int
    host_added: int
    host_address_changed: int
    host_overflow: int
    host_removed: int
    num_hosts: int
