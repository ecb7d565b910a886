from __future__ import annotations

import pytest
from envoy.config.route.v3 import route_components_pb2
from google.protobuf.json_format import ParseDict

from proxy.base.cookies import cookie_suffix, cookie_value
from tests.unit.proxy.router.tables import request


@pytest.mark.parametrize(
    ("cookie", "value"),
    [
        ("c=1", "1"),
        ("a=b; c=1; d", "1"),
        ('c="1"', "1"),
        ("cc=1", ""),
        ("c", ""),
        ("", ""),
        ("c=1; c=2", "1"),
        ("a=1;c=2 ; d", "2"),
        ("c =1", ""),
        ("c= 1", " 1"),
        ('c="', '"'),
    ],
)
def test_cookie_values(cookie: str, value: str) -> None:
    assert cookie_value(request("/", ("cookie", cookie)), "c") == value


@pytest.mark.parametrize(
    ("config", "suffix"),
    [
        ({}, "HttpOnly"),
        ({"ttl": "0s", "path": "/p"}, "Path=/p; HttpOnly"),
        ({"ttl": "60s", "attributes": [{"name": "Secure"}]}, "Max-Age=60; Secure; HttpOnly"),
    ],
)
def test_what_follows_the_value_of_a_cookie_that_is_made(config: dict[str, object], suffix: str) -> None:
    message = route_components_pb2.RouteAction.HashPolicy.Cookie()
    assert cookie_suffix(ParseDict(config, message)) == suffix
