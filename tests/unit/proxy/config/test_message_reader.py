from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_components_pb2

from proxy.config.message_reader import read_json_value, reader_for
from proxy.config.positions import path_of
from proxy.config.yaml_source import compose


def read(message: Any, text: str) -> list[str]:
    found = reader_for(message.DESCRIPTOR)(message, compose(text, ""), 0)
    return [f"{path_of(reversed(fault.path))}: {fault.reason}" for fault in found or ()]


def cluster(text: str) -> Any:
    message = cluster_pb2.Cluster()
    assert read(message, text) == []
    return message


def test_both_spellings_of_a_field() -> None:
    assert cluster("altStatName: x").alt_stat_name == "x"
    assert cluster("alt_stat_name: x").alt_stat_name == "x"


def test_a_single_value_for_a_list() -> None:
    route = route_components_pb2.Route()
    assert read(route, "request_headers_to_remove: a") == []
    assert list(route.request_headers_to_remove) == ["a"]


def test_a_list_in_a_list_is_flattened() -> None:
    route = route_components_pb2.Route()
    assert read(route, "request_headers_to_remove: [a, [b, [c]]]") == []
    assert list(route.request_headers_to_remove) == ["a", "b", "c"]


def test_null_leaves_a_field_unset() -> None:
    message = cluster("{name: ~, connect_timeout: null, metadata: null, type: null}")
    assert message == cluster_pb2.Cluster()


def test_the_last_of_a_double_key_counts_and_the_other_is_not_read() -> None:
    message = cluster_pb2.Cluster()
    assert read(message, "lb_policy: bogus\nname: a\nlb_policy: random") == [
        "lb_policy: this key stands again further down; only the last one counts"
    ]
    assert message.lb_policy == cluster_pb2.Cluster.RANDOM


def test_a_key_tagged_ignore_is_passed_over() -> None:
    assert cluster("!ignore anything: 5\nname: a").name == "a"


def test_an_unknown_field_is_named_with_a_guess() -> None:
    assert read(cluster_pb2.Cluster(), "lb_polcy: random") == [
        "lb_polcy: unknown field 'lb_polcy' in envoy.config.cluster.v3.Cluster; did you mean 'lb_policy'?"
    ]


def test_merge_keys_are_refused() -> None:
    assert "merge keys" in read(cluster_pb2.Cluster(), "<<: {name: a}")[0]


def test_every_fault_is_found_with_its_path() -> None:
    message = bootstrap_pb2.Bootstrap()
    found = read(
        message, "static_resources: {clusters: [{name: 5}, {connect_timeout: [1s]}], bogus: 1}\nadmin: x"
    )
    assert [one.partition(": ")[0] for one in found] == [
        "static_resources.clusters[0].name",
        "static_resources.clusters[1].connect_timeout",
        "static_resources.bogus",
        "admin",
    ]


def test_two_members_of_a_oneof_are_refused() -> None:
    found = read(cluster_pb2.Cluster(), "type: STATIC\ncluster_type: {name: x}")
    assert found == [
        "cluster_type: only one of the fields of 'cluster_discovery_type' may be set, and 'type' is set already"
    ]


def test_map_keys_keep_their_text() -> None:
    message = cluster("metadata: {filter_metadata: {a.b: {x: 1}, 5: {}, true: {}}}")
    assert sorted(message.metadata.filter_metadata) == ["5", "a.b", "true"]


def test_a_fault_in_a_map_names_the_key() -> None:
    found = read(cluster_pb2.Cluster(), "metadata: {filter_metadata: {a.b: 5}}")
    assert found == ["metadata.filter_metadata['a.b']: expected a mapping, found '5'"]


def test_nesting_out_of_bounds_is_a_fault() -> None:
    text = "metadata: {filter_metadata: {a: {b: " + "[" * 150 + "]" * 150 + "}}}"
    assert "levels deep" in read(cluster_pb2.Cluster(), text)[0]


@pytest.mark.parametrize("value", [{"name": "a", "lb_policy": "RANDOM", "connect_timeout": "1s"}])
def test_json_values_are_read_like_text(value: dict[str, Any]) -> None:
    message = cluster_pb2.Cluster()
    assert read_json_value(message, value) is None
    assert message == cluster("{name: a, lb_policy: random, connect_timeout: 1s}")
