"""What a listener config may say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.listeners import (
    address,
    chain,
    compile_checked,
    compiled,
    direct_response,
    echo,
    listener,
    network_filter,
)


def test_one_chain_without_conditions_needs_no_choice() -> None:
    config = compiled(listener(chain(name="only")))
    assert config.only_chain is config.chains[0]
    assert config.only_chain.name == "only"


def test_only_a_default_chain_needs_no_choice() -> None:
    config = compiled({**listener(), "filter_chains": [], "default_filter_chain": chain(name="d")})
    assert config.only_chain is not None
    assert config.only_chain.name == "d"


def test_a_chain_with_conditions_is_chosen_by_the_index() -> None:
    config = compiled(listener(chain(filter_chain_match={"destination_port": 1})))
    assert config.only_chain is None
    assert config.index.default is None


def test_defaults_are_those_of_envoy() -> None:
    config = compiled(listener())
    assert config.buffer_limit == 1024 * 1024
    assert config.bind_to_port
    assert not config.ignore_global_limit
    assert config.limit_key == "envoy.resource_limits.listener.ingress.connection_limit"


@pytest.mark.parametrize(
    ("fields", "prefix"),
    [
        ({}, "listener.10.0.0.1_8000."),
        ({"address": address("::1", 80)}, "listener.[__1]_80."),
        ({"address": {"pipe": {"path": "/run/a.sock"}}}, "listener./run/a.sock."),
        ({"address": {"pipe": {"path": "@abstract"}}}, "listener.@abstract."),
        ({"stat_prefix": "web:1"}, "listener.web_1."),
    ],
)
def test_stats_are_named_after_the_address_or_the_prefix(fields: dict[str, Any], prefix: str) -> None:
    assert compiled(listener(**fields)).stat_prefix == prefix


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            {"filter_chains": []},
            "filter_chains: error adding listener '10.0.0.1:8000': no filter chains specified",
        ),
        (
            {"filter_chains": [chain(name="a"), chain(name="b")]},
            "filter_chains[1].filter_chain_match: filter chain 'b' has the same matching rules defined as 'a'",
        ),
        (
            {
                "filter_chains": [
                    chain(filter_chain_match={"server_names": ["x.com", "y.com"]}),
                    chain(filter_chain_match={"server_names": ["y.com"]}),
                ]
            },
            (
                "filter_chains[1].filter_chain_match: multiple filter chains with overlapping matching rules are "
                "defined: number 1 matches what number 0 matches"
            ),
        ),
        (
            {"filter_chains": [chain(filter_chain_match={"address_suffix": "1"})]},
            "filter_chains[0].filter_chain_match: address_suffix and suffix_len are not implemented",
        ),
        (
            {"filter_chains": [chain(echo(), direct_response("x"))]},
            (
                "filter_chains[0].filters[0]: terminal filter named echo of type envoy.filters.network.echo "
                "must be the last filter in a network filter chain"
            ),
        ),
        (
            {
                "filter_chains": [
                    chain(
                        network_filter(
                            "connection_limit.v3.ConnectionLimit", stat_prefix="x", max_connections=1
                        )
                    )
                ]
            },
            (
                "filter_chains[0].filters[0]: non-terminal filter named connection_limit of type "
                "envoy.filters.network.connection_limit is the last filter in a network filter chain"
            ),
        ),
        (
            {"filter_chains": [chain({"name": "envoy.filters.network.echo"})]},
            (
                "filter_chains[0].filters[0].typed_config: a typed_config is required (name "
                "'envoy.filters.network.echo')"
            ),
        ),
        (
            {
                "filter_chains": [
                    chain(echo(), transport_socket={"name": "x", "typed_config": echo()["typed_config"]})
                ]
            },
            (
                "filter_chains[0].transport_socket.typed_config: envoy.extensions.filters.network.echo.v3.Echo is "
                "not a downstream transport socket"
            ),
        ),
        ({"connection_balance_config": {}}, "connection_balance_config: only exact_balance is supported"),
    ],
)
def test_what_envoy_refuses_is_refused(config: dict[str, Any], problem: str) -> None:
    _, problems = compile_checked({**listener(), **config})
    assert problems == [f"listener.{problem}"]


def test_every_problem_is_named_at_once() -> None:
    _, problems = compile_checked(
        listener(
            chain(filter_chain_match={"server_names": ["*a.com"]}),
            chain({"name": "x"}, filter_chain_match={"destination_port": 2}),
            address=address("nowhere"),
        )
    )
    assert len(problems) == 3


def test_a_chain_without_filters_is_accepted() -> None:
    config = compiled({**listener(), "filter_chains": [{}]})
    assert config.chains[0].filters == ()
