from __future__ import annotations

from proxy.filters.http.ext_authz import ClusterStats, ExtAuthzStats


def test_stats_are_named_as_in_envoy() -> None:
    assert set(ClusterStats("cluster.a.ext_authz.").counters()) == {
        f"cluster.a.ext_authz.{name}" for name in ("denied", "error", "failure_mode_allowed", "ok")
    }
    assert "http.in.ext_authz.disabled" in ExtAuthzStats("http.in.ext_authz.").counters()
