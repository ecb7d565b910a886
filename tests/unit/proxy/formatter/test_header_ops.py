from __future__ import annotations

from typing import Any

import pytest
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.config.context import CompileContext
from proxy.formatter.header_ops import compile_header_mutations, compile_header_ops
from tests.support.streams import cluster, context, stream

OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"


def option(key: str, value: str = "", action: str | None = None, **more: Any) -> HeaderValueOption:
    message: dict[str, Any] = {"header": {"key": key, "value": value}, **more}
    if action:
        message["append_action"] = action
    return json_format.ParseDict(message, HeaderValueOption())


def applied(
    add: list[HeaderValueOption], remove: list[str], fields: list[tuple[str, str]], **facts: Any
) -> list[tuple[str, str]]:
    ctx = context()
    ops = compile_header_ops(add, remove, "route", ctx, request=True)
    assert ctx.problems == []
    info = stream(fields, **facts)
    assert info.request is not None
    if ops is not None:
        ops.apply(info.request, info)
    return list(info.request.headers.fields())


@pytest.mark.parametrize(
    ("action", "present", "absent"),
    [
        ("APPEND_IF_EXISTS_OR_ADD", [("x-a", "old"), ("x-a", "new")], [("x-a", "new")]),
        ("ADD_IF_ABSENT", [("x-a", "old")], [("x-a", "new")]),
        (OVERWRITE, [("x-a", "new")], [("x-a", "new")]),
        ("OVERWRITE_IF_EXISTS", [("x-a", "new")], []),
    ],
)
@pytest.mark.parametrize("value", ["new", "%REQ(x-new)%"])
def test_each_action(action: str, present: list[Any], absent: list[Any], value: str) -> None:
    source = ("x-new", "new")
    assert applied([option("X-A", value, action)], [], [source, ("x-a", "old")]) == [source, *present]
    assert applied([option("X-A", value, action)], [], [source]) == [source, *absent]


def test_the_old_append_flag() -> None:
    assert applied([option("x-a", "n", append=False)], [], [("x-a", "o")]) == [("x-a", "n")]
    assert applied([option("x-a", "n", append=True)], [], [("x-a", "o")]) == [("x-a", "o"), ("x-a", "n")]


#: The whole as Envoy 1.40 sent it upstream.
def test_values_are_rendered_after_removals_and_before_any_change() -> None:
    add = [
        option("x-1", "a%REQ(none)%b"),
        option("x-2", "%REQ(none)%"),
        option("x-3", "%REQ(none)%", keep_empty_value=True),
        option("x-4", "100%%"),
        option("x-7", "1", "ADD_IF_ABSENT"),
        option("x-7", "2", "ADD_IF_ABSENT"),
        option("x-a", "over", OVERWRITE),
        option("x-a", "%REQ(x-a)%+app"),
        option("x-8", "n", "OVERWRITE_IF_EXISTS"),
        option("user-agent", "n", "OVERWRITE_IF_EXISTS"),
        option("x-forwarded-for", "9.9.9.9"),
        option("x-rm", "back"),
        option("x-12", "%REQ(x-rm)%|"),
        option("x-13", ""),
        option("x-14", "", keep_empty_value=True),
        option("x-15", "%UPSTREAM_CLUSTER%|%UPSTREAM_HOST%|%RESPONSE_FLAGS%|%ACCESS_LOG_TYPE%"),
        option("x-16", "é"),
        option("x-19", "%REQ(x-a)%", OVERWRITE),
    ]
    fields = [
        ("x-rm", "gone"),
        ("x-a", "h1"),
        ("x-a", "h2"),
        ("x-forwarded-for", "h1"),
        ("x-forwarded-for", "h2"),
        ("user-agent", "h1"),
    ]
    assert applied(add, ["X-Rm", "nope"], fields, upstream_cluster=cluster("c")) == [
        ("x-a", "over"),
        ("x-a", "h1+app"),
        ("x-forwarded-for", "h1,h2,9.9.9.9"),
        ("user-agent", "n"),
        ("x-19", "h1"),
        ("x-1", "ab"),
        ("x-3", ""),
        ("x-4", "100%"),
        ("x-7", "1"),
        ("x-7", "2"),
        ("x-rm", "back"),
        ("x-12", "|"),
        ("x-14", ""),
        ("x-15", "c||-|NotSet"),
        ("x-16", "\xc3\xa9"),
    ]


