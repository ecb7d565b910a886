from __future__ import annotations

from typing import Any

import pytest

from proxy.router.redirect import RedirectAction
from tests.unit.proxy.router.tables import one, request, route_of, stream, table


def redirect(
    config: dict[str, Any], path: str, host: str = "h", match: dict[str, Any] | None = None
) -> tuple[int, str]:
    head = request(path, host=host)
    route = route_of(table(one(match or {"prefix": "/a"}, redirect=config)), head)
    assert route is not None
    assert isinstance(route.action, RedirectAction)
    response = route.action.respond(head, stream())
    return response.status, response.headers["location"]


@pytest.mark.parametrize(
    ("config", "host", "location"),
    [
        ({}, "h:80", "http://h:80/a?q"),
        ({"https_redirect": True}, "h:80", "https://h/a?q"),
        ({"https_redirect": True}, "h:443", "https://h:443/a?q"),
        ({"https_redirect": True}, "[::1]:80", "https://[::1]/a?q"),
        ({"https_redirect": True, "port_redirect": 8443}, "h:1", "https://h:8443/a?q"),
        ({"scheme_redirect": "ftp"}, "h", "ftp://h/a?q"),
        ({"host_redirect": "n:9"}, "h:80", "http://n:9/a?q"),
        ({"host_redirect": "n", "port_redirect": 7}, "h:80", "http://n:7/a?q"),
        ({"path_redirect": "/n"}, "h", "http://h/n?q"),
        ({"path_redirect": "/n?x"}, "h", "http://h/n?x"),
        ({"path_redirect": "n"}, "h", "http://h/n?q"),
        ({"path_redirect": "/n", "strip_query": True}, "h", "http://h/n"),
        ({"path_redirect": "/n?x", "strip_query": True}, "h", "http://h/n?x"),
        ({"strip_query": True}, "h", "http://h/a"),
        ({"prefix_rewrite": "/p"}, "h", "http://h/p?q"),
        ({"regex_rewrite": {"pattern": {"regex": "a"}, "substitution": "b"}}, "h", "http://h/b?q"),
        ({"regex_rewrite": {"pattern": {"regex": ".*"}, "substitution": ""}}, "h", "http://h/a?q"),
    ],
)
def test_locations(config: dict[str, Any], host: str, location: str) -> None:
    assert redirect(config, "/a?q", host) == (301, location)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("MOVED_PERMANENTLY", 301),
        ("FOUND", 302),
        ("SEE_OTHER", 303),
        ("TEMPORARY_REDIRECT", 307),
        ("PERMANENT_REDIRECT", 308),
    ],
)
def test_statuses(code: str, status: int) -> None:
    assert redirect({"response_code": code}, "/a")[0] == status


def test_a_rewrite_shows_in_the_request_for_logs() -> None:
    head = request("/a/b")
    route = route_of(table(one({"prefix": "/a"}, redirect={"prefix_rewrite": "/n"})), head)
    assert route is not None
    assert isinstance(route.action, RedirectAction)
    route.action.respond(head, stream())
    assert (head.path, head.headers["x-envoy-original-path"]) == ("/n/b", "/a/b")
