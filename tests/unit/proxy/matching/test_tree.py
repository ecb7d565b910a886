"""The matcher tree, on datagrams and the clusters of a UDP proxy."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from xds.type.matcher.v3.matcher_pb2 import Matcher

from proxy.config.context import CompileContext
from proxy.config.extensions import message_class
from proxy.matching.network_inputs import DATAGRAM_INPUTS
from proxy.matching.tree import MatcherKind, compile_matcher
from proxy.udp_proxy.config import DatagramEnds

INPUT = "envoy.extensions.matching.common_inputs.network.v3"
ROUTE = "envoy.extensions.filters.udp.udp_proxy.v3.Route"
Json = dict[str, Any]


def typed(type_name: str, **fields: Any) -> Json:
    message_class(type_name)  # json_format finds only what has been imported
    return {"name": "x", "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields}}


def reads(kind: str) -> Json:
    return typed(f"{INPUT}.{kind}")


def to(cluster: str, **fields: Any) -> Json:
    return {"action": typed(ROUTE, cluster=cluster), **fields}


def single(kind: str, **value_match: Any) -> Json:
    return {"single_predicate": {"input": reads(kind), "value_match": value_match}}


def rule(predicate: Json, on_match: Json) -> Json:
    return {"predicate": predicate, "on_match": on_match}


def listed(*rules: Json, **fields: Any) -> Json:
    return {"matcher_list": {"matchers": list(rules)}, **fields}


def compiled(matcher: Json) -> tuple[Any, list[str]]:
    context = CompileContext()
    kind: MatcherKind[DatagramEnds, str] = MatcherKind(
        DATAGRAM_INPUTS, lambda action, _path, _ctx: str(action.cluster)
    )
    found = compile_matcher(json_format.ParseDict(matcher, Matcher()), "matcher", context, kind)
    return found, [str(problem) for problem in context.problems]


def found(matcher: Json, source: str = "10.1.2.3", port: int = 53) -> str | None:
    find, problems = compiled(matcher)
    assert not problems
    result: str | None = find(DatagramEnds(source, 4000, "192.0.2.1", port))
    return result


def test_a_matcher_without_rules_gives_what_no_match_gives() -> None:
    assert found({"on_no_match": to("a")}) == "a"
    assert found({}) is None


def test_the_first_rule_that_holds_decides() -> None:
    rules = (
        rule(single("SourceIPInput", prefix="10.9."), to("never")),
        rule(single("DestinationPortInput", exact="53"), to("first")),
        rule(single("DestinationIPInput", exact="192.0.2.1"), to("second")),
    )
    assert found(listed(*rules, on_no_match=to("none"))) == "first"
    assert found(listed(*rules), port=54) == "second"
    assert found(listed(*rules[:2], on_no_match=to("none")), port=54) == "none"
    assert found(listed(rule(single("SourcePortInput", exact="4000"), to("port")))) == "port"


def test_predicates_combine() -> None:
    ten, dns = single("SourceIPInput", prefix="10."), single("DestinationPortInput", exact="53")
    both = {"and_matcher": {"predicate": [ten, dns]}}
    either = {"or_matcher": {"predicate": [ten, dns]}}
    assert found(listed(rule(both, to("a")))) == "a"
    assert found(listed(rule(both, to("a"))), port=54) is None
    assert found(listed(rule(either, to("a"))), port=54) == "a"
    assert found(listed(rule({"not_matcher": ten}, to("a")))) is None


def test_a_further_matcher_that_finds_nothing_lets_the_search_go_on() -> None:
    ten = single("SourceIPInput", prefix="10.")
    inner = listed(rule(single("DestinationPortInput", exact="1"), to("inner")))
    rules = (rule(ten, {"matcher": inner}), rule(ten, to("outer")))
    assert found(listed(*rules)) == "outer"
    assert found(listed(*rules), port=1) == "inner"


def test_an_action_is_passed_over_with_keep_matching() -> None:
    ten = single("SourceIPInput", prefix="10.")
    assert found(listed(rule(ten, to("a", keep_matching=True)), rule(ten, to("b")))) == "b"
    assert found({"on_no_match": to("a", keep_matching=True)}) is None


def test_values_are_looked_up() -> None:
    exact = {"input": reads("SourceIPInput"), "exact_match_map": {"map": {"10.1.2.3": to("a")}}}
    assert found({"matcher_tree": exact, "on_no_match": to("b")}) == "a"
    assert found({"matcher_tree": exact, "on_no_match": to("b")}, source="10.1.2.4") == "b"


def test_the_longest_prefix_is_asked_first_and_then_the_shorter_ones() -> None:
    nothing = {"matcher": listed(rule(single("DestinationPortInput", exact="1"), to("inner")))}
    prefixes = {"10.": to("wide"), "10.1.": nothing, "10.2.": to("narrow")}
    tree = {"matcher_tree": {"input": reads("SourceIPInput"), "prefix_match_map": {"map": prefixes}}}
    assert found(tree) == "wide"
    assert found(tree, port=1) == "inner"
    assert found(tree, source="10.2.0.1") == "narrow"
    assert found(tree, source="1.1.1.1") is None


def test_a_share_of_the_values_is_chosen_by_their_hashes() -> None:
    def matcher(**fields: Any) -> Json:
        share = typed(
            "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing", **fields
        )
        return listed(
            rule({"single_predicate": {"input": reads("SourceIPInput"), "custom_match": share}}, to("a"))
        )

    sources = [f"10.0.0.{i}" for i in range(200)]
    chosen = [one for one in sources if found(matcher(threshold=75, modulo=100, seed=1), source=one)]
    assert 25 <= len(chosen) <= 75
    assert chosen != [one for one in sources if found(matcher(threshold=75, modulo=100), source=one)]
    assert found(matcher(modulo=1)) == "a"
    assert found(matcher(threshold=5, modulo=5)) is None
    assert compiled(matcher(threshold=2, modulo=1))[1] == [
        (
            "matcher.matcher_list.matchers[0].predicate.single_predicate.custom_match.typed_config.threshold: "
            "threshold (2) cannot be greater than modulo (1)"
        )
    ]


@pytest.mark.parametrize(
    ("matcher", "problem"),
    [
        (
            listed(
                rule({"single_predicate": {"input": typed(ROUTE), "value_match": {"exact": "x"}}}, to("a"))
            ),
            f"single_predicate.input.typed_config: {ROUTE} is no input here",
        ),
        (listed(rule({}, to("a"))), "predicate: one of single_predicate"),
        (
            listed(rule(single("SourceIPInput", exact="x"), {})),
            "on_match: one of matcher, action is required",
        ),
        (
            {"matcher_tree": {"input": reads("SourceIPInput"), "custom_match": typed(ROUTE)}},
            f"custom_match.typed_config: {ROUTE} is not supported here: it may be xds.type.matcher.v3.IPMatcher",
        ),
        ({"matcher_tree": {"input": reads("SourceIPInput")}}, "matcher_tree: one of exact_match_map"),
        (
            listed(rule({"single_predicate": {"value_match": {"exact": "x"}}}, to("a"))),
            "single_predicate.input.typed_config: a typed_config is required",
        ),
    ],
)
def test_what_cannot_be_is_named(matcher: Json, problem: str) -> None:
    assert problem in "\n".join(compiled(matcher)[1])
