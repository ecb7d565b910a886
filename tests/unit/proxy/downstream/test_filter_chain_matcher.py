"""Filter chains that a matcher tree names; what trees find is held against Envoy by the differential tests."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.config.extensions import message_class
from proxy.downstream.listener import ListenerConfig
from tests.support.listeners import chain, compile_checked, compiled, listener

INPUT = "envoy.extensions.matching.common_inputs"
Json = dict[str, Any]


def typed(type_name: str, **fields: Any) -> Json:
    message_class(type_name)  # json_format finds only what has been imported
    return {"name": "x", "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields}}


def to(name: str) -> Json:
    return {"action": typed("google.protobuf.StringValue", value=name)}


def by(kind: str, **entries: Json) -> Json:
    return {"matcher_tree": {"input": typed(f"{INPUT}.{kind}"), "exact_match_map": {"map": entries}}}


def by_port(**entries: Json) -> Json:
    return by("network.v3.DestinationPortInput", **entries)


def chosen(config: ListenerConfig, port: int = 80) -> str | None:
    info = ConnectionInfo(1, Address("192.0.2.7", 40000), Address("10.0.0.1", port), 0.0, DrainState())
    found = config.index.match(info)
    return None if found is None else found.name


def test_the_chain_that_the_tree_names_serves_whatever_the_chains_match() -> None:
    match = {"destination_port": 1}
    chains = (chain(name="a", filter_chain_match=match), chain(name="b", filter_chain_match=match))
    config = compiled(listener(*chains, filter_chain_matcher=by_port(**{"80": to("a"), "81": to("b")})))
    assert (chosen(config), chosen(config, 81), chosen(config, 82)) == ("a", "b", None)


def test_no_match_is_the_default_chains_and_a_name_without_chain_is_nobodys() -> None:
    tree = by_port(**{"80": to("nobody"), "81": to("default")})
    config = compiled(
        listener(chain(name="a"), default_filter_chain=chain(name="default"), filter_chain_matcher=tree)
    )
    assert (chosen(config), chosen(config, 81), chosen(config, 82)) == (None, None, "default")


def test_what_only_a_handshake_tells_leads_to_the_default_chain() -> None:
    tree = {**by("ssl.v3.UriSanInput", x=to("a")), "on_no_match": to("a")}
    config = compiled(
        listener(chain(name="a"), default_filter_chain=chain(name="default"), filter_chain_matcher=tree)
    )
    assert chosen(config) == "default"


def test_a_name_is_passed_over_with_keep_matching() -> None:
    tree = {**by_port(**{"80": {**to("a"), "keep_matching": True}}), "on_no_match": to("b")}
    config = compiled(
        listener(chain(name="a"), chain(name="b", filter_chain_match={}), filter_chain_matcher=tree)
    )
    assert chosen(config) == "b"


def test_a_single_chain_is_looked_up_too() -> None:
    config = compiled(listener(chain(name="a"), filter_chain_matcher=by_port(**{"80": to("a")})))
    assert config.only_chain is None
    assert chosen(config, 81) is None


def test_listeners_that_differ_in_their_matcher_alone_have_the_same_frame() -> None:
    one, other = (
        compiled(listener(chain(name="a"), filter_chain_matcher={"on_no_match": to(name)})) for name in "ab"
    )
    assert one.frame == other.frame
    assert (chosen(one), chosen(other)) == ("a", None)


@pytest.mark.parametrize(
    ("chains", "tree", "problem"),
    [
        ([chain()], {}, "filter_chains[0].name: a name is required when using a listener matcher"),
        (
            [chain(name="a"), chain(name="a")],
            {},
            "filter_chains[1].name: the name is duplicated: 'a'",
        ),
        (
            [chain(name="a")],
            {"on_no_match": {"action": typed(f"{INPUT}.network.v3.SourceIPInput")}},
            (
                f"filter_chain_matcher.on_no_match.action.typed_config: {INPUT}.network.v3.SourceIPInput is not "
                "supported here, expected google.protobuf.StringValue"
            ),
        ),
    ],
)
def test_what_envoy_refuses_is_refused(chains: list[Json], tree: Json, problem: str) -> None:
    _, problems = compile_checked(listener(*chains, filter_chain_matcher=tree))
    assert problems == [f"listener.{problem}"]


def test_a_match_that_does_not_count_is_told_of() -> None:
    from envoy.config.listener.v3 import listener_pb2
    from google.protobuf import json_format

    from proxy.downstream.listener import compile_listener

    one = chain(name="a", filter_chain_match={"destination_port": 1})
    context = CompileContext()
    message = json_format.ParseDict(listener(one, filter_chain_matcher={}), listener_pb2.Listener())
    compile_listener(message, "listener", context)
    assert [str(warning) for warning in context.warnings] == [
        "listener.filter_chains[0].filter_chain_match: ignored: the listener has a filter_chain_matcher"
    ]
