from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.matchers import (
    compile_cidr_ranges,
    compile_header_matcher,
    compile_list_string_matcher,
    compile_path_matcher,
    compile_query_parameter_matcher,
    compile_runtime_fraction,
    compile_string_matcher,
    parse_integer,
    parse_query,
)
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext


def head(*fields: tuple[str, str], path: str = "/", authority: str = "h", method: str = "GET") -> RequestHead:
    return RequestHead(method, path, authority, HeaderMap(list(fields)))


def header_matcher(**config: Any) -> Any:
    context = CompileContext()
    matcher = compile_header_matcher(json_format.ParseDict(config, HeaderMatcher()), "headers[0]", context)
    context.raise_if_problems()
    return matcher


def string_matcher(**config: Any) -> Any:
    context = CompileContext()
    matcher = compile_string_matcher(json_format.ParseDict(config, StringMatcher()), "matcher", context)
    context.raise_if_problems()
    return matcher


@pytest.mark.parametrize(
    ("config", "yes", "no"),
    [
        ({"exact": "ab"}, ["ab"], ["AB", "abc", ""]),
        ({"prefix": "ab"}, ["ab", "abc"], ["xab", "AB"]),
        ({"suffix": "ab"}, ["ab", "xab"], ["abx", "AB"]),
        ({"contains": "ab"}, ["ab", "xabx"], ["AB", "a b"]),
        ({"safeRegex": {"regex": "a.c"}}, ["abc"], ["xabc", "abcx"]),
        ({"exact": "aB", "ignoreCase": True}, ["ab", "AB"], ["abc"]),
        ({"prefix": "aB", "ignoreCase": True}, ["ABx"], ["x"]),
        ({"suffix": "aB", "ignoreCase": True}, ["xAB"], ["x"]),
        ({"contains": "aB", "ignoreCase": True}, ["xABx"], ["x"]),
        ({"exact": "é"}, ["é".encode().decode("latin-1")], ["é"]),
        (
            {"exact": "é", "ignoreCase": True},
            ["é".encode().decode("latin-1")],
            ["É".encode().decode("latin-1")],
        ),
    ],
)
def test_string_matchers(config: dict[str, Any], yes: list[str], no: list[str]) -> None:
    matcher = string_matcher(**config)
    assert [text for text in yes + no if matcher(text)] == yes


def test_refused_string_matchers_name_the_field() -> None:
    context = CompileContext()
    compile_string_matcher(StringMatcher(), "a", context)
    ignoring = StringMatcher(ignore_case=True)
    ignoring.safe_regex.regex = "a"
    compile_string_matcher(ignoring, "b", context)
    custom = StringMatcher()
    custom.custom.name = "x"
    compile_string_matcher(custom, "c", context)
    assert [problem.path for problem in context.problems] == ["a", "b.ignore_case", "c.custom"]


# Observed with Envoy 1.40: which of the requests below each matcher lets pass.
_REQUESTS: dict[str, RequestHead] = {
    "none": head(),
    "v": head(("x", "v")),
    "empty": head(("x", "")),
    "v and w": head(("x", "v"), ("x", "w")),
    "v,w": head(("x", "v,w")),
    "5": head(("x", "5")),
    "10": head(("x", "10")),
    "7a": head(("x", "7a")),
}
_ALL = list(_REQUESTS)


@pytest.mark.parametrize(
    ("config", "passing"),
    [
        ({}, _ALL[1:]),
        ({"presentMatch": True}, _ALL[1:]),
        ({"presentMatch": False}, ["none"]),
        ({"presentMatch": True, "invertMatch": True}, ["none"]),
        ({"presentMatch": False, "invertMatch": True}, _ALL[1:]),
        ({"presentMatch": True, "treatMissingHeaderAsEmpty": True}, _ALL),
        ({"presentMatch": False, "treatMissingHeaderAsEmpty": True}, []),
        ({"exactMatch": "v"}, ["v", "v and w"]),
        ({"exactMatch": ""}, _ALL[1:]),
        ({"prefixMatch": "v"}, ["v", "v and w", "v,w"]),
        ({"suffixMatch": "w"}, ["v and w", "v,w"]),
        ({"containsMatch": ","}, ["v,w"]),
        ({"safeRegexMatch": {"regex": "v.w"}}, ["v,w"]),
        ({"stringMatch": {"exact": "v"}}, ["v", "v and w"]),
        ({"stringMatch": {"exact": "v"}, "invertMatch": True}, ["empty", "v,w", "5", "10", "7a"]),
        ({"stringMatch": {"exact": ""}}, ["empty"]),
        ({"stringMatch": {"exact": ""}, "treatMissingHeaderAsEmpty": True}, ["none", "empty"]),
        (
            {"stringMatch": {"exact": "v"}, "invertMatch": True, "treatMissingHeaderAsEmpty": True},
            ["none", "empty", "v,w", "5", "10", "7a"],
        ),
        ({"rangeMatch": {"start": "5", "end": "10"}}, ["5"]),
    ],
)
def test_header_matchers(config: dict[str, Any], passing: list[str]) -> None:
    matcher = header_matcher(name="X", **config)
    assert [name for name, request in _REQUESTS.items() if matcher(request)] == passing


