from __future__ import annotations

from typing import Any

import pytest

from proxy.router.cluster_action import ClusterAction
from tests.unit.proxy.router.tables import one, problems_of, request, route_of, routes, stream, table
from tests.unit.proxy.router.test_cluster_choice import action_of


def test_a_policy_says_where_how_often_and_how_the_copy_differs() -> None:
    (always, half) = action_of(
        {
            "cluster": "c",
            "request_mirror_policies": [
                {"cluster": "m"},
                {
                    "cluster_header": "X-M",
                    "runtime_fraction": {"default_value": {"numerator": 50}},
                    "disable_shadow_host_suffix_append": True,
                    "host_rewrite_literal": "n",
                    "request_headers_mutations": [
                        {"remove": "x-a"},
                        {"append": {"header": {"key": "x-a", "value": "new"}}},
                    ],
                },
            ],
        }
    ).mirrors
    assert (always.cluster, always.host_suffix, always.applies(lambda: 99)) == ("m", True, True)
    assert (half.cluster, half.cluster_header, half.host_suffix, half.host_rewrite) == ("", "x-m", False, "n")
    assert half.applies(lambda: 49)
    assert not half.applies(lambda: 50)
    head = request("/", ("x-a", "old"))
    for operation in half.request_ops:
        operation.apply(head, stream())
    assert head.headers["x-a"] == "new"


def test_the_most_specific_level_with_policies_counts() -> None:
    def mirrors(name: str) -> list[dict[str, Any]]:
        return [{"cluster": name}]

    config = routes(
        {"match": {"prefix": "/own"}, "route": {"cluster": "c", "request_mirror_policies": mirrors("route")}},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}},
        request_mirror_policies=mirrors("host"),
    )
    config["request_mirror_policies"] = mirrors("table")
    config["virtual_hosts"].append(
        {"name": "w", "domains": ["w"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}
    )
    compiled = table(config)

    def chosen(path: str, host: str) -> str:
        route = route_of(compiled, request(path, host=host))
        assert route is not None
        assert isinstance(route.action, ClusterAction)
        (policy,) = route.action.mirrors
        return policy.cluster

    assert [chosen("/own", "h"), chosen("/", "h"), chosen("/", "w")] == ["route", "host", "table"]


@pytest.mark.parametrize("policy", [{}, {"cluster": "c", "cluster_header": "x"}])
def test_a_policy_needs_exactly_one_cluster(policy: dict[str, str]) -> None:
    found = problems_of(one({"prefix": "/"}, route={"cluster": "c", "request_mirror_policies": [policy]}))
    assert [path for path, _ in found] == ["virtual_hosts[0].routes[0].route.request_mirror_policies[0]"]
