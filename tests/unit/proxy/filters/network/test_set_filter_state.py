"""The filters that note something about a connection: set_filter_state, sni_cluster, tcp_cluster_rewrite."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2, struct_pb2
from udpa.type.v1 import typed_struct_pb2

from proxy.base.address import Address
from proxy.base.stream_info import ONCE, TRANSITIVE, ConnectionInfo, DrainState
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.extensions import message_class
from proxy.filters.api import ListenerFacts
from proxy.filters.network import tcp_cluster_rewrite
from tests.support.listeners import chain, compile_checked, compiled, echo, listener, network_filter, services

FACTS = ListenerFacts("l", "a", "listener.l.")
CLUSTER = "envoy.tcp_proxy.cluster"


def connection(server_name: str = "", **state: Any) -> ConnectionInfo:
    result = ConnectionInfo(1, Address("10.1.2.3", 5), Address("10.0.0.1", 80), 0.0, DrainState())
    result.requested_server_name = server_name
    result.filter_state = state
    return result


def passed(one: dict[str, Any], through: ConnectionInfo) -> dict[str, Any]:
    """The filter state after the filter has let the connection pass."""
    gate = compiled(listener(chain(one, echo()))).chains[0].filters[0]
    assert gate.factory.create(gate.config, services(), FACTS).on_new_connection(through)
    return dict(through.filter_state)


def value(key: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"object_key": key, "format_string": {"text_format_source": {"inline_string": text}}, **fields}


def state(*values: dict[str, Any]) -> dict[str, Any]:
    return network_filter("set_filter_state.v3.Config", on_new_connection=list(values))


def test_objects_are_made_from_formats_in_order() -> None:
    found = passed(
        state(
            value(CLUSTER, "c-%DOWNSTREAM_LOCAL_PORT%"),
            value("mine", "[%FILTER_STATE(envoy.tcp_proxy.cluster:PLAIN)%]", factory_key="envoy.string"),
        ),
        connection(),
    )
    assert found == {CLUSTER: "c-80", "mine": "[c-80]"}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("1.2.3.4:80", Address("1.2.3.4", 80)),
        ("[::1]:80", Address("::1", 80)),
        ("::1:80", None),
        ("1.2.3.4", None),
        ("1.2.3.4:99999", None),
        ("name:80", None),
    ],
)
def test_an_address_that_is_none_is_passed_over(text: str, made: Address | None) -> None:
    key = "envoy.network.transport_socket.original_dst_address"
    assert passed(state(value(key, text)), connection()).get(key) == made


def test_empty_values_may_be_skipped() -> None:
    nothing = value("envoy.string", "%REQUESTED_SERVER_NAME%", skip_if_empty=True)
    nothing["format_string"]["omit_empty_values"] = True
    assert passed(state(nothing), connection()) == {}
    nothing["skip_if_empty"] = False
    assert passed(state(nothing), connection()) == {"envoy.string": ""}


def test_unknown_objects_are_refused() -> None:
    config = listener(chain(state(value("x", "y"), value("x", "y", factory_key="z")), echo()))
    _, problems = compile_checked(config)
    assert ["does not have an object factory" in problem for problem in problems] == [True, True]


def test_the_server_name_is_the_cluster() -> None:
    sni_cluster = network_filter("sni_cluster.v3.SniCluster")
    assert passed(sni_cluster, connection("a.b")) == {CLUSTER: "a.b"}
    assert passed(sni_cluster, connection("", other=1)) == {"other": 1}


def rewrite(pattern: str, replacement: str) -> dict[str, Any]:
    message_class(tcp_cluster_rewrite.FACTORY.type_name)
    return {
        "name": "rewrite",
        "typed_config": {
            "@type": f"type.googleapis.com/{tcp_cluster_rewrite.FACTORY.type_name}",
            "cluster_pattern": pattern,
            "cluster_replacement": replacement,
        },
    }


@pytest.mark.parametrize(
    ("pattern", "replacement", "name", "result"),
    [
        (r"\.cluster2\.global$", ".cluster.local", "a.cluster2.global", "a.cluster.local"),
        (r"\.global", ".local", "a.global.global", "a.local.local"),
        (r"^([^.]+)\.(.*)$", "$2.$1$$$&$9", "a.b.c", "b.c.a$a.b.c"),
        ("x", "y", "a", "a"),
        ("", "y", "a", "a"),
    ],
)
def test_the_cluster_is_rewritten(pattern: str, replacement: str, name: str, result: str) -> None:
    assert passed(rewrite(pattern, replacement), connection(**{CLUSTER: name})) == {CLUSTER: result}


def test_there_is_nothing_to_rewrite_without_a_cluster() -> None:
    assert passed(rewrite("a", "b"), connection("a")) == {}


def test_a_bad_pattern_is_refused() -> None:
    _, problems = compile_checked(listener(chain(rewrite("(", ""), echo())))
    assert "cluster_pattern" in problems[0]


def test_the_rewrite_may_come_in_a_typed_struct() -> None:
    fields = struct_pb2.Struct()
    fields.update({"cluster_pattern": "a", "cluster_replacement": "b"})
    message = any_pb2.Any()
    message.Pack(
        typed_struct_pb2.TypedStruct(type_url=f"x/{tcp_cluster_rewrite.FACTORY.type_name}", value=fields)
    )
    unpacked = unpack(message, "p", CompileContext())
    assert unpacked is not None
    assert (unpacked.cluster_pattern, unpacked.cluster_replacement) == ("a", "b")


def test_objects_may_be_shared_with_the_upstream() -> None:
    through = connection()
    shared = value("a", "1", factory_key="envoy.string", shared_with_upstream="ONCE")
    further = value("b", "2", factory_key="envoy.string", shared_with_upstream="TRANSITIVE")
    own = value("c", "3", factory_key="envoy.string")
    passed(state(shared, further, own), through)
    assert through.state_sharing == {"a": ONCE, "b": TRANSITIVE}
    assert through.shared_state() == {"a": "1", "b": "2"}