@pytest.mark.parametrize(
    ("name", "value"),
    [(":path", "/a?b"), (":method", "POST"), (":authority", "Host"), ("host", "Host"), (":scheme", "http")],
)
def test_pseudo_headers_match_like_headers(name: str, value: str) -> None:
    matcher = header_matcher(name=name, stringMatch={"exact": value})
    assert matcher(head(path="/a?b", method="POST", authority="Host"))
    assert not matcher(RequestHead("GET", "/", "other", HeaderMap(), scheme="https"))


def test_an_absent_authority_counts_as_missing() -> None:
    assert header_matcher(name=":authority", presentMatch=False)(head(authority=""))


def test_header_matchers_work_on_responses() -> None:
    response = ResponseHead(503, HeaderMap([("x", "v")]))
    assert header_matcher(name=":status", stringMatch={"exact": "503"})(response)
    assert header_matcher(name="x", stringMatch={"exact": "v"})(response)
    assert not header_matcher(name=":method", presentMatch=True)(response)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        (" 5 ", 5),
        ("", None),
        ("5a", None),
        ("1_0", None),
        ("0x5", None),
        ("٣", None),
        ("-", None),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("9" * 5000, None),
    ],
)
def test_integers_are_plain_decimals_of_64_bits(text: str, number: int | None) -> None:
    assert parse_integer(text) == number


def test_the_first_query_parameter_of_a_name_counts_and_nothing_is_decoded() -> None:
    assert parse_query("/a?k=v&k=w&e&f=&g=a%20b=c#k=z") == {"k": "v", "e": "", "f": "", "g": "a%20b=c"}
    assert parse_query("/a") == {}


@pytest.mark.parametrize(
    ("config", "passing"),
    [
        ({}, ["/?k", "/?k=v"]),
        ({"presentMatch": True}, ["/?k", "/?k=v"]),
        ({"presentMatch": False}, ["/", "/?K=v"]),
        ({"stringMatch": {"exact": "v"}}, ["/?k=v"]),
        ({"stringMatch": {"prefix": ""}}, ["/?k", "/?k=v"]),
    ],
)
def test_query_parameter_matchers(config: dict[str, Any], passing: list[str]) -> None:
    message = json_format.ParseDict({"name": "k", **config}, QueryParameterMatcher())
    matcher = compile_query_parameter_matcher(message, "query_parameters[0]", CompileContext())
    assert [path for path in ("/", "/?k", "/?k=v", "/?K=v") if matcher(parse_query(path))] == passing


def test_path_and_list_matchers() -> None:
    path = json_format.ParseDict({"path": {"exact": "/a"}}, PathMatcher())
    matcher = compile_path_matcher(path, "", CompileContext())
    assert [text for text in ("/a", "/a?b", "/a#b", "/ab") if matcher(text)] == ["/a", "/a?b", "/a#b"]
    either = json_format.ParseDict({"patterns": [{"exact": "a"}, {"prefix": "b"}]}, ListStringMatcher())
    matcher = compile_list_string_matcher(either, "", CompileContext())
    assert [text for text in ("a", "ab", "bc") if matcher(text)] == ["a", "bc"]


def test_a_runtime_key_replaces_the_configured_fraction() -> None:
    message = json_format.ParseDict(
        {"defaultValue": {"numerator": 25, "denominator": "TEN_THOUSAND"}, "runtimeKey": "k"},
        RuntimeFractionalPercent(),
    )
    runtime = Runtime()
    applies = compile_runtime_fraction(message, runtime)
    assert [applies(lambda draw=draw: draw) for draw in (24, 25, 10_024)] == [True, False, True]
    runtime.replace({"k": "10000"})
    assert applies(lambda: 9_999)


def test_cidr_ranges_hold_both_families() -> None:
    from envoy.config.core.v3.address_pb2 import CidrRange

    messages = [
        json_format.ParseDict({"addressPrefix": prefix, "prefixLen": length}, CidrRange())
        for prefix, length in (("10.1.2.3", 8), ("2001:db8::", 32), ("1.2.3.4", 99))
    ]
    ranges = compile_cidr_ranges(messages, "ranges", CompileContext())
    inside = [
        ip
        for ip in ("10.9.9.9", "11.0.0.1", "2001:db8:1::1", "2001:db9::", "1.2.3.4", "", "x")
        if ip in ranges
    ]
    assert inside == ["10.9.9.9", "2001:db8:1::1", "1.2.3.4"]
    context = CompileContext()
    compile_cidr_ranges([CidrRange(address_prefix="nonsense")], "ranges", context)
    assert context.problems[0].path == "ranges[0].address_prefix"
