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


def spelled(path, value="v"):
    """A block with its path in the way that most clients send it, and another field."""
    return (
        b"\x82\x86\x04"
        + bytes((len(path),))
        + path
        + b"\x01\x01a\x00\x01x"
        + bytes((len(value),))
        + value.encode()
    )


def test_other_paths_in_the_same_block():
    of = Http2Manager(normalize_path=True)
    client = of.connect()
    paths = [f"/{number}".encode() for number in range(20)]
    # In between: one to be normalised, one with a query, and those that no shared fields are for.
    paths += [b"/a/../b", b"/a?b", b"*", b"", b"/a b", b"/\xe9", b"/last"]
    for number, path in enumerate(paths):
        if path in {b"*", b"", b"/a b"}:
            other = of.connect()
            for stream in range(4):
                other.send(h2.headers(2 * stream + 1, spelled(b"/%d" % stream), end=True))
            other.send(h2.headers(9, spelled(path), end=True))
            assert other.connection.dead, path
        else:
            client.send(h2.headers(2 * number + 1, spelled(path), end=True))
    lines = [one.head.split(b"\r\n")[0] for one in of.upstream.requests]
    assert b"GET /b HTTP/1.1" in lines
    assert b"GET /a?b HTTP/1.1" in lines
    assert b"GET /%E9 HTTP/1.1" in lines
    assert lines[-1] == b"GET /last HTTP/1.1"
    assert client.connection._rests
    assert {one.head.split(b"\r\n", 1)[1][:18] for one in of.upstream.requests} == {b"host: a\r\nx: v\r\nx-f"}


def test_a_path_that_makes_a_known_block_too_large_is_refused():
    of = Http2Manager(max_request_headers_kb=1)
    client = of.connect()
    value = "v" * 126
    block = b"".join(b"\x00\x02x" + bytes((97 + number, 126)) + value.encode() for number in range(7))
    for number in range(6):
        client.send(h2.headers(2 * number + 1, spelled(b"/%d" % number) + block, end=True))
    assert client.connection._rests
    assert len(of.upstream.requests) == 6
    client.frames()
    client.send(h2.headers(99, spelled(b"/" + b"p" * 100) + block, end=True))
    assert [frame.name for frame in client.frames()] == ["RST_STREAM"]
    assert len(of.upstream.requests) == 6
