"""Heads: config may name pseudo-fields like any field."""

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (":method", "GET"),
        (":path", "/p?q"),
        (":authority", "h"),
        ("host", "h"),
        (":scheme", "http"),
        ("x", "1"),
    ],
)
def test_a_request_shows_pseudo_fields_like_fields(name: str, value: str) -> None:
    assert RequestHead("GET", "/p?q", "h", HeaderMap([("x", "1")])).field(name) == value


def test_what_is_missing_is_none() -> None:
    head = RequestHead("CONNECT", "", "", HeaderMap())
    assert [head.field(name) for name in (":path", ":authority", "x")] == [None, None, None]


def test_a_response_shows_its_status() -> None:
    head = ResponseHead(404, HeaderMap([("a", "b")]))
    assert (head.field(":status"), head.field("a"), head.field("c")) == ("404", "b", None)


def test_a_copied_head_changes_alone() -> None:
    head = RequestHead("GET", "/", "h", HeaderMap([("x", "1")]))
    twin = head.copy()
    twin.path = "/other"
    twin.headers.set("x", "2")
    assert (head.path, head.headers["x"]) == ("/", "1")