def test_response_fields_are_changed_from_response_values() -> None:
    info = stream([], [("via", "a"), ("etag", "e"), ("x-up", "u")])
    assert info.response is not None
    add = [
        option("x-y", "%RESP(x-up)%|%RESPONSE_CODE%"),
        option("via", "b"),
        option("x-s", "%RESP(:status)%"),
    ]
    ops = compile_header_ops(add, ["etag"], "", context(), request=False)
    assert ops is not None
    ops.apply(info.response, info)
    assert dict(info.response.headers) == {"via": "a,b", "x-up": "u", "x-y": "u|200", "x-s": "200"}


def test_values_are_read_from_the_head_that_is_changed() -> None:
    info = stream([("x-a", "other")], [("y-a", "other")])
    request, response = (
        RequestHead("GET", "/", "a", HeaderMap([("x-a", "own")])),
        ResponseHead(204, HeaderMap()),
    )
    held = info.request, info.response
    for head, value, is_request in ((request, "%REQ(x-a)%", True), (response, "%RESP(:status)%", False)):
        ops = compile_header_ops([option("x-b", value)], [], "p", context(), request=is_request)
        assert ops is not None
        ops.apply(head, info)
    assert (request.headers["x-b"], response.headers["x-b"]) == ("own", "204")
    assert (info.request, info.response) == held


def test_old_spellings_of_metadata_in_values() -> None:
    facts = {"dynamic_metadata": {"a": {"b": "v"}}, "filter_state": {"k": "state"}}
    add = [option("x-m", '%DYNAMIC_METADATA( ["a", "b"] )%'), option("x-s", "%PER_REQUEST_STATE(k)%")]
    assert applied(add, [], [], **facts) == [("x-m", "v"), ("x-s", "state")]


def test_nothing_to_do_is_none() -> None:
    assert compile_header_ops([], [], "p", context(), request=True) is None
    assert compile_header_mutations([], "p", context(), request=True) is None


@pytest.mark.parametrize(
    ("values", "static"),
    [(["1", "%REQ(a)%"], True), (["%START_TIME%"], False), (["%REQ(x-request-id)%"], False), ([], True)],
)
def test_static(values: list[str], static: bool) -> None:
    ops = compile_header_ops([option("x", value) for value in values], ["y"], "p", context(), request=True)
    assert ops is not None
    assert ops.static is static


@pytest.mark.parametrize("name", [":path", ":authority", ":PATH", "host", "Host", ":foo"])
def test_pseudo_fields_and_host_may_not_be_touched(name: str) -> None:
    ctx = context()
    compile_header_ops([option(name, "x")], [name], "route", ctx, request=True)
    assert [problem.path for problem in ctx.problems] == [
        "route.request_headers_to_remove[0]",
        "route.request_headers_to_add[0].header.key",
    ]


def problems_of(add: HeaderValueOption) -> list[str]:
    ctx: CompileContext = context()
    compile_header_ops([add], [], "r", ctx, request=False)
    return [problem.path for problem in ctx.problems]


def test_refused_options_name_their_field() -> None:
    assert problems_of(option("a b", "x")) == ["r.response_headers_to_add[0].header.key"]
    assert problems_of(option("a", "%NOPE%")) == ["r.response_headers_to_add[0].header.value"]
    assert problems_of(option("a", "x", "ADD_IF_ABSENT", append=True)) == [
        "r.response_headers_to_add[0].append"
    ]
    assert problems_of(option("a", "x", "APPEND_IF_EXISTS_OR_ADD", append=False)) == []


def mutation(**message: Any) -> HeaderMutation:
    return json_format.ParseDict(message, HeaderMutation())


def test_mutations_see_each_other() -> None:
    mutations = [
        mutation(append={"header": {"key": "x-a", "value": "1"}, "append_action": OVERWRITE}),
        mutation(append={"header": {"key": "x-b", "value": "%REQ(x-a)%"}}),
        mutation(remove="x-a"),
        mutation(remove_on_match={"key_matcher": {"prefix": "x-drop"}}),
    ]
    ops = compile_header_mutations(mutations, "m", context(), request=True)
    assert ops is not None
    info = stream([("x-drop-1", "a"), ("x-drop-2", "b"), ("x-keep", "c")])
    assert info.request is not None
    ops.apply(info.request, info)
    assert info.request.headers == HeaderMap([("x-keep", "c"), ("x-b", "1")])
    assert ops.static


def test_refused_mutations_name_their_field() -> None:
    ctx = context()
    mutations = [
        mutation(remove="Host"),
        mutation(append={"header": {"key": ":path", "value": "/"}}),
        mutation(),
    ]
    compile_header_mutations(mutations, "m", ctx, request=True)
    assert [problem.path for problem in ctx.problems] == ["m[0].remove", "m[1].append.header.key", "m[2]"]
