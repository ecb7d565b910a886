"""Filter chain matching; the table is held against real Envoy by the differential tests."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3 import listener_components_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.downstream.filter_chain_match import FilterChainIndex
from tests.support.filter_chain_cases import CASES, Case, Match, compile_chains, describe, ranges


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_each_connection_gets_its_chain(case: Case) -> None:
    index, overlaps = compile_chains(case.chains)
    assert not overlaps
    assert [index.match(describe(arrival)) for arrival, _ in case.arrivals] == [
        expected for _, expected in case.arrivals
    ]


def test_a_unix_socket_is_local_and_matches_catch_all_ranges_only() -> None:
    index, _ = compile_chains(
        {
            "port": {"destination_port": 80},
            "range": {"prefix_ranges": ranges("10.0.0.0/8")},
            "local": {"source_type": "SAME_IP_OR_LOOPBACK"},
        }
    )
    info = ConnectionInfo(1, Address(path="@"), Address(path="/run/a.sock"), 0.0, DrainState())
    assert index.match(info) == "local"


def test_overlapping_chains_are_found_even_when_they_are_not_equal() -> None:
    _, overlaps = compile_chains(
        {"first": {"server_names": ["a.com", "b.com"]}, "second": {"server_names": ["B.com", "c.com"]}}
    )
    assert overlaps == ["second"]


@pytest.mark.parametrize(
    ("match", "path", "reason"),
    [
        ({"server_names": ["w*.a.com"]}, "match.server_names[0]", "partial wildcards are not supported"),
        (
            {"source_prefix_ranges": [{"address_prefix": "300.0.0.1"}]},
            "match.source_prefix_ranges[0].address_prefix",
            "malformed IP address: 300.0.0.1",
        ),
    ],
)
def test_a_bad_match_is_refused_by_field(match: Match, path: str, reason: str) -> None:
    ctx = CompileContext()
    message = json_format.ParseDict(match, listener_components_pb2.FilterChainMatch())
    FilterChainIndex[str]().add(message, "match", "x", ctx)
    assert [problem.path for problem in ctx.problems] == [path]
    assert reason in ctx.problems[0].reason
