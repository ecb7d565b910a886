from __future__ import annotations

from typing import Any

import pytest

from proxy.base.messages import RequestHead
from proxy.router.cluster_action import ClusterAction
from tests.unit.proxy.router.tables import one, problems_of, request, route_of, stream, table
from tests.unit.proxy.router.test_route_match import template


def forward(match: dict[str, Any], action: dict[str, Any], head: RequestHead, **options: Any) -> RequestHead:
    info = stream()
    info.request = head
    route = route_of(table(one(match, route={"cluster": "c", **action})), head, info)
    assert route is not None
    assert isinstance(route.action, ClusterAction)
    route.action.rewrite(head, info, **options)
    return head


def rewritten(match: dict[str, Any], action: dict[str, Any], path: str) -> str:
    return forward(match, action, request(path, ("x-p", "/from-header"))).path


def regex(pattern: str, substitution: str) -> dict[str, Any]:
    return {"pattern": {"regex": pattern}, "substitution": substitution}


@pytest.mark.parametrize(
    ("match", "replacement", "path", "expected"),
    [
        ({"prefix": "/a"}, "/n", "/a/b?c", "/n/b?c"),
        ({"prefix": "/a"}, "/n", "/ab", "/nb"),
        ({"prefix": "/A", "case_sensitive": False}, "/n", "/a/b", "/n/b"),
        ({"path": "/a"}, "/n?x=1", "/a?c", "/n?x=1?c"),
        ({"path_separated_prefix": "/a"}, "/n", "/a/b", "/n/b"),
        ({"safe_regex": {"regex": "/a.*"}}, "/n", "/a/b?c", "/n?c"),
    ],
)
def test_a_prefix_rewrite_replaces_what_matched(
    match: dict[str, Any], replacement: str, path: str, expected: str
) -> None:
    assert rewritten(match, {"prefix_rewrite": replacement}, path) == expected


def test_a_path_that_a_filter_changed_after_routing_stays() -> None:
    head = request("/a/b")
    route = route_of(table(one({"prefix": "/a"}, route={"cluster": "c", "prefix_rewrite": "/n"})), head)
    assert route is not None
    assert isinstance(route.action, ClusterAction)
    head.path = "/other"
    route.action.rewrite(head, stream())
    assert head.path == "/other"
    assert "x-envoy-original-path" not in head.headers


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"regex_rewrite": regex("^/([^/]+)/(.*)$", r"/\2/\1")}, "/b/a?q=/x"),
        ({"regex_rewrite": regex("/", "//")}, "//a//b?q=/x"),
        ({"regex_rewrite": regex(".*", "")}, "/a/b?q=/x"),
        ({"path_rewrite": "%REQ(x-p)%!"}, "/from-header!?q=/x"),
        ({"path_rewrite": "%REQ(missing)%"}, "/a/b?q=/x"),
    ],
)
def test_other_rewrites_replace_the_path_and_keep_the_query(action: dict[str, Any], expected: str) -> None:
    assert rewritten({"prefix": "/"}, action, "/a/b?q=/x") == expected


def test_a_template_rewrite_uses_the_matched_variables() -> None:
    policy = {
        "name": "r",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
            "path_template_rewrite": "/n/{b}/{a}",
        },
    }
    assert rewritten(template("/{a}/{b}"), {"path_rewrite_policy": policy}, "/1/2?q") == "/n/2/1?q"
    action = {"cluster": "c", "path_rewrite_policy": policy}
    path = "virtual_hosts[0].routes[0].route.path_rewrite_policy"
    assert [found for found, _ in problems_of(one({"prefix": "/"}, route=action))] == [path]
    assert [found for found, _ in problems_of(one(template("/{a}"), route=action))] == [
        f"{path}.typed_config.path_template_rewrite"
    ]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"host_rewrite_literal": "n"}, "n"),
        ({"host_rewrite_header": "X-Host"}, "first"),
        ({"host_rewrite_header": "missing"}, "h"),
        ({"host_rewrite_path_regex": regex("^/([^/]+)/.*$", r"\1.com")}, "a.com"),
        ({"host_rewrite_path_regex": regex(".*", "")}, "h"),
        ({"host_rewrite": "%REQ(x-p)%.com"}, "p.com"),
        ({"auto_host_rewrite": True}, "h"),
    ],
)
def test_host_rewrites(action: dict[str, Any], expected: str) -> None:
    head = request("/a/b?c", ("x-host", "first"), ("x-host", "second"), ("x-p", "p"))
    forward({"prefix": "/"}, action, head)
    assert head.authority == expected
    assert head.headers.get("x-envoy-original-host") == ("h" if expected != "h" else None)


@pytest.mark.parametrize(
    ("forwarded", "expected"), [(None, "h"), ("z", "z,h"), ("h,z", "h,z,h"), ("z,h", "z,h")]
)
def test_the_old_host_can_be_appended(forwarded: str | None, expected: str) -> None:
    head = request("/", *([("x-forwarded-host", forwarded)] if forwarded else []))
    forward({"prefix": "/"}, {"host_rewrite_literal": "n", "append_x_forwarded_host": True}, head)
    assert head.headers["x-forwarded-host"] == expected


def test_the_original_path_and_host_are_kept_unless_suppressed() -> None:
    action = {"host_rewrite_literal": "n", "prefix_rewrite": "/n"}
    kept = forward({"prefix": "/a"}, action, request("/a?b")).headers
    assert (kept["x-envoy-original-path"], kept["x-envoy-original-host"]) == ("/a?b", "h")
    bare = forward({"prefix": "/a"}, action, request("/a?b"), keep_original=False).headers
    assert "x-envoy-original-path" not in bare
    assert "x-envoy-original-host" not in bare


@pytest.mark.parametrize(
    ("match", "action", "path"),
    [
        ({"prefix": "/"}, {"prefix_rewrite": "/a", "regex_rewrite": regex("a", "b")}, "regex_rewrite"),
        ({"prefix": "/"}, {"prefix_rewrite": "/a", "path_rewrite": "/b"}, "path_rewrite"),
        (template("/{a}"), {"prefix_rewrite": "/a"}, "prefix_rewrite"),
        ({"prefix": "/"}, {"regex_rewrite": regex("(", "b")}, "regex_rewrite.pattern.regex"),
        (
            {"prefix": "/"},
            {"host_rewrite_path_regex": regex("(", "b")},
            "host_rewrite_path_regex.pattern.regex",
        ),
    ],
)
def test_rewrites_that_envoy_refuses(match: dict[str, Any], action: dict[str, Any], path: str) -> None:
    found = problems_of(one(match, route={"cluster": "c", **action}))
    assert [problem for problem, _ in found] == [f"virtual_hosts[0].routes[0].route.{path}"]
