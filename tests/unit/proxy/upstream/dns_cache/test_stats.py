"""The numbers of a DNS cache."""

from proxy.upstream.dns_cache.stats import DnsCacheStats


def test_names_are_envoys():
    stats = DnsCacheStats("dns_cache.c.")
    assert set(stats.counters()) == {
        f"dns_cache.c.{name}"
        for name in (
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
    }
    assert stats.gauges() == {"dns_cache.c.num_hosts": 0}
