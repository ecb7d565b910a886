"""Requests that come once go upstream as those do that are looked for and kept."""

from __future__ import annotations

import re

import pytest

from tests.support import http2_frames as h2
from tests.support.configs import route, virtual_host
from tests.support.http2_manager import Http2Manager

ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def table(*routes, **fields):
    return {"virtual_hosts": [virtual_host(list(routes), **fields)]}


def header(name, value):
    return {"header": {"key": name, "value": value}}


CONFIGS = {
    "plain": {},
    "edge": {"use_remote_address": True},
    "edge with port and via": {
        "use_remote_address": True,
        "append_x_forwarded_port": True,
        "via": "here",
        "skip_xff_append": True,
    },
    "user agent": {"add_user_agent": True},
    "no ids": {"generate_request_id": False},
    "scheme": {"scheme_header_transformation": {"scheme_to_overwrite": "https"}},
    "paths": {"normalize_path": True, "merge_slashes": True, "strip_any_host_port": True},
    "header operations": {
        "route_config": table(
            route(),
            request_headers_to_add=[header("x-was", "%REQ(X)% %REQ(X-REQUEST-ID)%")],
            request_headers_to_remove=["x-drop"],
        )
    },
    "internal names": {"route_config": {**table(route()), "internal_only_headers": ["x-drop"]}},
    "attempts": {"route_config": table(route(), include_request_attempt_count=True)},
    "rewrites": {"route_config": table(route(prefix_rewrite="/new/", timeout="7s"))},
    "no timeout": {"route_config": table(route(timeout="0s"))},
    "no route": {"route_config": table(route(prefix="/elsewhere"))},
    "redirect": {
        "route_config": table(
            {"match": {"prefix": "/"}, "redirect": {"host_redirect": "b", "path_redirect": "/"}}
        )
    },
}
REQUESTS = {
    "ordinary": ("GET", "/a?b", [("accept", "*/*"), ("x", "1"), ("x-drop", "2")]),
    "cookies": ("GET", "/", [("cookie", "a=1"), ("x", ""), ("cookie", ""), ("cookie", "b=2")]),
    "length": ("PUT", "/", [("content-length", "0"), ("content-type", "application/grpc")]),
    "post": ("POST", "//a/%2e/../b", [("x", "1")]),
    "fragment": ("GET", "/a#b", [("x", "1")]),
    "twice": ("GET", "/", [("x", "1"), ("x", "2")]),
    "forwarded": (
        "GET",
        "/",
        [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-proto", "https"), ("via", "there")],
    ),
    "own": ("GET", "/", [("x-envoy-upstream-rq-timeout-ms", "9"), ("x-envoy-internal", "true"), ("x", "1")]),
    "id": ("GET", "/", [("x-request-id", "mine"), ("x", "1")]),
    "trailers": ("POST", "/", [("te", "trailers"), ("x", "1")]),
    "expectation": ("POST", "/", [("expect", "100-continue"), ("x", "1")]),
    "other bytes": ("GET", "/\xe9", [("x", "\xe9\t1")]),
    "other method": ("QUERY", "/", [("x", "1")]),
    "malformed": ("GET", "/", [("x", "\0")]),
}


def outcome(of, request):
    method, path, fields = request
    client = of.connect()
    count = len(of.upstream.requests)
    client.send(h2.request(1, path, method=method, authority="a:80", fields=fields))
    of.settle()
    heads = [ID.sub(b"", one.head) for one in of.upstream.requests[count:]]
    return heads, client.kinds()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_not_shared_is_the_same(config):
    first, later = Http2Manager(**config), Http2Manager(**config)
    client = later.connect()
    for number in range(200):
        client.send(h2.request(2 * number + 1, f"/{number}", authority="a:80", fields=[("x", f"{number}")]))
    for name, request in REQUESTS.items():
        assert outcome(later, request) == outcome(first, request), name


def test_requests_that_come_once_are_not_kept():
    of = Http2Manager()
    client = of.connect()
    for number in range(1000):
        client.send(h2.request(2 * number + 1, f"/{number}", fields=[("x", f"{number}")]))
    parser = of.manager.http2_parser
    assert not parser._known
    assert len(parser._seen) < 200
    heads = [upstream.head.split(b"\r\n") for upstream in of.upstream.requests]
    assert [head[0] for head in heads] == [f"GET /{number} HTTP/1.1".encode() for number in range(1000)]
    ids = {line for head in heads for line in head if line.startswith(b"x-request-id: ")}
    assert len(ids) == 1000
    # The same again, on other connections: before long they are known.
    for _ in range(300):
        of.connect().send(h2.request(1, "/", fields=[("a", "b")]))
    assert len(parser._known) == 1
