from __future__ import annotations

from tests.unit.proxy.router.tables import request, route_of, routes, table


def test_a_route_carries_what_logs_and_stats_need() -> None:
    entry = {
        "name": "r",
        "match": {"prefix": "/"},
        "route": {"cluster": "c"},
        "stat_prefix": "p",
        "metadata": {"filter_metadata": {"f": {"k": "v"}}},
    }
    route = route_of(table(routes(entry)), request())
    assert route is not None
    assert (route.name, route.stat_prefix, route.virtual_host.name) == ("r", "p", "v")
    assert route.metadata.filter_metadata["f"]["k"] == "v"
    assert route.body_buffer_limit is None


def test_a_route_knows_its_place_in_the_config() -> None:
    empty = {"name": "e", "domains": ["e"], "routes": []}
    config = routes(
        {"match": {"path": "/x"}, "route": {"cluster": "c"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}},
    )
    config["virtual_hosts"].insert(0, empty)
    route = route_of(table(config), request("/y"))
    assert route is not None
    assert route.why == "virtual_hosts[1].routes[1]"
