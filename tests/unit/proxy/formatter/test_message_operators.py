from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.formatter.compile import compile_format
from tests.support.streams import context, stream

REQUEST = [
    ("x-a", "one"),
    ("x-a", "two"),
    ("x-b", "bee"),
    ("x-e", ""),
    ("x-forwarded-for", "1.1.1.1"),
    ("x-forwarded-for", "2.2.2.2"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%REQ(:METHOD)%", "GET"),
        ("%REQ(:SCHEME)%", "http"),
        ("%REQ(:AUTHORITY)%", "ex.com"),
        ("%REQ(HOST)%", "ex.com"),
        ("%REQ(:PATH)%", "/p?a=1"),
        ("%REQ(X-A)%", "one"),
        ("%REQUEST_HEADER(X-A)%", "one"),
        ("%REQ(cookie)%", "a=1"),
        ("%REQ(X-Forwarded-For)%", "1.1.1.1,2.2.2.2"),
        ("%REQ(X-NONE?X-B)%", "bee"),
        ("%REQ(X-A?X-B)%", "one"),
        ("%REQ(X-NONE)%", "-"),
        ("%REQ(X-NONE?:PATH)%", "/p?a=1"),
        ("%REQ(X-E)%", ""),
        ("%REQ(X-A):2%", "on"),
        ("%REQ(X-A):0%", ""),
        ("%REQ(X-NONE):1%", "-"),
        ("%RESP(:STATUS)%", "200"),
        ("%RESP(X-UP)%", "u1"),
        ("%RESP(via)%", "v1,v2"),
        ("%TRAILER(x-t)% %TRAILER(none)%", "t1 -"),
        ("%REQ_WITHOUT_QUERY(none?:path)%", "/p"),
        ("%REQ_WITHOUT_QUERY(none?:path):1%", "/"),
    ],
)
def test_values_are_those_that_envoy_logs(text: str, expected: str) -> None:
    info = stream(
        REQUEST,
        [("x-up", "u1"), ("x-up", "u2"), ("via", "v1"), ("via", "v2")],
        path="/p?a=1",
        response_trailers=HeaderMap([("x-t", "t1"), ("x-t", "t2")]),
    )
    compiled = compile_format(text, "p", context(), extensions={"REQ_WITHOUT_QUERY"})
    assert compiled.render(info) == expected


def test_a_stream_without_messages_has_no_values() -> None:
    info = stream(request=None, response=None)
    assert compile_format("%REQ(:path)%%REQ(a)%%RESP(a)%%RESP(:status)%%TRAILER(a)%", "p", context()).render(
        info
    ) == ("-----")


def test_a_request_is_shown_as_it_went_upstream() -> None:
    sent = RequestHead(
        "GET", "/new", "b.example", HeaderMap([("x-a", "new"), ("x-request-id", "placeholder")])
    )
    info = stream([("x-a", "old"), ("x-request-id", "id")], path="/old", upstream_request_head=sent)
    text = "%REQ(:path)% %REQ(host)% %REQ(x-a)% %REQ(x-request-id)%"
    assert compile_format(text, "p", context()).render(info) == "/new b.example new id"
