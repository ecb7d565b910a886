"""What names a host in cookies and fields."""

import base64

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.filters.http.session_state import CookieState, EnvelopeState, HeaderState

NOW = 1_000_000.4


def request(path="/", **fields):
    head = RequestHead("GET", path, "a", HeaderMap())
    for name, value in fields.items():
        head.headers.set(name.replace("_", "-"), value)
    return head


def encoded(raw):
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("path", "asked", "applies"),
    [
        ("", "/x", True),
        ("/", "/x", True),
        ("/a", "/a", True),
        ("/a", "/a?b", True),
        ("/a", "/a/b", True),
        ("/a", "/ab", False),
        ("/a/", "/a/b", True),
        ("/a/", "/a", False),
    ],
)
def test_a_cookie_is_for_its_path(path, asked, applies):
    assert CookieState("s", 0, path, "HttpOnly").applies(request(asked)) is applies


def test_what_is_told_is_wanted_until_it_is_old():
    state = CookieState("s", 60, "", "Max-Age=60; HttpOnly")
    reply = ResponseHead(200, HeaderMap())
    state.tell(reply, "10.0.0.1:80", "", NOW)
    cookie, _, rest = reply.headers["set-cookie"].partition("; ")
    assert rest == "Max-Age=60; HttpOnly"
    asked = request(cookie=f"other=1; {cookie}")
    assert state.wanted(asked, NOW) == state.wanted(asked, NOW + 59) == "10.0.0.1:80"
    assert state.wanted(asked, NOW + 61) == ""


@pytest.mark.parametrize("value", ["", "%%%", "====", "YWJj\xff"])
def test_what_is_no_base64_names_nobody(value):
    assert CookieState("s", 0, "", "").wanted(request(cookie=f"s={value}"), NOW) == ""
    assert HeaderState("x-host").wanted(request(x_host=value), NOW) == ""


def test_an_address_alone_is_what_old_versions_wrote():
    asked = request(cookie=f"s={encoded(b'127.0.0.1:8080')}")
    assert CookieState("s", 0, "", "").wanted(asked, NOW) == "127.0.0.1:8080"


def test_a_field_is_replaced():
    reply = ResponseHead(200, HeaderMap())
    reply.headers.set("x-host", "of the origin")
    HeaderState("x-host").tell(reply, "10.0.0.1:80", "", NOW)
    assert HeaderState("x-host").wanted(request(x_host=reply.headers["x-host"]), NOW) == "10.0.0.1:80"


@pytest.mark.parametrize("state", [CookieState("s", 0, "", ""), HeaderState("s")])
def test_who_has_the_host_that_it_wants_is_told_nothing(state):
    reply = ResponseHead(200, HeaderMap())
    assert not state.tell(reply, "10.0.0.1:80", "10.0.0.1:80", NOW)
    assert not list(reply.headers.fields())


def test_an_envelope_holds_the_value_of_the_host():
    state = EnvelopeState("s")
    reply = ResponseHead(200, HeaderMap())
    assert not state.tell(reply, "10.0.0.1:80", "", NOW)
    reply.headers.set("s", "own")
    assert state.tell(reply, "10.0.0.1:80", "", NOW)
    asked = request(s=reply.headers["s"])
    assert state.wanted(asked, NOW) == "10.0.0.1:80"
    assert asked.headers["s"] == "own"
    assert not state.tell(reply, "10.0.0.1:80", "10.0.0.1:80", NOW)


@pytest.mark.parametrize(
    "text", ["", ";;", "abc", "MTAuMC4wLjE6ODA=", "MTAuMC4wLjE6ODA=;UV:?;UV:YQ==", ";;UV:YQ=="]
)
def test_an_envelope_without_a_value_stays_closed(text):
    asked = request(s=text)
    assert EnvelopeState("s").wanted(asked, NOW) == ""
    assert asked.headers["s"] == text
