from __future__ import annotations

import gc

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.base.errors import ConfigError, Problem
from proxy.config.loader import (
    MAX_PROBLEMS,
    LoadOptions,
    load_bootstrap,
    load_merged_bootstrap,
    load_resource,
)

CLUSTERS = "static_resources: {clusters: [%s]}"


def problems(
    source: str | bytes, origin: str = "envoy.yaml", options: LoadOptions | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(source, origin, options=options or LoadOptions())
    return [str(problem) for problem in caught.value.problems]


def test_a_misspelt_field_is_named_with_its_place_and_a_guess() -> None:
    assert problems("static_resources:\n  clusters:\n  - name: a\n    lb_polcy: RANDOM\n") == [
        (
            "envoy.yaml:4:5: static_resources.clusters[0].lb_polcy: unknown field 'lb_polcy' in "
            "envoy.config.cluster.v3.Cluster; did you mean 'lb_policy'?"
        )
    ]


def test_every_problem_is_reported_in_the_order_of_the_file() -> None:
    text = "node: {id: 5}\nstatic_resources:\n  clusters:\n  - {connect_timeout: 0s}\n"
    text += "  - {name: b, upstream_config: {}}\n"
    assert problems(text) == [
        'envoy.yaml:1:12: node.id: expected text, found the number 5; write it in quotes: "5"',
        "envoy.yaml:4:5: static_resources.clusters[0].name: must not be empty",
        "envoy.yaml:4:23: static_resources.clusters[0].connect_timeout: 0s must be greater than 0s",
        (
            "envoy.yaml:5:32: static_resources.clusters[1].upstream_config: is not supported "
            "(see docs/xds_support.md)"
        ),
    ]


def test_a_field_that_cannot_be_read_is_not_also_missing() -> None:
    assert len(problems(CLUSTERS % "{name: 5}")) == 1


def test_ten_thousand_problems_are_cut() -> None:
    found = problems(CLUSTERS % ", ".join(["{}"] * 1000))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "envoy.yaml: and 800 more problems"


def test_unknown_fields_may_be_allowed() -> None:
    options = LoadOptions(allow_unknown_fields=True)
    loaded = load_bootstrap(CLUSTERS % "{name: a, bogus: 1}", "envoy.yaml", options=options)
    assert [str(warning) for warning in loaded.warnings] == [
        (
            "envoy.yaml:1:41: static_resources.clusters[0].bogus: unknown field 'bogus' in "
            "envoy.config.cluster.v3.Cluster"
        )
    ]
    assert loaded.bootstrap.static_resources.clusters[0].name == "a"


def test_json() -> None:
    loaded = load_bootstrap('{\n\t"node": {"id": "a"}\n}', "envoy.json")
    assert loaded.bootstrap.node.id == "a"


def test_a_second_source_is_laid_over_the_first() -> None:
    loaded = load_merged_bootstrap(
        [
            ("node: {id: a, cluster: c}\nstatic_resources: {clusters: {name: x}}", "envoy.yaml"),
            ("node: {id: b}\nstatic_resources: {clusters: {name: other}}", "--config-yaml"),
        ]
    )
    assert (loaded.bootstrap.node.id, loaded.bootstrap.node.cluster) == ("b", "c")
    assert [cluster.name for cluster in loaded.bootstrap.static_resources.clusters] == ["x", "other"]


def test_a_problem_of_a_second_source_names_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_merged_bootstrap(
            [
                (CLUSTERS % "{name: x}", "envoy.yaml"),
                (CLUSTERS % "{name: other, upstream_config: {}}", "--config-yaml"),
            ]
        )
    assert str(caught.value).startswith(
        "--config-yaml:1:62: static_resources.clusters[1].upstream_config: is not"
    )


def test_protobuf_text_and_bytes() -> None:
    message = bootstrap_pb2.Bootstrap()
    message.node.id = "a"
    assert load_bootstrap(text_format.MessageToString(message), "x.pb_text").bootstrap == message
    assert load_bootstrap(message.SerializeToString(), "x.pb").bootstrap == message
    assert problems("node { idd: 1 }", "x.pb_text")[0].startswith("x.pb_text:1:")
    assert problems(b"\xff", "x.pb")


def test_any_resource_type() -> None:
    loaded = load_resource("{name: a}", "cluster.yaml", cluster_pb2.Cluster)
    assert loaded.message == cluster_pb2.Cluster(name="a")


@pytest.mark.parametrize("source", ["", "null", "# x", "[]", "x", "- a", "---\n---\n{}"])
def test_what_is_no_mapping_is_refused(source: str) -> None:
    assert problems(source)[0].startswith("envoy.yaml:1:")


def test_the_collector_is_left_as_it_was() -> None:
    load_bootstrap("{}", "x.yaml")
    assert gc.isenabled()
    problems("[")
    assert gc.isenabled()


def test_an_optional_filter_of_an_unknown_type_is_a_warning() -> None:
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
    text = (
        "static_resources: {listeners: [{address: {socket_address: {address: '::', port_value: 0}}, filter_chains: "
        f"{{filters: {{name: h, typed_config: {{'@type': {hcm}, stat_prefix: x, route_config: {{}}, http_filters: "
        f"{{name: lua, OPTIONAL typed_config: {{'@type': {lua}, inline_code: x}}}}}}}}}}}}]}}"
    )
    (warning,) = load_bootstrap(text.replace("OPTIONAL", "is_optional: true,"), "x.yaml").warnings
    assert "it is optional, so it is left out" in warning.reason
    (problem,) = problems(text.replace("OPTIONAL", ""))
    assert "extension type 'envoy.extensions.filters.http.lua.v3.Lua' is not supported" in problem


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]:,-&*!?|>'\"%@#\n\t a1~<", max_size=200)))
@example(b"{a: &a [*a]}")
@example("node: {id: " + "9" * 10_000 + "}")
@example("node: {metadata: {? {a: b} : c, ? [d] : e}}")
@example("static_resources: {clusters: {name: [a], config: {name: {}}, hosts: 5, tls_context: [1]}}")
def test_no_input_does_anything_but_load_or_say_where_it_is_wrong(source: str | bytes) -> None:
    found: tuple[Problem, ...] = ()
    try:
        load_bootstrap(source, "x.yaml")
    except ConfigError as error:
        found = error.problems
    assert all(problem.line and problem.column for problem in found)
