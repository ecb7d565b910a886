from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.formatter.compile import compile_format
from tests.support.streams import context, stream


def render(text: str, **facts: object) -> str:
    return compile_format(text, "p", context()).render(stream(**facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%PATH%", "/orig?a=1"),
        ("%PATH(WQ:PATH)%", "/now?b=2"),
        ("%PATH(NQ)%", "/orig"),
        ("%PATH(NQ:PATH)%", "/now"),
        ("%PATH(WQ:ORIG):4%", "/ori"),
        ("%QUERY_PARAM(a)%", "1"),
    ],
)
def test_the_path_is_the_original_one_where_it_was_rewritten(text: str, expected: str) -> None:
    assert render(text, fields=[("x-envoy-original-path", "/orig?a=1")], path="/now?b=2") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1%20b", "1 b"),
        ("a=%e9%22", '\xe9"'),
        ("a=", ""),
        ("a", ""),
        ("a=1&a=2", "1"),
        ("%61=1", "1"),
        ("a=x+y", "x+y"),
        ("a=%zz", "%zz"),
        ("a=b=c", "b=c"),
        ("a=1;b=2", "1;b=2"),
        ("&&a=1", "1"),
        ("A=1", "-"),
        ("?a=1", "-"),
        ("", "-"),
    ],
)
def test_query_parameters_are_percent_decoded(query: str, expected: str) -> None:
    assert render("%QUERY_PARAM(a)%", path=f"/p?{query}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=%2b%20", "a=+%20"),
        ("a=%25", "a=%"),
        ("a=%252b", "a=%2b"),
        ("a=%5Bx%5D", "a=[x]"),
        ("a=%22%3c%3e%5c%5e%7b%7c%7d%7f%09%c3", "a=%22%3c%3e%5c%5e%7b%7c%7d%7f%09%c3"),
        ("a=%60%7e%23%3f", "a=`~#?"),
        ("a=%zz", "a=zz"),
        ("a=%2", "a=%2"),
        ("a=%", "a=%"),
    ],
)
def test_decoded_query_keeps_what_envoy_keeps(query: str, expected: str) -> None:
    assert render("%QUERY_PARAMS(DECODED)%", path=f"/p?{query}") == expected


def test_the_query_string_can_be_empty_or_absent() -> None:
    assert render("%QUERY_PARAMS%|%QUERY_PARAMS(ORIG):3%", path="/p?abcd") == "abcd|abc"
    assert render("%QUERY_PARAMS%", path="/p?") == ""
    assert render("%QUERY_PARAMS%", path="/p") == "-"


GRPC = [("content-type", "application/grpc+proto")]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("0", "OK OK 0"), ("3", "InvalidArgument INVALID_ARGUMENT 3"), ("99", "99 99 99"), ("x", "-1 -1 -1")],
)
def test_grpc_status_in_its_three_spellings(status: str, expected: str) -> None:
    text = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%"
    assert render(text, fields=GRPC, response_fields=[("grpc-status", status)]) == expected
    assert render(text, fields=GRPC, response_trailers=HeaderMap([("grpc-status", status)])) == expected


def test_grpc_status_follows_from_the_http_status_and_needs_a_grpc_request() -> None:
    assert render("%GRPC_STATUS%", fields=GRPC, response_code=503) == "Unavailable"
    assert render("%GRPC_STATUS%", response_fields=[("grpc-status", "0")]) == "-"


def test_sizes_of_heads_count_names_and_values() -> None:
    text = "%REQUEST_HEADERS_BYTES% %RESPONSE_HEADERS_BYTES% %RESPONSE_TRAILERS_BYTES%"
    request = len(":methodGET:path/p:authorityex.com:schemehttpab")
    assert render(text, fields=[("a", "b")], path="/p") == f"{request} {len(':status200')} 0"
