from __future__ import annotations

import asyncio

import pytest

from proxy.admin import http
from proxy.admin.http import AdminRequest, BadParameterError


def test_a_target_splits_into_path_and_parameters() -> None:
    request = http.parse_target("GET", "/a%20b?x=1&x=2&flag&y=%2Fz+t")
    assert request.path == "/a b"
    assert request.parameters == {"x": "1", "flag": "", "y": "/z t"}
    assert request.flag("flag")
    assert not request.flag("other")


def test_a_form_body_adds_parameters_that_the_query_lacks() -> None:
    request = http.parse_target("POST", "/a?x=1", "x=2&y=3")
    assert request.parameters == {"x": "1", "y": "3"}


def test_a_wrong_choice_is_answered_with_the_usage() -> None:
    request = AdminRequest("GET", "/", {"format": "xml"})
    with pytest.raises(BadParameterError, match="use json"):
        request.choice("format", ("json",), "json", "use json")
    assert AdminRequest("GET", "/").choice("format", ("json",), "json", "") == "json"


def test_a_bad_regex_is_answered_with_the_reason_of_re2() -> None:
    with pytest.raises(BadParameterError, match=r"Invalid re2 regex: missing \]"):
        AdminRequest("GET", "/", {"filter": "["}).regex("filter")
    assert AdminRequest("GET", "/", {"filter": ""}).regex("filter") is None


def test_a_name_outside_ascii_is_searched_byte_by_byte_as_in_envoy() -> None:
    regex = AdminRequest("GET", "/", {"filter": "b..d"}).regex("filter")
    assert regex is not None
    assert regex.search(http.searchable("cluster.böd"))


def test_small_pieces_join_to_chunks_and_empty_ones_give_pauses() -> None:
    async def chunks(pieces: list[str]) -> list[str]:
        return [chunk async for chunk in http.from_pieces(pieces)]

    sizes = [len(chunk) for chunk in asyncio.run(chunks(["x" * 1000] * 100))]
    assert sum(sizes) == 100_000
    assert max(sizes) < http.CHUNK + 1000
    assert asyncio.run(chunks([""] * http.PIECES * 2)) == ["", ""]


def test_the_title_of_a_page_is_text() -> None:
    assert "<h1>a &lt;b&gt;</h1>" in http.page("a <b>", "<p></p>")
