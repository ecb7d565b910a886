"""Where responses count besides the cluster's codes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.base.stats import StatRegistry
from proxy.router.response_stats import INTERNAL_CHARGES, charges_for
from proxy.upstream.cluster_stats import ClusterStats


def route(stat_prefix: str = "") -> Any:
    return SimpleNamespace(virtual_host=SimpleNamespace(name="host"), stat_prefix=stat_prefix)


def changed(registry: StatRegistry) -> dict[str, int]:
    counters: dict[str, int] = {}
    for group in registry.groups():
        counters.update(group.counters())
    return {name: value for name, value in counters.items() if value}


def test_most_requests_count_nowhere_else() -> None:
    assert charges_for(StatRegistry(), route(), None, "c", "", internal=False) is None
    assert charges_for(StatRegistry(), route(), None, "c", "", internal=True) is INTERNAL_CHARGES


def test_virtual_clusters_and_routes() -> None:
    registry, stats = StatRegistry(), ClusterStats("c")
    for _ in range(2):
        charges = charges_for(registry, route("r"), "v", "c", "", internal=False)
        assert charges is not None
        assert charges.virtual_cluster == "v"
        charges.begin()
        charges.count(stats, 200)
        last = charges
    last.time_out()
    names = {"upstream_rq_total": 2, "upstream_rq_200": 2, "upstream_rq_2xx": 2, "upstream_rq_completed": 2}
    for prefix in ("vhost.host.vcluster.v.", "vhost.host.route.r."):
        found = {
            name.removeprefix(prefix): n for name, n in changed(registry).items() if name.startswith(prefix)
        }
        assert found == {**names, "upstream_rq_timeout": 1}
    assert stats.internal_codes is None


def test_other_is_counted_but_not_named() -> None:
    charges = charges_for(StatRegistry(), route(), "other", "c", "", internal=False)
    assert charges is not None
    assert charges.virtual_cluster is None


def test_an_alternative_name_knows_internal_and_external() -> None:
    registry, stats = StatRegistry(), ClusterStats("a:b")
    for internal in (True, False):
        charges = charges_for(registry, route(), None, "a:b", "alt", internal=internal)
        assert charges is not None
        charges.count(stats, 404)
    found = changed(registry)
    assert found["cluster.a_b.alt.upstream_rq_404"] == 2
    assert found["cluster.a_b.alt.internal.upstream_rq_404"] == 1
    assert found["cluster.a_b.alt.external.upstream_rq_404"] == 1
    assert stats.internal_codes == {404: 1}


def test_a_response_can_be_taken_back() -> None:
    stats = ClusterStats("c")
    INTERNAL_CHARGES.count(stats, 302)
    INTERNAL_CHARGES.count(stats, 302, -1)
    assert "cluster.c.internal.upstream_rq_302" not in stats.counters()


def test_codes_may_be_hidden_from_the_cluster_itself() -> None:
    registry, stats = StatRegistry(), ClusterStats("c")
    charges = charges_for(registry, route("r"), None, "c", "alt", internal=False, hides_codes=True)
    assert charges is not None
    stats.codes[200] += 2
    charges.count(stats, 200)
    counters = stats.counters()
    assert counters["cluster.c.upstream_rq_completed"] == 2
    assert counters["cluster.c.upstream_rq_200"] == 1
    assert counters["cluster.c.external.upstream_rq_200"] == 2
    found = changed(registry)
    assert found["vhost.host.route.r.upstream_rq_200"] == 1
    assert found["cluster.c.alt.upstream_rq_completed"] == 1
    assert "cluster.c.alt.upstream_rq_200" not in found
    assert found["cluster.c.alt.external.upstream_rq_200"] == 1


def test_a_hidden_code_leaves_no_name() -> None:
    stats = ClusterStats("c")
    charges = charges_for(StatRegistry(), route(), None, "c", "", internal=False, hides_codes=True)
    assert charges is not None
    stats.codes[503] += 1
    charges.count(stats, 503)
    assert not any(name.endswith(("c.upstream_rq_503", "c.upstream_rq_5xx")) for name in stats.counters())
