from __future__ import annotations

from typing import Any

import pytest

from proxy.base.messages import RequestHead
from proxy.base.runtime import Runtime
from proxy.router.cluster_action import ClusterAction
from proxy.router.cluster_choice import ClusterChoice
from tests.unit.proxy.router.tables import one, problems_of, request, route_of, stream, table


def action_of(route: dict[str, Any], **options: Any) -> ClusterAction:
    found = route_of(table(one({"prefix": "/"}, route=route), **options), request())
    assert found is not None
    assert isinstance(found.action, ClusterAction)
    return found.action


def choose(action: ClusterAction, head: RequestHead | None = None, draw: int = 0) -> ClusterChoice:
    return action.choose(head or request(), stream(), lambda: draw)


def weighted(*clusters: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"weighted_clusters": {"clusters": list(clusters), **fields}}


_A = {"name": "a", "weight": 10}
_B = {"name": "b", "weight": 20}


def test_a_single_cluster_needs_no_draw() -> None:
    action = action_of({"cluster": "c"})
    assert action.single is not None
    assert choose(action) is action.single
    assert action.single.cluster_name == "c"


@pytest.mark.parametrize(
    ("fields", "name"), [([("X-C".lower(), "n")], "n"), ([("x-c", "n"), ("x-c", "m")], "n"), ([], "")]
)
def test_a_header_names_the_cluster(fields: list[tuple[str, str]], name: str) -> None:
    action = action_of({"cluster_header": "X-C"})
    assert action.single is None
    assert choose(action, request("/", *fields)).cluster_name == name


def test_weights_divide_the_draws_and_wrap() -> None:
    action = action_of(weighted(_A, {"name": "none", "weight": 0}, _B))
    names = [choose(action, draw=draw).cluster_name for draw in (0, 9, 10, 29, 30, 40)]
    assert names == ["a", "a", "b", "b", "a", "b"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (["10"], "b"),
        (["39"], "a"),
        ([], "a"),
        (["10", "10"], "a"),
        (["x"], "a"),
        (["-10"], "a"),
        (["18446744073709551616"], "a"),
    ],
)
def test_a_header_may_carry_the_draw(values: list[str], name: str) -> None:
    action = action_of(weighted(_A, _B, header_name="X-R"))
    head = request("/", *(("x-r", value) for value in values))
    assert choose(action, head).cluster_name == name


def test_weights_come_from_the_runtime() -> None:
    runtime = Runtime()
    action = action_of(weighted(_A, _B, runtime_key_prefix="p"), runtime=runtime)
    assert choose(action, draw=5).cluster_name == "a"
    runtime.replace({"p.a": "0"})
    assert choose(action, draw=5).cluster_name == "b"
    runtime.replace({"p.a": "0", "p.b": "0"})
    assert choose(action, draw=5).cluster_name == "a"


def test_the_hash_policy_may_replace_the_draw() -> None:
    route = {**weighted(_A, _B, use_hash_policy=True), "hash_policy": [{"header": {"header_name": "k"}}]}
    action = action_of(route)
    by_key = {key: choose(action, request("/", ("k", key)), draw=3).cluster_name for key in "abcdefgh"}
    assert set(by_key.values()) == {"a", "b"}
    assert all(
        choose(action, request("/", ("k", key)), draw=17).cluster_name == name for key, name in by_key.items()
    )
    assert choose(action, request(), draw=3).cluster_name == "a"


def test_a_weighted_cluster_has_its_own_headers_host_metadata_and_filters() -> None:
    disabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    entry = {
        **_A,
        "host_rewrite_literal": "n",
        "request_headers_to_add": [{"header": {"key": "x-w", "value": "1"}}],
        "metadata_match": {"filter_metadata": {"envoy.lb": {"b": "2"}}},
        "typed_per_filter_config": {"f": disabled},
    }
    parent = {"metadata_match": {"filter_metadata": {"envoy.lb": {"a": "1", "b": "1"}, "other": {}}}}
    choice = choose(action_of({**weighted(entry), **parent}))
    head = request()
    for operation in choice.request_ops:
        operation.apply(head, stream())
    assert head.headers["x-w"] == "1"
    assert choice.host_rewrite == "n"
    assert choice.metadata_match == {"a": "1", "b": "2"}
    assert choice.per_filter_config is not None
    assert choice.per_filter_config["f"].disabled


def test_a_weighted_entry_may_take_its_name_from_a_header() -> None:
    action = action_of(weighted({"cluster_header": "X-C", "weight": 1}))
    assert choose(action, request("/", ("x-c", "n"))).cluster_name == "n"
    assert choose(action, request()).cluster_name == ""


@pytest.mark.parametrize(
    ("route", "path"),
    [
        (weighted({"name": "a", "weight": 0}), "weighted_clusters"),
        (weighted({"name": "a", "weight": 1}, {"name": "b"}), "weighted_clusters.clusters[1].weight"),
        (weighted({"weight": 1}), "weighted_clusters.clusters[0]"),
        (weighted({"name": "a", "cluster_header": "x", "weight": 1}), "weighted_clusters.clusters[0]"),
        (weighted({"name": "a", "weight": 4294967295}, _B), "weighted_clusters"),
        ({}, None),
        ({"cluster_specifier_plugin": "p"}, "cluster_specifier_plugin"),
        ({"inline_cluster_specifier_plugin": {}}, "inline_cluster_specifier_plugin"),
    ],
)
def test_refused_cluster_specifiers(route: dict[str, Any], path: str | None) -> None:
    base = "virtual_hosts[0].routes[0].route"
    found = problems_of(one({"prefix": "/"}, route=route))
    assert [problem for problem, _ in found] == [f"{base}.{path}" if path else base]
